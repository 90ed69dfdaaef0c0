"""`inr-xai verify` on a stored run: the figures that it prints, and that broken masks are seen in them."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from inr_xai.runs.folder import RunFolder
from inr_xai.runs.verify import main

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
