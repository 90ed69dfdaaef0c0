"""Every command and every piece of Python of the README is run, with folders and files that the test makes."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from tests.helpers.runs import explain

CHECKOUT = Path(__file__).resolve().parents[1]
TEXT = (CHECKOUT / "README.md").read_text()
SHORT = ["steps=1", "data.limit=1", "explanations=1", "areas=[0.1,0.2]", "logger=none", "callbacks.progress=null"]


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def commands() -> list[str]:
    """The README's command lines without their comments."""
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the placeholders of the README stand for."""
    root = tmp_path_factory.mktemp("readme")
    (root / "photos" / "n01440764").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for index in range(2):
        pixels = noise.integers(0, 255, (260, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "photos" / "n01440764" / f"n01440764_{index}.JPEG")
    network = torchvision.models.squeezenet1_0(weights=None)
    save_file(network.state_dict(), str(root / "weights.safetensors"))
    parts = next(block for block in blocks("python") if block.startswith("# my_parts.py"))
    (root / "my_parts.py").write_text(parts)
    return {"PATH": str(root / "photos"), "FILE": str(root / "weights.safetensors"), "root": str(root)}


def train_commands() -> list[str]:
    return [line for line in commands() if line.startswith("python train.py")]


def compare_commands() -> list[str]:
    return [line for line in commands() if line.startswith("inr-xai compare")]


def evaluation_commands() -> list[str]:
    """The commands that measure a finished run, in their order."""
    return [line for line in commands() if re.match(r"inr-xai (evaluate|maps|table|verify)\b", line)]


def audit_commands() -> list[str]:
    return [line for line in commands() if line.startswith("inr-xai audit")]


def program(line: str, *options: str) -> list[str]:
    """An `inr-xai` command line as this Python runs it."""
    return [sys.executable, "-m", "inr_xai", *shlex.split(line)[1:], *options]


def test_the_readme_is_read() -> None:
    assert len(train_commands()) == 11
    run = (*train_commands(), *compare_commands(), *evaluation_commands(), *audit_commands())
    others = [line for line in commands() if line not in run]
    assert others == ["make demo", "make test"]


@pytest.mark.parametrize("line", compare_commands())
@pytest.mark.slow
def test_comparisons_run(line: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    if "--table" in line:
        shutil.copytree(CHECKOUT / "benchmarks" / "results", results)
    options = ["--results", str(results), "--cache", str(tmp_path / "cache"), "steps=1"]
    run = subprocess.run(
        program(line, *options),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=_environment(str(CHECKOUT)),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "| method | photos |" in run.stdout


@pytest.mark.slow
def test_a_run_is_evaluated(tmp_path: Path) -> None:
    """Runs the README's commands with methods that need no other package."""
    run = tmp_path / "run"
    options = ["data.size=2", "steps=2", "explanations=1", "logger=none", f"out={run}", "callbacks.figures=null"]
    subprocess.run([sys.executable, str(CHECKOUT / "train.py"), *options], check=True, capture_output=True)
    lines = evaluation_commands()
    assert len(lines) == 6
    for line in lines:
        line = line.replace("gradcam,occlusion", "disc,random").replace("gradcam", "disc").replace("RUN", str(run))
        ended = subprocess.run(
            program(line), cwd=tmp_path, capture_output=True, text=True, env=_environment(str(CHECKOUT))
        )
        assert ended.returncode == 0, line + ended.stderr
    assert (tmp_path / "paper.tex").read_text().startswith(r"\begin{tabular}")


@pytest.mark.slow
def test_a_run_is_audited(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["data.size=2", "steps=2", "logger=none", f"out={run}", "callbacks.figures=null"]
    subprocess.run([sys.executable, str(CHECKOUT / "train.py"), *options], check=True, capture_output=True)
    (line,) = audit_commands()
    command = program(line.replace("RUN", str(run)), "--control", "2")
    ended = subprocess.run(command, capture_output=True, text=True, env=_environment(str(CHECKOUT)))
    assert ended.returncode == 0, ended.stderr
    assert (run / "audit" / "report.md").read_text().startswith("# Audit")


@pytest.mark.parametrize("line", train_commands())
@pytest.mark.slow
def test_commands_run(line: str, world: dict[str, str], tmp_path: Path) -> None:
    for word in ("PATH", "FILE"):
        line = re.sub(rf"={word}\b", f"={world[word]}", line)
    command = [sys.executable, str(CHECKOUT / "train.py"), *shlex.split(line)[2:]]
    if "optuna" in line and find_spec("optuna") is None:
        pytest.skip("optuna is not installed (extra sweep)")
    options = [option for option in SHORT if not (" steps=" in line and option.startswith("steps"))]
    if "imagenet_multi" in line and "torchvision" not in line:
        options.append("classifier.pretrained=false")
    if "_audit" in line:
        options = [option for option in options if not option.startswith("explanations")] + ["audit.control=1"]
    if "photo_audit" in line:
        options += ["classifier.pretrained=false", "classifier.name=resnet10t.c3_in1k"]
    if "shard.count" in line:
        options.append("data.limit=2")
    run = subprocess.run(
        [*command, *options, f"out={tmp_path}/run"],
        cwd=world["root"],
        capture_output=True,
        text=True,
        timeout=300,
        env=_environment(world["root"]),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert list(tmp_path.rglob("masks/**/*.safetensors"))


def test_python_of_the_api_runs() -> None:
    (api,) = (block for block in blocks("python") if "INRAttribution" in block)
    names: dict[str, object] = {}
    exec(api, names)
    masks, heatmap = names["masks"], names["heatmap"]
    assert isinstance(masks, torch.Tensor)
    assert isinstance(heatmap, torch.Tensor)
    expected = torch.tensor([0.1, 0.2]).expand(2, 2, 2)
    torch.testing.assert_close(masks.mean((-2, -1)), expected, atol=1e-3, rtol=0)
    assert heatmap.shape == (2, 1, 64, 64)


def test_python_of_the_results_runs(tmp_path: Path) -> None:
    out = tmp_path / "run"
    explain(out, "data.size=1", base=["steps=1", "logger=none", "trainer.accelerator=cpu", "callbacks.figures=null"])
    (reading,) = (block for block in blocks("python") if "inr_xai.load" in block)
    names: dict[str, object] = {}
    exec(reading.replace("outputs/demo/RUN", str(out)), names)
    mask = names["mask"]
    assert isinstance(mask, torch.Tensor)
    assert mask.shape == (448, 448)
    assert float(mask.double().mean()) == pytest.approx(0.13, abs=1e-3)


def _environment(root: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
