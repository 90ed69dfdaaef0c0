"""Which images a run explains, and for which class: shards, limits, batches and targets change no other image."""

from pathlib import Path

import pytest
import torch

from inr_xai.classifier.options import IMAGENET_MEAN, IMAGENET_STD
from inr_xai.data import Synthetic
from inr_xai.runner import sample_plan
from inr_xai.runs.shards import shard_of, split_ids
from inr_xai.runs.work import batches
from inr_xai.types import Preprocessing
from tests.helpers.runs import explain, masks_of, network, table

FIVE = ["data.size=5", "explanations=1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that explains all of five images."""
    folder = tmp_path_factory.mktemp("whole")
    explain(folder, *FIVE)
    return folder


def same_as(whole: Path, masks: dict[str, torch.Tensor]) -> bool:
    """Returns whether these masks are those of the whole run, to the bit."""
    expected = masks_of(whole)
    return all(torch.equal(masks[name], expected[name]) for name in masks)


@pytest.mark.slow
def test_shards_share_out_the_images_and_give_the_same_bits(whole: Path, tmp_path: Path) -> None:
    parts = []
    for index in range(3):
        explain(tmp_path / str(index), *FIVE, f"shard.index={index}", "shard.count=3")
        parts.append(masks_of(tmp_path / str(index)))
    assert [sorted(part) for part in parts] == split_ids(Synthetic(5).ids, 3)
    joined = parts[0] | parts[1] | parts[2]
    assert joined.keys() == masks_of(whole).keys()
    assert same_as(whole, joined)
    rows = [row for index in range(3) for row in table(tmp_path / str(index))]
    assert sorted(rows, key=lambda row: row["sample_id"]) == sorted(table(whole), key=lambda row: row["sample_id"])


@pytest.mark.slow
def test_the_batch_changes_nothing(whole: Path, tmp_path: Path) -> None:
    explain(tmp_path, *FIVE, "image_batch_size=2")
    assert table(tmp_path, "curves.csv") == table(whole, "curves.csv")
    assert masks_of(tmp_path).keys() == masks_of(whole).keys()
    assert same_as(whole, masks_of(tmp_path))


@pytest.mark.parametrize(
    ("every", "limit", "expected"),
    [(1, 2, [0, 1]), (2, None, [0, 2, 4]), (2, 2, [0, 2]), (1, 9, [0, 1, 2, 3, 4])],
)
def test_every_and_limit_in_this_order(every: int, limit: int | None, expected: list[int]) -> None:
    data = Synthetic(5, every=every, limit=limit)
    assert sample_plan(data) == [data.ids[place] for place in expected]


def test_a_run_explains_the_selected_images(whole: Path, tmp_path: Path) -> None:
    own = shard_of("00002-triangle", 5)
    assert shard_of("00000-disc", 5) != own
    explain(tmp_path, *FIVE, "data.every=2", "data.limit=2", "shard.count=5", f"shard.index={own}")
    masks = masks_of(tmp_path)
    assert list(masks) == ["00002-triangle"]
    assert same_as(whole, masks)


def test_more_shards_than_images_leave_one_empty(tmp_path: Path) -> None:
    empty = ({0, 1, 2} - {shard_of(sample_id, 3) for sample_id in Synthetic(2).ids}).pop()
    outcome = explain(tmp_path, "data.size=2", f"shard.index={empty}", "shard.count=3")
    assert (outcome.metric, outcome.failures, masks_of(tmp_path)) == (None, 0, {})


@pytest.mark.slow
def test_shards_may_take_turns_in_one_folder(whole: Path, tmp_path: Path) -> None:
    for index in range(2):
        explain(tmp_path, *FIVE, f"shard.index={index}", "shard.count=2")
    assert table(tmp_path) == table(whole)
    explain(tmp_path, *FIVE)
    assert same_as(whole, masks_of(tmp_path))
    assert table(tmp_path) == table(whole)


@pytest.mark.slow
def test_targets_by_label_by_prediction_and_by_number(tmp_path: Path) -> None:
    targets = {}
    for rule in ("label", "predicted", "6"):
        explain(tmp_path / rule, *FIVE, "steps=1", f"data.targets={rule}")
        targets[rule] = [int(row["target"]) for row in table(tmp_path / rule)][::2]
    preprocessing = Preprocessing((24, 24), 24, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
    images = torch.stack([Synthetic(5).load(name, preprocessing).image for name in Synthetic(5).ids])
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        predicted = network().eval()((images - mean) / std).argmax(1).tolist()
    assert targets == {"label": [0, 1, 2, 3, 4], "predicted": predicted, "6": [6] * 5}
    assert predicted != targets["label"]


def test_batches_leave_out_ids_that_are_done_and_keep_their_places() -> None:
    assert list(batches(list("abcdefg"), 3, set())) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert list(batches(list("abcdefg"), 3, {"b", "d", "e", "f"})) == [["a", "c"], ["g"]]
