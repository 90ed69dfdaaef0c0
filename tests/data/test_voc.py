"""PASCAL VOC: samples for each photo and class, palette masks with void, boxes that count from 1, what is refused."""

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.data import VOC
from inr_xai.data.labels import imagenet_index, imagenet_names
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.data.pools import is_synthetic
from inr_xai.data.voc import IMAGENET
from inr_xai.errors import UserError
from inr_xai.types import ImageData, Preprocessing, Sample

SIDE = (10, 12)
SAME = Preprocessing(size=SIDE, resize=SIDE, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)
CAT, DOG, PERSON = 8, 12, 15  # palette indices
Thing = tuple[str, tuple[float, float, float, float], int]  # name; xmin, ymin, xmax, ymax from 1; difficult


def annotation(things: Sequence[Thing], size: tuple[int, int] = SIDE) -> str:
    """Returns an annotation in the published format; each object also has a part with a name and a box."""
    objects = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><part><name>head</name><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part><bndbox>"
        f"<xmax>{box[2]}</xmax><xmin>{box[0]}</xmin><ymax>{box[3]}</ymax><ymin>{box[1]}</ymin></bndbox></object>"
        for name, box, difficult in things
    )
    height, width = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"


def put(
    folder: Path,
    name: str,
    *things: Thing,
    ids: np.ndarray | None = None,
    task: str = "Segmentation",
    split: str = "val",
) -> None:
    """Writes a photo, its annotation and, if given, its palette mask; adds its name to the split."""
    parts = ("JPEGImages", "Annotations", "SegmentationClass", f"ImageSets/{task}")
    for part in parts:
        (folder / part).mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(sum(name.encode())).integers(0, 255, (*SIDE, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "Annotations" / f"{name}.xml").write_text(annotation(things))
    with (folder / "ImageSets" / task / f"{split}.txt").open("a") as stream:
        stream.write(f"{name}\n")
    if ids is not None:
        mask = Image.fromarray(ids.astype(np.uint8))
        mask.putpalette([value for index in range(256) for value in (index * 7 % 256, index * 3 % 256, 255 - index)])
        mask.save(folder / "SegmentationClass" / f"{name}.png")


def two_classes() -> np.ndarray:
    """Returns a mask of a cat above a dog, with void between them."""
    ids = np.zeros(SIDE, dtype=int)
    ids[1:4, 2:6], ids[4, 2:9], ids[5:9, 3:10] = CAT, 255, DOG
    return ids


def small(root: Path) -> Path:
    """Writes two photos of VOC2012: one of two classes, one of a single object."""
    folder = root / "VOCdevkit" / "VOC2012"
    put(folder, "2007_000002", ("cat", (3, 2, 6, 4), 0), ("dog", (4, 6, 10, 9), 0), ids=two_classes())
    put(folder, "2007_000001", ("cat", (3, 2, 6, 4), 0), ids=np.where(two_classes() == CAT, CAT, 0))
    return root


def marks(sample: Sample) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    assert sample.segmentation is not None
    assert sample.ignore is not None
    assert sample.boxes is not None
    return sample.segmentation, sample.ignore, sample.boxes


def test_a_sample_for_each_photo_and_class(tmp_path: Path) -> None:
    data = VOC(small(tmp_path))
    assert isinstance(data, ImageData)
    assert data.ids == ["2007_000001@cat", "2007_000002@cat", "2007_000002@dog"]
    assert data.class_names is not None
    assert (data.class_names[0], data.class_names[19], len(data.class_names)) == ("aeroplane", "tvmonitor", 20)
    ids = two_classes()
    for name, index, (left, top, right, bottom) in [("cat", CAT, (2, 1, 5, 3)), ("dog", DOG, (3, 5, 9, 8))]:
        sample = data.load(f"2007_000002@{name}", SAME)
        segmentation, ignore, boxes = marks(sample)
        inside = np.zeros(SIDE, dtype=bool)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                inside[y, x] = True
        assert sample.target == index - 1 == data.class_names.index(name)
        assert segmentation.tolist() == (ids == index).tolist()
        assert ignore.tolist() == (ids == 255).tolist()
        assert boxes.tolist() == inside.tolist()
    single = data.load("2007_000001@cat", SAME)
    assert marks(single)[0].tolist() == (ids == CAT).tolist()
    assert not marks(single)[1].any()


@pytest.mark.parametrize("inside", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_root_may_be_any_of_three_folders(tmp_path: Path, inside: str) -> None:
    assert len(VOC(small(tmp_path) / inside, year="2012").ids) == 3


def test_boxes_without_segmentations_of_the_main_split(tmp_path: Path) -> None:
    """A class with difficult boxes only has no sample; otherwise its difficult boxes are marked too."""
    folder = tmp_path / "VOC2007"
    cat, hidden, dog = ("cat", (1, 1, 3, 2), 0), ("cat", (11, 9, 12, 10), 1), ("dog", (5, 5, 6, 6), 1)
    put(folder, "000001", cat, hidden, dog, task="Main", split="test")
    put(folder, "000002", dog, task="Main", split="test")
    data = VOC(folder, year=2007, split="test", task="boxes")
    assert data.ids == ["000001@cat"]
    sample = data.load("000001@cat", SAME)
    assert (sample.segmentation, sample.ignore) == (None, None)
    assert sample.boxes is not None
    expected = [[y, x] for y, x in np.ndindex(SIDE) if (y < 2 and x < 3) or (y >= 8 and x >= 10)]
    assert sample.boxes.nonzero().tolist() == expected
    assert sample.difficult


@pytest.mark.parametrize(("right", "others", "difficult"), [(6, 1, False), (5, 1, True), (5, 0, False)])
def test_a_class_of_less_than_a_quarter_is_difficult_if_there_is_another_class(
    tmp_path: Path, right: int, others: int, difficult: bool
) -> None:
    """Six columns of five rows are a quarter of 10 x 12 pixels; overlapping boxes count once."""
    cats: list[Thing] = [("cat", (1, 1, right, 5), 0), ("cat", (1, 1, 2, 5), 0)]
    put(tmp_path, "a", *cats, *[("person", (9, 9, 10, 10), 1)] * others, task="Main")
    assert VOC(tmp_path, task="boxes").load("a@cat", SAME).difficult == difficult


def test_decimals_in_boxes_are_rounded(tmp_path: Path) -> None:
    put(tmp_path, "a", ("cat", (2.7, 1.2, 4.4, 2.0), 0), task="Main")
    sample = VOC(tmp_path, task="boxes").load("a@cat", SAME)
    assert sample.boxes is not None
    assert sample.boxes.nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_classes_of_imagenet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "a", ("cat", (1, 1, 2, 2), 0), ("person", (3, 3, 4, 4), 0), task="Main")
    put(tmp_path, "b", ("person", (3, 3, 4, 4), 0), task="Main")
    with caplog.at_level(logging.INFO, logger="inr_xai"):
        data = VOC(tmp_path, task="boxes", classes="imagenet")
    assert data.ids == ["a@cat"]
    assert data.load("a@cat", SAME).target == 281
    assert data.load("a@cat", SAME).difficult
    assert data.class_names == imagenet_names()
    assert "2 samples of the class person are left out" in caplog.text
    (tmp_path / "ImageSets/Main/b.txt").write_text("b\n")
    with pytest.raises(UserError, match=r"no photo of the data set shows a class that has a label"):
        VOC(tmp_path, task="boxes", classes="imagenet", split="b")


def test_the_wnids_of_imagenet_have_the_names_of_the_comments() -> None:
    words = (
        "airliner, mountain bike, robin, speedboat, water bottle, school bus, sports car, tabby, folding chair, ox, "
    )
    words += (
        "dining table, Labrador retriever, sorrel, motor scooter, pot, ram, studio couch, passenger car, television"
    )
    names, index = imagenet_names(), imagenet_index()
    class_names = [names[index[wnid]] for wnid in IMAGENET.values() if wnid is not None]
    assert [name.split(",")[0] for name in class_names] == words.split(", ")
    assert list(IMAGENET) == sorted(IMAGENET)
    assert [name for name, wnid in IMAGENET.items() if wnid is None] == ["person"]


def test_a_photo_of_several_classes_is_in_the_pools_once(tmp_path: Path) -> None:
    for number in range(8):
        things: list[Thing] = [("dog", (1, 1, 2, 2), 0), ("cat", (3, 3, 4, 4), 0), ("sheep", (5, 5, 6, 6), 0)]
        put(tmp_path, f"{number}", *things, task="Main")
    data = VOC(tmp_path, task="boxes")
    photos = [name for name in data.scoring_ids if not is_synthetic(name)]
    assert photos == ["0@cat", "2@cat", "4@cat", "6@cat"]
    assert [name for name in data.donor_ids if not is_synthetic(name)] == ["1@cat", "3@cat", "5@cat", "7@cat"]
    pool = PhotoPool(photos, data, SAME)
    for name in ("0@cat", "0@dog", "4@sheep", "6@dog"):
        image = data.load(name, SAME).image
        assert all(not torch.equal(photo, image) for photo in pool.following(name))


def test_a_broken_file_fails_its_photo_alone(tmp_path: Path) -> None:
    folder = small(tmp_path) / "VOCdevkit" / "VOC2012"
    for name, thing in [("void", ("dog", (1, 1, 2, 2), 0)), ("wide", ("cat", (1, 1, 13, 2), 0))]:
        put(folder, name, thing, ids=np.where(two_classes() == CAT, CAT, 255))
    for name in ("rgb", "gone", "photo"):
        put(folder, name, ("cat", (3, 2, 6, 4), 0), ids=two_classes())
    with Image.open(folder / "SegmentationClass/rgb.png") as opened:
        coloured = opened.convert("RGB")
    coloured.save(folder / "SegmentationClass/rgb.png")
    (folder / "SegmentationClass/gone.png").unlink()
    (folder / "JPEGImages/photo.jpg").unlink()
    data = VOC(tmp_path)
    for sample_id, message in [
        ("rgb@cat", r"is of mode RGB, not P or L, so its values are no class ids"),
        ("gone@cat", r"cannot read the segmentation"),
        ("photo@cat", r"cannot read the image"),
        ("void@dog", r"the segmentation of 'void@dog' has no pixel of its class"),
        ("wide@cat", r"columns 0..12 and rows 0..1 does not lie within the photo of 10 x 12 pixels"),
        ("rgb@dog", r"there is no sample 'rgb@dog'"),
    ]:
        with pytest.raises(UserError, match=message):
            data.load(sample_id, SAME)
    assert data.load("2007_000001@cat", SAME).target == 7


def test_bad_annotations_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a", ("cat", (1, 1, 2, 2), 0), task="Main")
    file = tmp_path / "Annotations/a.xml"
    for content, message in [
        ("<annotation>", r"cannot read the annotation .*a.xml"),
        (annotation([("zebra", (1, 1, 2, 2), 0)]), r"an object of 'zebra', which is not one of VOC's 20 classes"),
        ("<annotation><object><name>cat</name></object></annotation>", r"cannot read the annotation"),
        ("<annotation></annotation>", r"no photo of the data set shows a class"),
    ]:
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            VOC(tmp_path, task="boxes")
    file.unlink()
    with pytest.raises(UserError, match=r"cannot read the annotation"):
        VOC(tmp_path, task="boxes")


def test_an_annotation_that_cannot_be_read_fails_its_photo_alone(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e", "f"):
        put(tmp_path, name, ("cat", (1, 1, 2, 2), 0), ("dog", (3, 3, 4, 4), 0), task="Main")
    (tmp_path / "Annotations/b.xml").write_text(annotation([("cat", (1, 1, 2, 2), 0)])[:-20])
    (tmp_path / "Annotations/c.xml").unlink()
    (tmp_path / "Annotations/e.xml").unlink()
    os.mkfifo(tmp_path / "Annotations/e.xml")
    (tmp_path / "Annotations/f.xml").write_text(annotation([("cat", (1, 1, 2, 2), 0)]).replace(">2<", ">inf<"))
    data = VOC(tmp_path, task="boxes")
    assert data.ids == ["a@cat", "a@dog", "b", "c", "d@cat", "d@dog", "e", "f"]
    for name in ("b", "c", "e", "f"):
        with pytest.raises(UserError, match=rf"cannot read the annotation .*{name}.xml.*; restore the file"):
            data.load(name, SAME)
    assert [data.load(name, SAME).target for name in data.ids if "@" in name] == [7, 11, 7, 11]
    assert [name for name in data.scoring_ids + data.donor_ids if not is_synthetic(name)] == ["a@cat", "d@cat"]


CROPPED = Preprocessing(size=(10, 10), resize=10, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)


def test_marks_outside_the_crop_are_on_the_photo(tmp_path: Path) -> None:
    """The crop has all of the twelve columns except the first and the last."""
    put(tmp_path, "a", ("cat", (1, 1, 1, 4), 0), ("dog", (1, 5, 3, 10), 0), task="Main")
    data = VOC(tmp_path, task="boxes")
    cat, dog = (data.load(name, CROPPED) for name in data.ids)
    assert cat.boxes is not None
    assert not cat.boxes.any()
    for sample, (rows, columns) in [(cat, (range(4), range(1))), (dog, (range(4, 10), range(3)))]:
        assert sample.on_photo is not None
        assert sample.on_photo.shape == SIDE
        assert sample.on_photo.nonzero().tolist() == [[row, column] for row in rows for column in columns]
    assert dog.boxes is not None
    assert dog.boxes.nonzero().tolist() == [[row, column] for row in range(4, 10) for column in range(2)]


def test_other_layouts_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist; data.root must hold VOCdevkit/VOC2012 with Annotations"):
        VOC(tmp_path / "absent")
    folder = small(tmp_path) / "VOCdevkit" / "VOC2012"
    for option, value, choices in [("task", "mask", "segmentation, boxes"), ("classes", "coco", "voc, imagenet")]:
        with pytest.raises(UserError, match=rf"data.{option}='{value}' is not allowed; choose one of {choices}"):
            VOC(tmp_path, **{option: value})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"data.split='test' needs .*test.txt', which does not exist.*there are val$"):
        VOC(tmp_path, split="test")
    with pytest.raises(UserError, match=r"ImageSets/Main' does not exist"):
        VOC(tmp_path, task="boxes")
    (folder / "ImageSets/Segmentation/cat_val.txt").write_text("2007_000001  1\n2007_000002 -1\n")
    (folder / "ImageSets/Segmentation/none.txt").write_text("\n")
    for split, message in [("cat_val", r"lists photos with a flag"), ("none", r"lists no photo")]:
        with pytest.raises(UserError, match=message):
            VOC(tmp_path, split=split)
    for file in (folder / "JPEGImages").iterdir():
        file.unlink()
    with pytest.raises(
        UserError, match=r"none of the photos exists \(such as '.*2007_00000..jpg'\); correct data.root"
    ):
        VOC(tmp_path)
    (folder / "SegmentationClass").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"SegmentationClass' does not exist; data.root must hold"):
        VOC(tmp_path)


@pytest.mark.slow
def test_a_run_over_two_classes_of_a_photo(tmp_path: Path) -> None:
    from tests.helpers.runs import explain, masks_of, table  # the whole program, for this test alone

    base = ["data=voc", f"data.root={small(tmp_path / 'photos')}", "data.targets=predicted", "steps=2", "areas=[0.2]"]
    base += [
        "explanations=1",
        "allow_targets=[tests]",
        "classifier=custom",
        "classifier.model._target_=tests.helpers.runs.network",
        "classifier.input_size=24",
    ]
    base += ["classifier.resize=24", "callbacks.figures=null", "logger=none", "trainer.accelerator=cpu", "data.limit=3"]
    assert explain(tmp_path / "run", base=base).failures == 0
    expected = ["2007_000001@cat", "2007_000002@cat", "2007_000002@dog"]
    assert list(masks_of(tmp_path / "run")) == expected
    assert [row["sample_id"] for row in table(tmp_path / "run")] == expected


@pytest.mark.slow
def test_boxes_equal_those_of_the_pointing_game(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pytest.importorskip("torchray.benchmark.datasets")
    random = np.random.default_rng(0)
    things: list[Thing] = []
    for name in ("cat", "dog", "cat", "person", "cat"):
        (left, right), (top, bottom) = (np.sort(random.integers(1, 1 + side, 2)) for side in SIDE[::-1])
        things.append((name, (int(left), int(top), int(right), int(bottom)), 0))
    put(tmp_path, "a", *things, task="Main")
    parsed = ElementTree.fromstring(annotation(things))
    label = {
        "annotation": {
            "size": {part.tag: part.text for part in parsed[0]},
            "object": [
                {"name": node.findtext("name"), "bndbox": {side.tag: side.text for side in node.findall("bndbox/*")}}
                for node in parsed.findall("object")
            ],
        }
    }
    data = VOC(tmp_path, task="boxes")
    samples = [data.load(name, SAME) for name in data.ids]
    assert sorted(theirs.voc_as_class_ids(label)) == [sample.target for sample in samples] == [7, 11, 14]
    for sample in samples:
        assert sample.boxes is not None
        assert torch.equal(sample.boxes, theirs.voc_as_mask(label, sample.target))
