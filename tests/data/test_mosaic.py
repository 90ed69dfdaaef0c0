"""Mosaics: their photos, the cells that are explained, which photos are confident, and a whole run on them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.confident_photos import find_confident_photos
from inr_xai.data import Synthetic
from inr_xai.data.mosaic import Grid, mosaic_preprocessing, read_photos, tiled
from inr_xai.errors import UserError
from inr_xai.types import Frame, Preprocessing, Sample
from tests.conftest import pictures
from tests.helpers.runs import FOLDER, explain, masks_of, table

SMALL = Preprocessing((24, 24), 24, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
WIDE = Preprocessing((20, 30), (20, 30), "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SOURCE = Synthetic(size=24)
PHOTOS = {name: index % 8 for index, name in enumerate(SOURCE.ids[:16])}
REFUSAL = r"cannot take mosaics of 48 x 48 pixels \(.*mat1 and mat2 .*; choose one that"


class Grey:
    """Grey images with one value each, with or without a label; images without a value cannot be read."""

    targets: str | int = "predicted"

    def __init__(
        self, values: Mapping[str, tuple[float | None, int | None]], *, every: int = 1, limit: int | None = None
    ):
        self.values, self.every, self.limit = values, every, limit
        self.ids, self.class_names = sorted(values), None
        self.scoring_ids: list[str] = []
        self.donor_ids: list[str] = []

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        value, label = self.values[sample_id]
        if value is None:
            raise UserError(f"cannot read {sample_id}")
        size = preprocessing.size
        return Sample(torch.full((3, *size), value), label, sample_id, Frame(size, size, 0, 0, size))


def by_value(images: torch.Tensor) -> torch.Tensor:
    """Returns log-probabilities of two classes; the probability of class 1 is the image's value."""
    value = images.mean((1, 2, 3))
    return torch.stack([1 - value, value], dim=1).log()


def of_values(**values: tuple[float | None, int | None]) -> tuple[FrozenClassifier, Grey]:
    return FrozenClassifier(by_value, preprocessing=SMALL, normalise=False), Grey(values)


def rigid() -> nn.Module:
    """Returns a network that takes one input size only."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 8))


@pytest.mark.parametrize("preprocessing", [SMALL, WIDE])
def test_a_cell_shows_its_photo_as_the_classifier_sees_it_alone(preprocessing: Preprocessing) -> None:
    side, (height, width) = 2, preprocessing.size
    grid = Grid(SOURCE, PHOTOS, side=side, count=2, targets_per_mosaic=2)
    for sample_id in grid.ids:
        sample, cell = grid.load(sample_id, preprocessing), grid.cells[sample_id]
        assert sample.image.shape == (3, side * height, side * width)
        assert sample.frame == Frame(*[(side * height, side * width)] * 2, 0, 0, (side * height, side * width))
        assert sample.segmentation is not None
        for place, name in enumerate(cell.photos):
            rows = slice(place // side * height, place // side * height + height)
            columns = slice(place % side * width, place % side * width + width)
            assert torch.equal(sample.image[:, rows, columns], SOURCE.load(name, preprocessing).image)
            assert bool((sample.segmentation[rows, columns] == (place == cell.place)).all())
        assert sample_id.endswith(f"@{cell.place}")
        assert sample.target == PHOTOS[cell.photos[cell.place]]


def test_nine_images_are_tiled_row_by_row() -> None:
    images, side = pictures(9, side=8), 3
    mosaic = tiled(images, side)
    for y, x in [(0, 0), (3, 20), (9, 7), (17, 23), (23, 0)]:
        assert torch.equal(mosaic[:, y, x], images[y // 8 * side + x // 8][:, y % 8, x % 8])


def test_a_mosaic_shows_different_classes_and_every_position_is_explained() -> None:
    grid = Grid(SOURCE, PHOTOS, count=40)
    assert all(len({PHOTOS[name] for name in cell.photos}) == 4 for cell in grid.cells.values())
    assert {cell.place for cell in grid.cells.values()} == {0, 1, 2, 3}
    assert {name for cell in grid.cells.values() for name in cell.photos} == set(PHOTOS)
    assert grid.ids == sorted(grid.cells)
    assert len(grid.ids) == 40


def test_more_mosaics_and_more_cells_do_not_change_the_others() -> None:
    few = Grid(SOURCE, PHOTOS, count=3, seed=5)
    shuffled = dict(sorted(PHOTOS.items(), reverse=True))
    assert few.cells.items() <= Grid(SOURCE, shuffled, count=6, seed=5).cells.items()
    every_cell = Grid(SOURCE, PHOTOS, count=3, seed=5, targets_per_mosaic=4)
    assert few.cells.items() <= every_cell.cells.items()
    assert [name[-1] for name in every_cell.ids] == list("0123" * 3)
    assert Grid(SOURCE, PHOTOS, count=3, seed=6).cells != few.cells


def test_pools_hold_no_photo_of_a_mosaic_and_are_as_large_as_one() -> None:
    grid = Grid(SOURCE, PHOTOS, count=40)
    free = set(SOURCE.ids) - set(PHOTOS)
    plain = [name for name in grid.scoring_ids + grid.donor_ids if not name.startswith("synthetic:")]
    assert set(plain) == free
    assert len(plain) == len(free)
    for name in (plain[0], grid.scoring_ids[-1]):
        assert grid.load(name, SMALL).image.shape == (3, 48, 48)
    assert torch.equal(grid.load(plain[0], SMALL).image, SOURCE.load(plain[0], mosaic_preprocessing(SMALL, 2)).image)
    assert mosaic_preprocessing(SMALL, 2).resize == 48
    assert mosaic_preprocessing(WIDE, 3).resize == (60, 90)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"side": 1}, "data.side=1 makes no mosaic; give a whole number from 2"),
        ({"side": 3}, "has photos of 8 classes, and a mosaic shows 9 different ones"),
        ({"count": 0}, "data.count=0 is not allowed"),
        ({"targets_per_mosaic": 5}, "data.targets_per_mosaic=5 is not allowed; give 1 to 4"),
        ({"limit": 0}, "data.limit=0 is not allowed"),
        ({"photos": PHOTOS | {"elsewhere": 1}}, "data.photos names 'elsewhere', which data.source does not have"),
    ],
)
def test_options_that_make_no_mosaics_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        Grid(SOURCE, **({"photos": PHOTOS} | options))


@pytest.mark.parametrize("text", [None, "{", "[]", '{"photos": {"a": "cat"}}', '{"threshold": 0.9}'])
def test_a_file_that_lists_no_photos_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "photos.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=r"is no list of photos .*; benchmarks/gridpg.py --choose writes such a file"):
        read_photos(file)


def test_the_highest_threshold_with_enough_photos_is_used() -> None:
    values = {f"{index:02}": (0.5 + 0.0049 * index, None) for index in range(100)}
    classifier, data = of_values(**values)
    for least in (1, 2, 5, 15, 30, 38):
        result = find_confident_photos(classifier, data, least=least)
        confident = {t: {n: 1 for n, (value, _) in values.items() if value >= t} for t in (0.99, 0.95, 0.9, 0.8)}
        highest = max(t for t in confident if len(confident[t]) >= least)
        assert (result.threshold, result.photos) == (highest, confident[highest])
    with pytest.raises(UserError, match=r"photos are recognised with a probability of 0\.8, and 90 are wanted"):
        find_confident_photos(classifier, data, least=90)


def test_a_label_must_be_the_prediction_and_broken_photos_are_left_out() -> None:
    classifier, data = of_values(
        right=(0.999, 1), wrong=(0.999, 0), unlabelled=(0.001, None), unsure=(0.6, 1), broken=(None, 1)
    )
    assert find_confident_photos(classifier, data, least=2).photos == {"right": 1, "unlabelled": 0}
    few = Grey(data.values, every=2, limit=2)  # of broken, right, unlabelled, unsure, wrong: broken and unlabelled
    assert find_confident_photos(classifier, few, least=1).photos == {"unlabelled": 0}


def test_a_classifier_of_one_size_is_refused(tiny: FrozenClassifier) -> None:
    tiny.require_mosaics(side=2)
    with pytest.raises(UserError, match=REFUSAL):
        FrozenClassifier(rigid(), preprocessing=SMALL).require_mosaics(side=2)


def run_of(folder: Path) -> list[str]:
    """Returns the options of a run on two mosaics."""
    file = folder / "photos.json"
    file.write_text(json.dumps({"photos": PHOTOS}))
    return ["data=grid", "data@data.source=synthetic", "data.source.size=24", f"data.photos={file}", "data.count=2"]


def test_a_run_refuses_a_classifier_of_one_size(tmp_path: Path) -> None:
    classifier = "classifier.model._target_=tests.data.test_mosaic.rigid"
    with pytest.raises(UserError, match=REFUSAL):
        explain(tmp_path / "run", *run_of(tmp_path), classifier, base=FOLDER[1:])
    assert not (tmp_path / "run").exists()


def test_a_run_on_mosaics(tmp_path: Path) -> None:
    options = run_of(tmp_path)
    assert explain(tmp_path / "run", *options, "explanations=1", base=FOLDER[1:]).failures == 0
    grid = Grid(SOURCE, PHOTOS, count=2)
    masks = masks_of(tmp_path / "run")
    assert sorted(masks) == grid.ids
    assert all(mask.shape == (1, 2, 48, 48) for mask in masks.values())
    rows = {row["sample_id"]: int(row["target"]) for row in table(tmp_path / "run")}
    assert rows == {name: PHOTOS[cell.photos[cell.place]] for name, cell in grid.cells.items()}
