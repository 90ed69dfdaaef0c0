"""The campaign of faults: its own comparisons find what differs, its published figures are complete, and a sample."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
from PIL import Image

from tests.helpers.runs import ROOT, explain, process
from tests.helpers.scripts import script_module, script_status

FOLDER = str(ROOT / "benchmarks")
PROGRAM = f"""
import runpy, sys
sys.path.insert(0, {FOLDER!r})
runpy.run_path({FOLDER!r} + "/faults.py", run_name="__main__")
"""
PUBLISHED = ROOT / "benchmarks" / "results" / "faults"
AT_LEAST = {
    "kill": 50,
    "term": 5,
    "int": 5,
    "hup": 5,
    "shards": 20,
    "workers": 30,
    "stopped": 30,
    "twice": 20,
    "disk": 5,
    "gone": 5,
    "images": 5000,
    "configurations": 150,
}
"""Part -> the number of cases that the published figures must have."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "run"
    explain(folder, "explanations=1", "data.limit=2")
    return folder


def changed(file: Path, name: str) -> None:
    """Flips the last bit of a tensor in a masks file."""
    with safetensors.safe_open(str(file), framework="pt") as opened:
        tensors = {key: opened.get_tensor(key).clone() for key in opened.keys()}  # noqa: SIM118
        meta = opened.metadata()
    values = tensors[name].numpy().reshape(-1).view(np.uint8)
    values[-2] ^= 1
    safetensors.torch.save_file(tensors, str(file), metadata=meta)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda run: None, []),
        (lambda run: (run / "inr_xai.log").write_text("another log"), []),
        (lambda run: changed(run / "masks" / "00000-disc.safetensors", "masks.zlib"), ["masks/00000-disc.safetensors"]),
        (lambda run: (run / "masks" / "00001-square.safetensors").unlink(), ["masks/00001-square.safetensors"]),
        (lambda run: (run / "masks" / "00001-square.safetensors").write_bytes(b"x"), ["masks/00001-square"]),
        (lambda run: (run / "per_image.csv").write_text("sample_id\n"), ["per_image.csv"]),
        (lambda run: (run / "failures.csv").write_text("image_id,reason\na,b\n"), ["failures.csv"]),
        (lambda run: (run / "summary.json").write_text("{}"), ["summary.json"]),
        (lambda run: (run / "masks" / ".writing-x").touch(), ["left over: masks/.writing-x"]),
    ],
)
@pytest.mark.slow
def test_the_comparison_finds_what_differs(run: Path, tmp_path: Path, damage: object, found: list[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    damage(copy)  # type: ignore[operator]
    different = script_module("fault_runs").differences(run, copy)
    assert len(different) == len(found)
    assert all(line.startswith(name) for line, name in zip(different, found, strict=True))


def test_a_run_that_is_not_finished_is_compared_by_its_masks(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "summary.json").unlink()
    (copy / "masks" / "00001-square.safetensors").unlink()
    differences = script_module("fault_runs").differences
    assert differences(run, copy, partial=True) == []
    changed(copy / "masks" / "00000-disc.safetensors", "losses")
    assert differences(run, copy, partial=True) == ["masks/00000-disc.safetensors differs"]


def test_what_is_wrong_with_a_file_is_said() -> None:
    decoded = script_module("fault_decoding").Decoded
    assert decoded("a", "loaded", 4.9, 299.0).fault is decoded("a", "refused", 0.0, 0.0).fault is None
    assert decoded("a", "KeyError: 'x'", 0.0, 0.0).fault == "a: KeyError: 'x'"
    assert decoded("a", "refused", 5.1, 0.0).fault == "a: refused after 5.1 s"
    assert decoded("a", "loaded", 0.0, 301.0).fault == "a: loaded, with 301 MB at its peak"


def test_broken_files_are_the_same_for_the_same_seed_and_of_many_kinds(tmp_path: Path) -> None:
    module, decoding = script_module("broken_images"), script_module("fault_decoding")
    first, second, other = (
        [(path.name, path.read_bytes()) for path in module.mutated_images(tmp_path / name, 80, seed)]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == second != other
    assert len({decoding.kind_of(name) for name, _ in first}) >= 30
    for suffix, content in module.whole_images().values():
        (tmp_path / f"whole.{suffix}").write_bytes(content)
        with Image.open(tmp_path / f"whole.{suffix}") as image:
            image.load()


def test_configurations_are_many_and_different() -> None:
    lines = [line for line, *_ in script_module("fault_configurations").configurations()]
    assert len(lines) == len(set(lines)) >= AT_LEAST["configurations"]


@pytest.mark.parametrize(("part", "least"), AT_LEAST.items())
def test_the_published_figures_are_complete_and_without_a_fault(part: str, least: int) -> None:
    facts = json.loads((PUBLISHED / f"{part}.json").read_text())
    assert (facts["part"], facts["faults"], facts["quick"]) == (part, [], False)
    assert facts["cases"] >= least


def test_the_page_has_the_table_of_the_stored_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script_status(monkeypatch, "faults", "--table", "--results", PUBLISHED) == 0
    assert capsys.readouterr().out in (ROOT / "docs" / "reliability.md").read_text()


def test_an_unknown_part_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        script_status(monkeypatch, "faults", "kil")
    assert caught.value.code == 2
    assert "kil is no part; choose some of kill, term, int" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sample_of_every_part_holds(tmp_path: Path) -> None:
    run = process("--quick", "--results", str(tmp_path / "results"), folder=tmp_path, program=PROGRAM)
    assert run.returncode == 0, run.stdout + run.stderr
    parts = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "results").glob("*.json")}
    assert parts.keys() == AT_LEAST.keys()
    assert all(facts["quick"] and facts["cases"] for facts in parts.values())
