"""A run folder that version 0.1.0 wrote, before modules moved: it loads, renders, is measured and is continued."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

import inr_xai
from inr_xai.evaluate.__main__ import main as evaluate
from tests.helpers.runs import configured, masks_of, run, table

STORED = Path(__file__).resolve().parent / "data" / "run_0.1.0"
OPTIONS = ["steps=6", "areas=[0.1]", "explanations=2", "logger.wandb.mode=disabled", "callbacks.figures=null"]


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A copy of the stored folder, which the test may change."""
    return Path(shutil.copytree(STORED, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file below a folder that is not hidden, as that of the lock is."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_masks_are_rendered_as_before() -> None:
    stored = inr_xai.load(STORED)
    rendered = safetensors.torch.load_file(STORED / "rendered.safetensors")
    assert list(stored) == ["00000-disc", "00001-square"]
    for sample_id, explained in stored.items():
        torch.testing.assert_close(
            explained.importance(48), rendered[f"{sample_id}/importance"].float(), rtol=0, atol=1e-3
        )
        for k in (1, 2):
            expected = rendered[f"{sample_id}/mask/k{k}"].float()
            torch.testing.assert_close(explained.mask(0.13, 48, explanation=k), expected, rtol=0, atol=1e-3)
            fitted = explained.masks[k - 1, 0].float()
            torch.testing.assert_close(explained.mask(0.1, explanation=k), fitted, rtol=0, atol=1e-3)


def test_a_new_fit_finds_the_stored_masks(tmp_path: Path) -> None:
    """Other processors round differently, and fits amplify it: a few pixels may differ, a changed method is seen."""
    stored, fitted = masks_of(STORED), tmp_path / "run"
    run(configured(*OPTIONS, "data.limit=2", f"out={fitted}"))
    for sample_id, masks in masks_of(fitted).items():
        differing = (masks.float() - stored[sample_id].float()).abs() > 0.01
        assert float(differing.float().mean()) < 0.01
    rows = zip(table(fitted), table(STORED), strict=True)
    for row, before in rows:
        assert row.keys() == before.keys()
        assert float(row["preservation_hard_mean"]) == pytest.approx(float(before["preservation_hard_mean"]), abs=0.01)


def test_it_is_continued_with_the_images_that_it_lacks(old_run: Path) -> None:
    before = masks_of(old_run)
    cfg = configured(*OPTIONS, "data.limit=3", f"out={old_run}")
    outcome = run(cfg)
    after = masks_of(old_run)
    assert (outcome.failures, len(after)) == (0, 3)
    assert all(torch.equal(after[sample_id], masks) for sample_id, masks in before.items())
    rows = {row["sample_id"]: row for row in table(old_run)}
    stored = {row["sample_id"]: row for row in table(STORED)}
    assert {sample_id: rows[sample_id] for sample_id in stored} == stored
    facts = json.loads((old_run / "run.json").read_text())
    assert facts["sessions"] == json.loads((STORED / "run.json").read_text())["sittings"] + 1 == 2
    assert "sittings" not in facts


def test_metrics_that_are_there_are_not_computed_again(old_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = contents(old_run / "evaluation")
    with caplog.at_level("INFO"):
        assert evaluate([str(old_run), "--metrics", "insertion_auc,area_error,iou"]) == 0
    assert contents(old_run / "evaluation") == before
    assert not [record for record in caplog.records if record.getMessage().startswith("image ")]


def test_another_metric_is_added_to_those_that_are_there(old_run: Path) -> None:
    before = {row["sample_id"]: row for row in table(old_run / "evaluation", "masks.csv")}
    assert evaluate([str(old_run), "--metrics", "sparseness"]) == 0
    after = {row["sample_id"]: row for row in table(old_run / "evaluation", "masks.csv")}
    for sample_id, row in before.items():
        assert {name: after[sample_id][name] for name in row} == row
        assert 0 < float(after[sample_id]["sparseness"]) < 1
