"""The gallery's rows: which image is the worst, what its cells say, and how many images have pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inr_xai.loggers.gallery import gallery_images, gallery_table
from inr_xai.loggers.pictures import WandbPicture
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Frame

FRAME = Frame((8, 8), (8, 8), 0, 0, (8, 8))
FACTS = {"p_full": 0.9, "p_predicted": 0.95, "right": 0, "target": 3, "target_name": "tench", "predicted": 4}


def rows_of(name: str, preserved: float | None, carries: int | None = 1, explanations: int = 1) -> list[dict[str, Any]]:
    """Returns the rows of an image; what explanation 1 preserves is said of the area 0.25 alone."""
    return [
        {"sample_id": name, "explanation": k, "area": area, **FACTS, "carries": carries, "chance": 0.125}
        | {"preservation_hard_mean": preserved if area == 0.25 else 1.0}
        for k in range(1, explanations + 1)
        for area in (0.125, 0.25, 0.5)
    ]


def store(folder: RunFolder, name: str) -> None:
    """Stores two explanations, of the upper and the lower quarter at the area 0.25."""
    masks = torch.zeros(2, 3, 8, 8, dtype=torch.float16)
    masks[0, 1, :2], masks[1, 1, 6:] = 1, 1
    no_class: dict[str, Any] = {"class": "", "arguments": {}}
    drawing = {"inr": no_class, "area_rule": no_class, "exclusion": {"exclude": True, "area": 0.5}, "seed": 0}
    inrs = [{"w": torch.ones(1)} for _ in range(2)]
    record = SampleRecord(name, 3, FRAME, [0.125, 0.25, 0.5], masks, inrs, torch.zeros(2, 2), [], drawing)
    folder.commit(record)


def test_the_worst_come_first_by_the_middle_area() -> None:
    rows = [
        *rows_of("good", 0.8),
        *rows_of("nothing", 0.9, carries=0),
        *rows_of("poor", 0.25),
        *rows_of("unknown", None, carries=None),
    ]
    images = gallery_images(rows, [0.5, 0.125, 0.25])
    assert [image.sample_id for image in images] == ["nothing", "unknown", "poor", "good"]
    assert {image.area for image in images} == {0.25}
    assert images[2].facts == ["poor", "tench", "class 4", False, 0.9, 0.95]
    assert images[2].explanations == [[0.25, 0.125, True]]
    assert images[1].explanations == [[None, 0.125, None]]


def test_the_first_images_have_pictures_with_a_layer_for_each_explanation(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for name in ("a", "b"):
        store(folder, name)
    images = gallery_images([*rows_of("a", 0.2, explanations=2), *rows_of("b", 0.7)], [0.125, 0.25, 0.5])
    more = {"verdict": {"b": "spread"}, "road": {"a": 0.5}}
    photo = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    columns, rows = gallery_table(images, folder, lambda name: photo, seed=0, pictures=1, more=more)
    assert columns[:4] == ["photo", "kept", "image", "class"]
    assert columns[8:] == [
        *("preservation 1", "chance 1", "carries 1", "preservation 2", "chance 2", "carries 2"),
        *("verdict", "road"),
    ]
    assert rows[0][2:] == ["a", "tench", "class 4", False, 0.9, 0.95, 0.2, 0.125, True, 0.2, 0.125, True, None, 0.5]
    assert rows[1][6:] == [0.9, 0.95, 0.7, 0.125, True, None, None, None, "spread", None]
    assert rows[1][:2] == [None, None]
    shown, kept = rows[0][:2]
    assert np.array_equal(shown.image, (photo.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    assert list(shown.layers) == ["explanation 1", "explanation 2"]
    for mask, part in zip(shown.layers.values(), (slice(0, 2), slice(6, 8)), strict=True):
        expected = np.zeros((8, 8), bool)
        expected[part] = True
        assert np.array_equal(mask, expected)
    assert np.array_equal(kept.image[:2], shown.image[:2])
    assert len(np.unique(kept.image[2:].reshape(-1, 3) @ [1, -1, 0])) == 1  # grey where nothing is kept


def test_an_image_that_cannot_be_read_keeps_its_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = gallery_images(rows_of("gone", 0.5), [0.25])
    _, rows = gallery_table(images, RunFolder(tmp_path), lambda name: torch.zeros(3, 8, 8), seed=0, pictures=5, more={})
    assert rows[0][:3] == [None, None, "gone"]
    assert "W&B gets no picture of gone" in caplog.text


def test_a_layer_is_a_class_of_its_own() -> None:
    masks = {f"explanation {k}": np.eye(4, dtype=bool)[::step] for k, step in ((1, 1), (2, -1))}
    picture = WandbPicture(np.zeros((4, 4, 3), np.uint8), "title", masks, small=True).at_wandb()
    layers = picture._masks
    assert layers is not None
    assert {name: mask._val["class_labels"] for name, mask in layers.items()} == {
        "explanation_1": {1: "explanation 1"},
        "explanation_2": {2: "explanation 2"},
    }
    assert (picture.format, picture._caption) == ("jpg", "title")
