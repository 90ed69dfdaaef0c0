"""Metrics of objects that lie outside the input, wholly or in part, and of segmentations in the place of boxes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.classifier import FrozenClassifier
from inr_xai.data.annotated import Annotated, Marks, PhotoClass
from inr_xai.data.transform import mask_to_image
from inr_xai.evaluate.explained_image import ExplainedImage
from inr_xai.evaluate.registry import REGISTRY
from inr_xai.types import Preprocessing

PHOTO = (80, 140)  # height and width; the crop has the columns 30 to 109
CROP = Preprocessing(size=(40, 40), resize=40, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)
SQUASHED = replace(CROP, resize=(40, 40))
LOCALISING = [name for name, metric in REGISTRY.items() if metric.marks]


class OnePhoto(Annotated):
    """A data set of one grey photo with some marks."""

    def __init__(self, root: Path, marks: Marks):
        super().__init__(targets="label", limit=None, every=1)
        Image.new("RGB", PHOTO[::-1]).save(root / "a.png")
        self._marks_of_photo = marks
        self._set_samples({"a": PhotoClass(root / "a.png", 3)}, ["it"], pool_size=1)

    def _marks(self, sample_id: str) -> Marks:
        return self._marks_of_photo


def box(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    """Returns marks of the photo that are True from row `top` to `bottom` and from column `left` to `right`."""
    marks = torch.zeros(PHOTO, dtype=torch.bool)
    marks[top : bottom + 1, left : right + 1] = True
    return marks


def explained_image(
    data: Annotated, classifier: FrozenClassifier, heatmap: torch.Tensor, transform: Preprocessing = CROP
) -> ExplainedImage:
    masks = torch.stack([heatmap, heatmap.flip(0)])
    return ExplainedImage(data.load("a", transform), 3, heatmap, classifier, 0, areas=(0.1, 0.3), masks=masks)


def values(image: ExplainedImage, *names: str) -> dict[str, float]:
    """Returns the columns of metrics, none of which may raise."""
    return {column: value for name in names for column, value in REGISTRY[name].compute(image).items()}


def peaked(row: int, column: int) -> torch.Tensor:
    """Returns a map of the input that falls off around one pixel."""
    down, across = (torch.arange(40) - row)[:, None], torch.arange(40) - column
    return 1 / (1 + down**2 + across**2)


def test_an_object_beyond_the_crop_is_missed_and_fails_nothing(tmp_path: Path, tiny: FrozenClassifier) -> None:
    for marks in (Marks(boxes=box(0, 9, 0, 9)), Marks(segmentation=box(0, 9, 0, 9))):
        columns = values(explained_image(OnePhoto(tmp_path, marks), tiny, peaked(20, 20)), *LOCALISING)
        assert {name.split("/")[0] for name in columns} == set(LOCALISING)
        assert {"iou/a0.1", "recall/a0.3"} <= set(columns)
        assert set(columns.values()) == {0.0}


@pytest.mark.parametrize(("right", "hit"), [(17, False), (18, True), (29, True), (40, True)])
def test_hits_are_measured_to_the_whole_object(tmp_path: Path, tiny: FrozenClassifier, right: int, hit: bool) -> None:
    """The peak is at the photo's column 32, at the left of the crop; the object ends at 29 or before, beyond it."""
    data, heatmap = OnePhoto(tmp_path, Marks(boxes=box(30, 45, 5, right))), peaked(20, 1)
    image = explained_image(data, tiny, heatmap)
    saliency = mask_to_image(heatmap[None], image.sample.frame)[0].numpy()
    top, left = np.unravel_index(saliency.argmax(), PHOTO)
    assert 30 <= left <= 33
    near = min(math.dist((top, left), place) for place in box(30, 45, 5, right).nonzero().tolist())
    assert (near < 15) == hit
    assert values(image, "pointing_game") == {"pointing_game": float(hit)}


def test_a_squashed_photo_loses_nothing(tmp_path: Path, tiny: FrozenClassifier) -> None:
    """Row 5 of 40 is row 10 or 11 of 80; column 1 of 40 is 3 to 6 of 140."""
    data = OnePhoto(tmp_path, Marks(boxes=box(0, 9, 0, 9)))
    columns = values(explained_image(data, tiny, peaked(5, 1), SQUASHED), "pointing_game", "energy_pointing_game")
    assert columns["pointing_game"] == 1
    assert 0 < columns["energy_pointing_game"] < 1


def test_marks_of_the_input_alone_go_back_to_the_photo(tmp_path: Path, tiny: FrozenClassifier) -> None:
    data = OnePhoto(tmp_path, Marks(boxes=box(0, 79, 0, 50)))
    for column, hit in [(1, 1.0), (38, 0.0)]:
        image = explained_image(data, tiny, peaked(20, column))
        alone = replace(image, sample=replace(image.sample, on_photo=None))
        assert values(alone, "pointing_game") == values(image, "pointing_game") == {"pointing_game": hit}


def test_energy_is_of_boxes_and_mass_of_the_segmentation(tmp_path: Path, tiny: FrozenClassifier) -> None:
    """The object is an L, whose box is larger. Columns 30 to 109 of the photo are columns 0 to 39 of the input."""
    shape = box(20, 59, 40, 47) | box(52, 59, 40, 79)
    heatmap = torch.rand(40, 40, generator=torch.Generator().manual_seed(0))
    both = "energy_pointing_game", "relevance_mass"
    from_segmentation = values(explained_image(OnePhoto(tmp_path, Marks(segmentation=shape)), tiny, heatmap), *both)
    total = float(heatmap.sum())
    assert from_segmentation["energy_pointing_game"] == pytest.approx(
        float(heatmap[10:30, 5:25].sum()) / total, abs=1e-6
    )
    arms = float(heatmap[10:30, 5:9].sum() + heatmap[26:30, 9:25].sum())
    assert from_segmentation["relevance_mass"] == pytest.approx(arms / total, abs=1e-6)
    marks = Marks(segmentation=shape, boxes=box(0, 79, 40, 79))
    from_boxes = values(explained_image(OnePhoto(tmp_path, marks), tiny, heatmap), *both)
    assert from_boxes["energy_pointing_game"] == pytest.approx(float(heatmap[:, 5:25].sum()) / total, abs=1e-6)
    assert from_boxes["relevance_mass"] == from_segmentation["relevance_mass"]
