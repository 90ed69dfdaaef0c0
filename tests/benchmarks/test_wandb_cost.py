"""What an image costs at W&B: three runs tell fixed bytes, those of an image and those of a picture apart."""

from pathlib import Path

import pytest

from benchmarks import wandb_cost
from benchmarks.wandb_cost import PARTS, SENT_FILES, SENT_REST, Cost
from inr_xai.loggers.files import LARGE


def test_three_runs_tell_the_parts_of_a_cost_apart() -> None:
    true = Cost(fixed=1000.0, image=30.0, picture=7.0)
    values = [true.at(4, 0), true.at(12, 0), true.at(12, 12)]
    assert values == [1120.0, 1360.0, 1444.0]
    assert Cost.of(4, 12, values) == true
    assert true.at(8) == 1000 + 8 * 37
    assert true.at(500) == 1000 + 500 * 30 + 200 * 7  # by default, 200 images have pictures


def test_masks_and_tables_are_sent_up_to_a_size() -> None:
    costs = dict.fromkeys(PARTS, Cost(0.0, 0.0, 0.0)) | {
        SENT_FILES: Cost(0.0, LARGE / 500, 0.0),
        SENT_REST: Cost(10.0, 0.0, 0.0),
    }
    assert wandb_cost.sent_bytes(costs, 500) == pytest.approx(LARGE + 10)
    assert wandb_cost.sent_bytes(costs, 501) == 10


def test_a_reference_is_not_sent(tmp_path: Path) -> None:
    contents = [{"size": "5", "local_path": "a"}, {"size": "7", "ref": "file:///b"}, {"size": "2", "local_path": "c"}]
    assert wandb_cost.artifact_bytes({"type": "audit", "manifest": {"contents": contents}}) == ("audit", 7)


def test_files_are_counted_by_what_they_are(tmp_path: Path) -> None:
    for name, size in {"masks/a/b.safetensors": 5, "figures/a.png": 3, "run.json": 2, "index/1.json": 1}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * size)
    counted = wandb_cost.sizes(tmp_path)
    assert [counted[part] for part in PARTS] == [5, 3, 3, 0, 0, 0]
