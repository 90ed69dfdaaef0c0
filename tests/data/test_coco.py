"""COCO: the union of a category's instances, labels in the order of category ids, and what is refused."""

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.data import COCO
from inr_xai.errors import UserError
from inr_xai.types import ImageData, Preprocessing

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools (of the extra coco) decodes the masks")
# pycocotools 2.0.11 uses an old interface of NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

SIDE = (8, 10)
SAME = Preprocessing(size=SIDE, resize=SIDE, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 10, "name": "traffic light"}]


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """Returns the polygon of the pixels left..right-1 and top..bottom-1."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def runs(mask: np.ndarray) -> dict[str, Any]:
    """Returns uncompressed run lengths along the columns, zeros first."""
    counts, value = [0], 0
    for pixel in mask.T.flatten():
        if pixel != value:
            counts, value = [*counts, 0], pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def crowd() -> np.ndarray:
    mask = np.zeros(SIDE, dtype=int)
    mask[5:, 6:], mask[7, 7] = 1, 0
    return mask


def write(root: Path, instances: list[tuple[int, int, Any]], *, categories: list[dict[str, Any]] = CATEGORIES) -> Path:
    """Writes three photos and a file of instances, each given as (photo, category, segmentation)."""
    folder = root / "val2014"
    folder.mkdir(parents=True, exist_ok=True)
    names = {photo: f"COCO_val2014_{photo:012}.jpg" for photo in (7, 8, 9)}
    for photo, name in names.items():
        Image.new("RGB", SIDE[::-1], (photo * 20, 90, 30)).save(folder / name)
    content = {
        "images": [{"id": photo, "file_name": name, "height": 8, "width": 10} for photo, name in names.items()],
        "categories": categories,
        "annotations": [
            {"id": number, "image_id": photo, "category_id": category, "segmentation": segmentation, "iscrowd": 0}
            for number, (photo, category, segmentation) in enumerate(instances)
        ],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations/instances_val2014.json").write_text(json.dumps(content))
    return root


def small(root: Path) -> Path:
    """Writes photos of two persons, a crowd and a light; of a toothbrush; and of nothing."""
    return write(
        root,
        [
            (8, 1, rectangle(1, 1, 4, 3)),
            (8, 10, rectangle(0, 0, 10, 2)),
            (8, 1, rectangle(2, 2, 6, 4)),
            (8, 1, runs(crowd())),
            (7, 90, rectangle(0, 0, 2, 2)),
        ],
    )


NAMES = ["COCO_val2014_000000000007@toothbrush", "COCO_val2014_000000000008@person"]
LIGHT = "COCO_val2014_000000000008@traffic_light"


def test_a_segmentation_is_the_union_of_the_instances_of_a_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = COCO(small(tmp_path))
    assert capsys.readouterr().out == ""
    assert isinstance(data, ImageData)
    assert data.ids == [*NAMES, LIGHT]
    assert data.class_names == ["person", "traffic light", "toothbrush"]
    samples = [data.load(name, SAME) for name in data.ids]
    assert [sample.target for sample in samples] == [2, 0, 1]
    expected = crowd().astype(bool)
    expected[1:3, 1:4] = expected[2:4, 2:6] = True
    person = samples[1].segmentation
    assert person is not None
    assert person.tolist() == expected.tolist()
    assert samples[0].segmentation is not None
    assert samples[0].segmentation.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert [(sample.ignore, sample.boxes) for sample in samples] == [(None, None)] * 3


def test_a_class_of_less_than_a_quarter_is_difficult_if_there_is_another_class(tmp_path: Path) -> None:
    """A class of exactly a quarter of 80 pixels is not difficult, and a small object alone is not either."""
    data = COCO(small(tmp_path))
    assert [data.load(name, SAME).difficult for name in data.ids] == [False, False, False]
    write(tmp_path, [(8, 10, rectangle(0, 0, 10, 1)), (8, 1, rectangle(0, 0, 10, 2)), (7, 1, rectangle(0, 0, 1, 1))])
    data = COCO(tmp_path)
    assert data.ids == [NAMES[0].replace("toothbrush", "person"), NAMES[1], LIGHT]
    assert [data.load(name, SAME).difficult for name in data.ids] == [False, False, True]


def test_photos_and_annotations_may_be_in_different_folders(tmp_path: Path) -> None:
    small(tmp_path)
    file = tmp_path / "annotations/instances_val2014.json"
    assert COCO(tmp_path / "val2014", file).ids == COCO(tmp_path).ids
    (tmp_path / "val2014").rename(tmp_path / "val2017")
    (tmp_path / "annotations/instances_val2017.json").write_text(file.read_text())
    assert COCO(tmp_path, split="val2017").load(LIGHT, SAME).target == 1


def test_a_photo_of_several_classes_is_in_the_pools_once(tmp_path: Path) -> None:
    data = COCO(small(tmp_path), targets=1, limit=2, every=2)
    assert (data.targets, data.limit, data.every) == (1, 2, 2)
    assert data.scoring_ids[0] == NAMES[0]
    assert data.donor_ids[0] == NAMES[1]
    assert LIGHT not in data.scoring_ids + data.donor_ids


def test_a_broken_mask_or_photo_fails_alone(tmp_path: Path) -> None:
    write(
        tmp_path, [(7, 1, []), (8, 1, rectangle(0, 0, 2, 2)), (8, 10, rectangle(20, 20, 30, 30)), (9, 1, runs(crowd()))]
    )
    Image.new("RGB", (9, 9)).save(tmp_path / "val2014/COCO_val2014_000000000009.jpg")
    data = COCO(tmp_path)
    for name, message in [
        ("COCO_val2014_000000000007@person", r"cannot decode the segmentation of"),
        ("COCO_val2014_000000000009@person", r"the segmentation has \(8, 10\) pixels and its photo \(9, 9\)"),
        (LIGHT, r"has no pixel of its class"),
    ]:
        with pytest.raises(UserError, match=message):
            data.load(name, SAME)
    assert data.load(NAMES[1], SAME).target == 0
    (tmp_path / "val2014/COCO_val2014_000000000008.jpg").unlink()
    with pytest.raises(UserError, match=r"cannot read the image"):
        data.load(NAMES[1], SAME)


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent' does not exist; data.root must hold val2014/\*.jpg and annotations/"):
        COCO(tmp_path / "absent")
    with pytest.raises(UserError, match=r"cannot read the annotations .*instances_val2014.json.*give data.annotations"):
        COCO(tmp_path)
    file = small(tmp_path) / "annotations/instances_val2014.json"
    captions = json.loads(file.read_text())
    del captions["annotations"][0]["category_id"]
    for content, message in [
        ("{", r"cannot read the annotations"),
        ("[]", r"cannot read the annotations"),
        (json.dumps(captions), r"cannot read the annotations .*category_id"),
        ("{}", r"no photo of the data set shows a class"),
    ]:
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            COCO(tmp_path)
    small(tmp_path)
    (tmp_path / "val2014").rename(tmp_path / "photos")
    with pytest.raises(UserError, match=r"none of the photos exists"):
        COCO(tmp_path)


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r"pip install 'inr-xai\[coco\]'"):
        COCO(small(tmp_path))


@pytest.mark.slow
def test_masks_and_labels_equal_those_of_the_pointing_game(tmp_path: Path) -> None:
    """Compares ten random polygons and masks, with all 80 category ids in random order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pytest.importorskip("torchray.benchmark.datasets")
    random = np.random.default_rng(0)
    ids = random.permutation(sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))
    categories = [{"id": int(category), "name": f"c{category:02}"} for category in ids]
    polygons = [[[float(value) for value in random.uniform(0, 8, 8)]] for _ in range(5)]
    masks = [runs(random.integers(0, 2, SIDE)) for _ in range(5)]
    categories_shown = [int(category) for category in random.choice(ids[:4], 10)]
    write(
        tmp_path, [(8, *pair) for pair in zip(categories_shown, polygons + masks, strict=True)], categories=categories
    )
    data = COCO(tmp_path)
    index = coco.COCO(tmp_path / "annotations/instances_val2014.json")
    samples = [data.load(name, SAME) for name in data.ids]
    assert {sample.target for sample in samples} == set(theirs.coco_as_class_ids(index.imgToAnns[8]))
    assert len(samples) == len(set(categories_shown)) > 1
    for sample in samples:
        assert sample.segmentation is not None
        expected = theirs.coco_as_mask(SimpleNamespace(coco=index), index.imgToAnns[8], sample.target)
        assert torch.equal(sample.segmentation, expected)
