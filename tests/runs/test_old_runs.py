"""A run folder of version 0.1.0, before modules moved: it loads, renders and is measured, but is not continued."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

import inr_xai
from inr_xai.draws import GENERATOR
from inr_xai.errors import UserError
from inr_xai.evaluate.__main__ import main as evaluate
from inr_xai.runs.masks_file import read_facts
from tests.helpers.runs import configured, run, table

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


def test_it_is_not_continued_by_other_draws(old_run: Path) -> None:
    before = contents(old_run)
    with pytest.raises(UserError) as refusal:
        run(configured(*OPTIONS, "data.limit=3", f"out={old_run}"))
    assert str(refusal.value) == (
        f"{old_run} holds a run whose random draws are of version 1, and this version of inr_xai draws version 2; "
        "continue it with the version that began it, or give another out=PATH"
    )
    assert contents(old_run) == before


@pytest.mark.slow
def test_a_new_run_names_the_version_of_its_draws(tmp_path: Path) -> None:
    run(configured(*OPTIONS, "data.limit=1", f"out={tmp_path / 'run'}"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["draws"] == GENERATOR == 2
    (file,) = (tmp_path / "run" / "masks").rglob("*.safetensors")
    assert read_facts(file)[0]["draws"] == GENERATOR


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
