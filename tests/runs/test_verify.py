"""`inr-xai verify`: its figures of a run, that broken masks are seen in them, that every kind of damage is named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inr_xai.runs.check_files import FileCheck
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.load import load
from inr_xai.runs.masks_file import pack_record
from inr_xai.runs.store import ShardStore
from inr_xai.runs.tar_members import TarWriter
from inr_xai.runs.verify import main
from tests.helpers.runs import explain

STORED = Path(__file__).resolve().parent / "data" / "run_0.1.0"


def figures(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> dict[str, float]:
    """Returns what the command prints of a run in which nothing is wrong."""
    assert main([str(folder), *arguments]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("faults") == []
    return printed


def test_a_run_keeps_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    printed = figures(capsys, STORED, "--areas", "0.13", "0.2", "--size", "56")
    assert printed.pop("images") == printed.pop("images without checksum") == 2
    assert printed.pop("re-rendering, largest difference") < 1e-3
    assert {name.partition(":")[0] for name in printed} == {"stored", "rendered", "rendered at 56"}
    for kind in ("stored", "rendered", "rendered at 56"):
        assert printed[f"{kind}: area error"] <= printed[f"{kind}: area error, largest"] < 1e-3
        assert printed[f"{kind}: pixels in two hard masks, largest"] == 0
        assert 0 < printed[f"{kind}: grayness"] < 1
        assert printed[f"{kind}: share above half, error"] < 0.05


def test_masks_that_overlap_and_have_another_area_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(shutil.copytree(STORED, tmp_path / "run"))
    record = folder.read("00001-square")
    side = record.masks.shape[-1]
    record.masks = torch.zeros_like(record.masks)
    record.masks[..., : side // 2, :] = 1
    folder.masks_file(record.sample_id).unlink()
    folder.commit(record)
    printed = figures(capsys, folder.path, "--areas", "0.1", "--size", "56")
    assert printed["stored: area error, largest"] == pytest.approx(0.4, abs=1e-3)
    assert printed["stored: pixels in two hard masks, largest"] > 0
    assert printed["re-rendering, largest difference"] == pytest.approx(1, abs=1e-3)


def test_an_area_that_does_not_fit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(STORED), "--areas", "0.6"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two images, with an index."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert explain(folder, "data.limit=2").failures == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the folder, which the test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def faults(folder: Path) -> list[str]:
    """Returns what is found wrong with the files of a run."""
    check = FileCheck(folder)
    for _ in check.images(load(folder)):
        pass
    return check.faults()


def flip(file: Path, place: int = 100) -> None:
    """Changes one byte of a file."""
    content = file.read_bytes()
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def drop_line(file: Path) -> None:
    """Removes the last line of a file."""
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def replaced(file: Path, old: str, new: str) -> None:
    """Replaces a text of a file."""
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


ID = "00001-square"
DAMAGE: dict[str, Callable[[Path], object]] = {
    rf"{ID}\.safetensors is damaged": lambda run: flip(run / "masks" / f"{ID}.safetensors", 4000),
    r"x\.safetensors holds the masks of": lambda run: shutil.copy(
        run / "masks" / f"{ID}.safetensors", run / "masks/x.safetensors"
    ),
    rf"per_image\.csv has rows of '{ID}', which has no masks": lambda run: (
        run / "masks" / f"{ID}.safetensors"
    ).unlink(),
    rf"per_image\.csv has other rows .* of '{ID}'": lambda run: drop_line(run / "per_image.csv"),
    r"per_image\.csv is damaged": lambda run: (run / "per_image.csv").write_bytes(b"\xff"),
    r"per_image\.csv has no rows of": lambda run: (run / "per_image.csv").write_text("sample_id\n"),
    r"per_image\.csv is damaged \(line 2": lambda run: replaced(
        run / "per_image.csv", "\n00000-disc,", "\n00000-disc,,"
    ),
    rf"failures\.csv names '{ID}', which is explained": lambda run: (run / "failures.csv").write_text(
        f"image_id,reason\n{ID},x\n"
    ),
    r"failures\.csv is damaged": lambda run: (run / "failures.csv").write_text("[]"),
    r"summary\.json is damaged": lambda run: (run / "summary.json").write_text("[]"),
    r"summary\.json does not exist": lambda run: (run / "summary.json").unlink(),
    r"summary\.json says 3 images, and 2 have": lambda run: replaced(
        run / "summary.json", '"images": 2', '"images": 3'
    ),
    r"summary\.json has .* as p_full/k1": lambda run: replaced(
        run / "summary.json", '"p_full/k1": 0', '"p_full/k1": 1'
    ),
    r"0-of-1\.images has a damaged line, 1": lambda run: flip(run / "index" / "0-of-1.images"),
    r"0-of-1\.failures has a damaged line": lambda run: (run / "index/0-of-1.failures").write_text('{"id": "x"}\n'),
    r"curves\.csv is damaged \(it is empty": lambda run: (run / "curves.csv").write_bytes(b""),
    r"curves\.csv is damaged": lambda run: replaced(run / "curves.csv", ",1,0,", ",1,zero,"),
}


@pytest.mark.parametrize("words", DAMAGE)
@pytest.mark.slow
def test_whatever_is_wrong_is_said(run: Path, words: str) -> None:
    DAMAGE[words](run)
    found = faults(run)
    assert any(re.search(words, fault) for fault in found), found


def test_nothing_is_wrong_with_a_run_that_ended(finished: Path) -> None:
    before = sorted((file, file.stat().st_mtime_ns) for file in finished.rglob("*"))
    assert faults(finished) == []
    assert sorted((file, file.stat().st_mtime_ns) for file in finished.rglob("*")) == before


@pytest.mark.slow
def test_whatever_is_wrong_with_tars_is_said(tmp_path: Path) -> None:
    explain(tmp_path / "run", "data.limit=2", "store=shard")
    folder = RunFolder(tmp_path / "run", ShardStore())
    assert faults(folder.path) == []
    place, record = folder.images.existing(ID), folder.read(ID)
    whole = place.file.read_bytes()
    flip(place.file, place.start + 4000)
    (fault,) = faults(folder.path)
    assert fault.startswith(f"{place.file} ({ID}.safetensors) is damaged (")
    place.file.write_bytes(whole[: place.start + 4000])
    assert f"{place.file} ends within '{ID}.safetensors', which is lost; the same command makes it again" in faults(
        folder.path
    )
    flip(place.file, place.start - 500)  # a header
    assert any(re.search(r"\.tar has \d+ bytes from \d+ on that are no member", fault) for fault in faults(folder.path))
    place.file.write_bytes(whole)
    TarWriter(folder.images.folder, 10**9).append(f"{ID}.safetensors", pack_record(record))
    (fault,) = faults(folder.path)
    assert re.search(rf"\.tar has '{ID}\.safetensors', which is also in masks/.*\.tar, which counts", fault)


@pytest.mark.parametrize("name", ["run.json", f"masks/{ID}.safetensors"])
def test_the_command_prints_what_is_wrong_and_its_status_says_so(
    run: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    flip(run / name, 0)
    assert main([str(run), "--areas", "0.1", "--size", "24"]) == 3
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault.startswith(f"{run / name} is damaged (")


def test_an_index_of_other_scores_is_seen(run: Path) -> None:
    folder = RunFolder(run)
    record = folder.read(ID)
    record.rows[0]["p_full"] = 0.125
    (run / "index" / "0-of-1.images").unlink()
    ResultIndex(folder).add(record)
    assert [fault for fault in faults(run) if re.search(rf"index has other rows .* of '{ID}'", fault)]


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "run.json does not exist" in capsys.readouterr().err
