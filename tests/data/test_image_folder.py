"""Folders of photos: their files, ids, labels and masks, and what is said if something is missing."""

import json
import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torchvision import datasets

from inr_xai.data import ImageFolder, imagenet
from inr_xai.data.crops import CropNames
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.data.transform import read_image, to_input
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing
from tests.helpers.runs import messages

SMALL = Preprocessing(size=(16, 16), resize=20, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)


def put(root: Path, *names: str) -> Path:
    """Writes photos of different colours; returns their folder."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "JPEG" if path.suffix.lower() in (".jpeg", ".jpg") else None
        Image.new("RGB", (30, 24), (10 * number, 50, 90)).save(path, format=kind)
    return root


def test_wnid_folders_give_the_index_among_all_thousand(tmp_path: Path) -> None:
    put(tmp_path, "n02123045/a.JPEG", "n01440764/b.jpg", "deep/n15075141/more/c.png")
    data = ImageFolder(tmp_path)
    assert data.ids == ["deep/n15075141/more/c", "n01440764/b", "n02123045/a"]
    assert [data.load(name, SMALL).target for name in data.ids] == [999, 0, 281]
    assert data.class_names is not None
    assert data.class_names[281].startswith("tabby")
    assert len(data.class_names) == 1000


def test_flat_folder_with_wnids_in_the_names(tmp_path: Path) -> None:
    put(tmp_path, "n01440764_10026.JPEG", "ILSVRC2012_val_00000293_n02123045.jpg", "own/n01443537_5.png")
    data = ImageFolder(tmp_path)
    assert {name: data.load(name, SMALL).target for name in data.ids} == {
        "ILSVRC2012_val_00000293_n02123045": 281,
        "n01440764_10026": 0,
        "own/n01443537_5": 1,
    }


def test_load_gives_the_input_of_the_file(tmp_path: Path) -> None:
    put(tmp_path, "n01440764/a.png", "n01440764/b.png")
    sample = ImageFolder(tmp_path).load("n01440764/b", SMALL)
    image, frame = to_input(read_image(tmp_path / "n01440764/b.png"), SMALL)
    assert torch.equal(sample.image, image)
    assert sample.frame == frame
    assert frame.original == (24, 30)
    assert sample.sample_id == "n01440764/b"
    assert sample.image[:, 8, 8].mul(255).round().tolist() == [10, 50, 90]


def test_all_visible_images_are_used_with_suffixes_in_any_case(tmp_path: Path) -> None:
    put(tmp_path, "a.JPG", "b.Png", "c.tiff", "d.webp", "e.pgm", ".hidden.png", ".folder/f.png", "._a.JPG")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    assert ImageFolder(tmp_path, targets="predicted").ids == ["a", "b", "c", "d", "e"]


def test_colliding_ids_keep_their_suffix(tmp_path: Path) -> None:
    put(tmp_path, "x/a.png", "x/a.jpg", "x/b.png", "x/c.png", "x/c.jpg", "x/c.jpg.png")
    data = ImageFolder(tmp_path, targets=3)
    assert data.ids == ["x/a.jpg", "x/a.png", "x/b", "x/c.jpg", "x/c.jpg.png", "x/c.png"]
    assert data.load("x/c.jpg", SMALL).image[0].mean() * 255 == pytest.approx(40, abs=2)


def test_photos_with_an_at_in_their_names_are_baselines_of_each_other(tmp_path: Path) -> None:
    names = [f"IMG@{number}.jpg" for number in range(8)]
    data = ImageFolder(put(tmp_path, *names), targets=0, pool_size=4)
    pool = PhotoPool(data.scoring_ids, data, SMALL)
    photos = pool.following("IMG@0")
    assert data.scoring_ids == ["IMG@0", "IMG@2", "IMG@4", "IMG@6"]
    assert torch.equal(photos, torch.stack([data.load(f"IMG@{number}", SMALL).image for number in (2, 4, 6)]))


def test_crops_of_a_photo_are_no_baselines_of_each_other(tmp_path: Path) -> None:
    names = [f"x/{photo}_{crop}.jpg" for photo in "abcd" for crop in "12"]
    data = ImageFolder(put(tmp_path, *names), targets=0, pool_size=8, photo=r"(\w)_\d")
    assert [data.photo_of(name) for name in ("x/b_2", "other")] == ["b", "other"]
    assert CropNames(r"(\d*)_crop").photo_of("x/horse_crop1") == "x/horse_crop1"  # it finds an empty name
    pool = PhotoPool(data.ids, data, SMALL)
    photos = pool.following("x/b_1")
    assert torch.equal(photos, torch.stack([data.load(f"x/{name}", SMALL).image for name in ("c_1", "c_2", "d_1")]))
    plain = ImageFolder(tmp_path, targets=0, pool_size=8)
    assert torch.equal(PhotoPool(plain.ids, plain, SMALL).following("x/b_1")[0], plain.load("x/b_2", SMALL).image)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "data.photo='(' is no regular expression (missing ), unterminated subpattern at position 0); give one"),
        (r"\d+", "has no group that names the photo; put its name into (), as in '(.*)_'"),
    ],
)
def test_a_pattern_that_names_no_photo_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        ImageFolder(put(tmp_path, "a.jpg"), targets=0, photo=pattern)


def test_only_regular_files_are_photos(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "good.png").symlink_to(tmp_path / "a.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        listening.bind("socket.png")
        assert ImageFolder(tmp_path, targets=0).ids == ["a", "b", "good"]
    (line,) = messages(caplog.records)
    assert "4 names below" in line
    assert line.endswith("are no regular files and are left out: link.jpg, loop.png, pipe.jpg, ...")


def test_pictures_of_other_kinds_are_counted_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "a.jpg")
    for name in ("b.HEIC", "deep/c.heic", "d.svg", "e.CR2", "notes.txt", ".hidden.heic", "data.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    ImageFolder(tmp_path, targets=0)
    (line,) = messages(caplog.records)
    assert f"pictures passed over below {tmp_path}: 1 .cr2, 2 .heic, 1 .svg; convert them" in line
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"holds no images .*; it has 1 \.cr2, 2 \.heic, 1 \.svg, which are not read"):
        ImageFolder(tmp_path, targets=0)


def test_ids_are_whole_lines_of_text_and_differ_as_the_names_do(tmp_path: Path) -> None:
    content = put(tmp_path, "whole.png") / "whole.png"
    names = [
        b"a\r\nb.png",
        b"a\\x0d\\x0ab.png",
        b"a\\b.png",
        b"a\tb.png",
        b"\xff.png",
        "\xff.png".encode(),
        b"\x85.png",
    ]
    names += ["\x85.png".encode(), "\u2028.png".encode(), b"\x7f.png", b"\\x85.png", b"\\\\x85.png"]
    for name in names:
        os.link(content, os.path.join(os.fsencode(tmp_path), name))
    data = ImageFolder(tmp_path, targets=0)
    assert len(set(data.ids)) == len(names) + 1
    assert {r"a\x0d\x0ab", r"a\\x0d\\x0ab", r"a\b", r"\xff", "\xff", r"\x85", r"\u0085", r"\u2028"} <= set(data.ids)
    for name in data.ids:
        assert name.isprintable()
        assert name.encode().decode() == name  # UTF-8
        assert name.splitlines() == [name]
        assert data.load(name, SMALL).sample_id == name


def test_the_option_range_is_of_every_photo(tmp_path: Path) -> None:
    (tmp_path / "n01440764").mkdir()
    Image.fromarray(np.full((24, 30), 500, dtype=np.uint16)).save(tmp_path / "n01440764/a.png")
    for data in (ImageFolder(tmp_path, range=[0, 1000]), imagenet(tmp_path, range=[0, 1000])):
        assert data.load("n01440764/a", SMALL).image.mul(255).round().unique().tolist() == [128]
    with pytest.raises(UserError, match=r"data\.range=\[5, 1\] is not allowed"):
        imagenet(tmp_path, range=[5, 1])


def test_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "store", "n01440764/a.png")
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(tmp_path / "store/n01440764", root / "n01440764")
    os.symlink(root, tmp_path / "store/n01440764/loop")
    assert ImageFolder(root).ids == ["n01440764/a"]


def test_nothing_is_decoded_before_load(tmp_path: Path) -> None:
    put(tmp_path, "n01440764/a.png")
    (tmp_path / "n01440764/broken.jpg").write_text("no image")
    data = ImageFolder(tmp_path)
    assert data.ids == ["n01440764/a", "n01440764/broken"]
    with pytest.raises(UserError, match=r"cannot read the image"):
        data.load("n01440764/broken", SMALL)


def test_a_text_index_gives_the_classes_of_folders(tmp_path: Path) -> None:
    put(tmp_path / "data", "cat/a.png", "dog/train/b.png", "cow/c.png")
    (tmp_path / "classes.txt").write_text("dog\r\ncat\r\n\r\n", encoding="utf-8-sig")
    data = ImageFolder(tmp_path / "data", classes=tmp_path / "classes.txt")
    assert data.load("cat/a", SMALL).target == 1
    assert data.load("dog/train/b", SMALL).target == 0
    assert data.class_names == ["dog", "cat"]
    with pytest.raises(UserError, match=r"folder of 'cow/c.png' is not among data.classes.*targets=predicted"):
        data.load("cow/c", SMALL)
    assert (
        ImageFolder(tmp_path / "data", classes=tmp_path / "classes.txt", targets=5).load("cow/c", SMALL).target is None
    )


def test_a_json_index_gives_the_classes_of_folders(tmp_path: Path) -> None:
    put(tmp_path / "data", "n01440764/a.png")
    (tmp_path / "classes.json").write_text(json.dumps({"n01440764": 2, "dog": 0}))
    data = ImageFolder(tmp_path / "data", classes=str(tmp_path / "classes.json"))
    assert data.load("n01440764/a", SMALL).target == 2
    assert data.class_names == ["dog", "1", "n01440764"]


def test_bad_roots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist; give the folder"):
        ImageFolder(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file' is no photo: its name does not end in jpg"):
        ImageFolder(tmp_path / "file")
    with pytest.raises(UserError, match=r"absent.png' is no photo; give photos, or one folder"):
        ImageFolder([tmp_path / "absent.png"])
    with pytest.raises(UserError, match=r"data.root=\[\] names no photo"):
        ImageFolder([])
    with pytest.raises(UserError, match=r"holds no images \(no file ends in jpg"):
        ImageFolder(tmp_path)


def test_labels_are_required_if_targets_is_label(tmp_path: Path) -> None:
    put(tmp_path / "own", "cat/a.png", "dog/b.png")
    with pytest.raises(UserError, match=r"its folders \(cat, dog\) are not wnids .*data.classes=FILE.*data.targets"):
        ImageFolder(tmp_path / "own").take_folders(3)
    (tmp_path / "classes.txt").write_text("horse\n")
    with pytest.raises(UserError, match=r"\(cat, dog\) are not among the names of data.classes \(horse\)"):
        ImageFolder(tmp_path / "own", classes=tmp_path / "classes.txt")
    put(tmp_path / "flat", "a.png")
    with pytest.raises(UserError, match=r"no image of .* has a label: it has no subfolders"):
        ImageFolder(tmp_path / "flat")
    data = ImageFolder(tmp_path / "flat", targets="predicted")
    assert data.load("a", SMALL).target is None
    assert data.class_names is None


def test_sorted_subfolders_are_classes_if_there_are_as_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As torchvision's ImageFolder reads them, whose index is the oracle: the folder at the top counts."""
    put(tmp_path, "zebra/a.png", "cat/dog/b.png", "dog/cat/c.png", "cat/d.png")
    data = ImageFolder(tmp_path)
    assert data.may_take_folders
    with caplog.at_level("INFO"):
        data.take_folders(3)
    (said,) = messages(caplog.records)
    assert said.startswith("the 3 subfolders of")
    assert said.endswith("in sorted order: cat, dog, zebra")
    theirs = datasets.ImageFolder(str(tmp_path))
    expected = {str(Path(file).relative_to(tmp_path).with_suffix("")): label for file, label in theirs.samples}
    assert {name: data.load(name, SMALL).target for name in data.ids} == expected
    assert data.class_names == theirs.classes
    assert not data.may_take_folders


def test_subfolders_are_no_classes_if_their_number_differs(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png")
    data = ImageFolder(tmp_path, targets="predicted")
    data.take_folders(5)
    assert [data.load(name, SMALL).target for name in data.ids] == [None, None]
    put(tmp_path, "stray.png")
    assert not ImageFolder(tmp_path, targets="predicted").may_take_folders
    put(tmp_path / "known", "n01440764/a.png", "n01443537/b.png")
    assert not ImageFolder(tmp_path / "known").may_take_folders


def test_single_photos_are_a_data_set(tmp_path: Path) -> None:
    put(tmp_path, "a/x.png", "a/b/y.jpg", "z.png")
    one = ImageFolder(tmp_path / "a" / "x.png", targets="predicted")
    assert (one.ids, one.root) == (["x"], tmp_path / "a")
    some = ImageFolder([tmp_path / "a" / "b" / "y.jpg", str(tmp_path / "a" / "x.png")], targets="predicted")
    assert (some.ids, some.root) == (["b/y", "x"], tmp_path / "a")
    whole = ImageFolder(tmp_path, targets="predicted")
    assert torch.equal(some.load("x", SMALL).image, whole.load("a/x", SMALL).image)


def test_a_file_without_label_fails_alone(tmp_path: Path) -> None:
    put(tmp_path, "n01440764/a.png", "stray.png")
    data = ImageFolder(tmp_path)
    assert data.load("n01440764/a", SMALL).target == 0
    with pytest.raises(UserError, match=r"the image has no label"):
        data.load("stray", SMALL)
    assert ImageFolder(tmp_path, targets="predicted").load("stray", SMALL).target is None
    assert ImageFolder(tmp_path, targets="predicted").load("n01440764/a", SMALL).target == 0


OBJECT = np.zeros((24, 30), dtype=bool)
OBJECT[3:15, 8:21] = True
OBJECT[10, 10] = False
WHOLE = Preprocessing((24, 30), (24, 30), "bilinear", (0.5,) * 3, (0.25,) * 3)


def put_mask(file: Path, mask: np.ndarray = OBJECT) -> Path:
    """Writes a mask whose object has grey value 7."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 7).save(file)
    return file


def mask_of_mode(mode: str) -> Image.Image:
    """Returns the object in a mode of Pillow; all other pixels are black, transparent, or have index 0."""
    values = OBJECT.astype(np.uint8)
    if mode == "P":
        picture = Image.fromarray(values, mode="P")
        picture.putpalette([255, 255, 255, 0, 0, 0])  # index 1 is black
        return picture
    if mode == "RGB":
        return Image.fromarray(np.stack([0 * values, 0 * values, 9 * values], -1))
    if mode == "transparent":
        return Image.fromarray(np.stack([0 * values + 255] * 3 + [255 * values], -1))
    if mode == "opaque":
        return Image.fromarray(np.stack([9 * values] * 3 + [0 * values + 255], -1))
    return Image.fromarray(OBJECT if mode == "1" else values.astype(np.uint16) * 300 if mode == "I;16" else values)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "transparent", "opaque", "I;16"])
@pytest.mark.parametrize("suffix", ["png", "TIF"])
def test_a_mask_may_have_any_mode(tmp_path: Path, mode: str, suffix: str) -> None:
    put(tmp_path / "photos", "a.png")
    (tmp_path / "masks").mkdir()
    mask_of_mode(mode).save(tmp_path / f"masks/a.{suffix}")
    segmentation = (
        ImageFolder(tmp_path / "photos", targets=0, segmentations=tmp_path / "masks").load("a", WHOLE).segmentation
    )
    assert segmentation is not None
    assert segmentation.dtype == torch.bool
    assert segmentation.tolist() == OBJECT.tolist()


def test_traces_of_jpeg_compression_are_not_part_of_the_object(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array(OBJECT, np.uint8) * 255).save(tmp_path / "masks/a.jpg", quality=60)
    with Image.open(tmp_path / "masks/a.jpg") as saved:
        assert (np.asarray(saved) != 0).sum() > OBJECT.sum()
    data = ImageFolder(tmp_path / "photos", targets=0, segmentations=tmp_path / "masks")
    segmentation = data.load("a", WHOLE).segmentation
    assert segmentation is not None
    assert segmentation.tolist() == OBJECT.tolist()


def test_masks_follow_their_photos_by_resize_and_crop(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", "cat/a.jpg", "cat/b.jpg", "a.png", "a.jpg")
    put_mask(tmp_path / "masks/cat/a.png")
    put_mask(tmp_path / "masks/a.png.png", ~OBJECT)  # for one of the two photos with this name
    put_mask(tmp_path / "masks/other.png")
    data = ImageFolder(root, targets="predicted", segmentations=str(tmp_path / "masks"))
    # 24 x 30 pixels are resized to 12 x 15, and the crop has 10 x 11.
    half = Preprocessing((10, 11), 12, "bilinear", (0.5,) * 3, (0.25,) * 3)
    masks = {name: data.load(name, half).segmentation for name in data.ids}
    cut = OBJECT[1::2, 1::2][1:11, 2:13]
    assert {name: None if mask is None else mask.tolist() for name, mask in masks.items()} == {
        "a.jpg": None,
        "a.png": (~cut).tolist(),
        "cat/a": cut.tolist(),
        "cat/b": None,
    }
    assert all(ImageFolder(root, targets=0).load(name, SMALL).segmentation is None for name in data.ids)


def test_a_mask_has_the_size_of_the_upright_photo(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a.jpg")
    with Image.open(tmp_path / "photos/a.jpg") as photo:
        photo.getexif()[ExifTags.Base.Orientation] = 6
        photo.save(tmp_path / "photos/a.jpg", exif=photo.getexif())
    data = ImageFolder(
        tmp_path / "photos", targets=0, segmentations=put_mask(tmp_path / "masks/a.png", OBJECT.T).parent
    )
    upright = Preprocessing((30, 24), (30, 24), "bilinear", (0.5,) * 3, (0.25,) * 3)
    segmentation = data.load("a", upright).segmentation
    assert segmentation is not None
    assert segmentation.tolist() == OBJECT.T.tolist()
    put_mask(tmp_path / "masks/a.png")
    with pytest.raises(UserError, match=r"the segmentation has \(24, 30\) pixels and its photo \(30, 24\)"):
        data.load("a", upright)


def test_a_mask_that_cannot_be_used_fails_its_photo_alone(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", "a.png", "b.png", "c.png")
    put_mask(tmp_path / "masks/a.png")
    put_mask(tmp_path / "masks/b.png", OBJECT & ~OBJECT)
    (tmp_path / "masks/c.png").write_text("no image")
    data = ImageFolder(root, targets=0, segmentations=tmp_path / "masks")
    assert data.load("a", SMALL).segmentation is not None
    with pytest.raises(UserError, match=r"'.*masks/b.png' has no object: all its pixels are 0"):
        data.load("b", SMALL)
    with pytest.raises(UserError, match=r"cannot read the segmentation '.*masks/c.png'"):
        data.load("c", SMALL)


def test_folders_of_masks_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", "cat/a.jpg")
    masks = tmp_path / "masks"

    def refused(folder: Path, message: str) -> None:
        with pytest.raises(UserError, match=rf"^data\.segmentations='{folder}' {message}"):
            ImageFolder(root, targets=0, segmentations=folder)

    refused(masks, "does not exist; give the folder")
    masks.mkdir()
    refused(masks, "holds no images")
    put_mask(masks / "a.png")
    refused(masks, "holds no mask of any photo below data.root; the mask of 'cat/a' would be 'cat/a.png' there")
    refused(put_mask(masks / "cat/a.png"), "is not a folder")
    put_mask(masks / "cat/a.bmp")
    refused(masks, r"holds two masks of 'cat/a', a\.bmp and a\.png; remove one")
    refused(root, "lies within data.root, so its masks would count as photos")
    refused(put_mask(root / "masks/cat/a.png").parents[1], "lies within data.root")


def test_unknown_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no image 'b' below"):
        ImageFolder(put(tmp_path, "a.png"), targets=0).load("b", SMALL)


def test_targets_are_parsed_and_checked(tmp_path: Path) -> None:
    assert ImageFolder(put(tmp_path, "a.png"), targets="7").targets == 7
    with pytest.raises(UserError, match=r"choose label, predicted, wrong or a class index"):
        ImageFolder(tmp_path, targets="labels")


def test_limit_and_every_do_not_change_the_ids(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    with pytest.raises(UserError, match=r"data.every=0"):
        ImageFolder(tmp_path, targets=0, every=0)
    data = ImageFolder(tmp_path, targets=0, limit=1, every=2)
    assert (data.limit, data.every, data.ids) == (1, 2, ["a", "b"])


@pytest.mark.parametrize("inside", ["val", "validation", "."])
def test_imagenet_finds_its_validation_photos(tmp_path: Path, inside: str) -> None:
    put(tmp_path / inside, "n01440764/ILSVRC2012_val_00000293.JPEG")
    data = imagenet(tmp_path, limit=3)
    assert data.ids == ["n01440764/ILSVRC2012_val_00000293"]
    assert data.load(data.ids[0], SMALL).target == 0
    assert data.limit == 3


def test_imagenet_names_the_layout_that_it_needs(tmp_path: Path) -> None:
    put(tmp_path, "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match=r"has no wnid folders; expected val/<wnid>/"):
        imagenet(tmp_path)
    with pytest.raises(UserError, match=r"does not exist"):
        imagenet(tmp_path / "absent")


def test_synthetic_images_complete_the_pools_of_small_folders(tmp_path: Path) -> None:
    put(tmp_path, "n01440764/a.png", "n01440764/b.png", "n01440764/c.png")
    data = ImageFolder(tmp_path)
    assert data.scoring_ids[:2] == ["n01440764/a", "n01440764/c"]
    assert data.donor_ids[:1] == ["n01440764/b"]
    added = data.scoring_ids[2:] + data.donor_ids[1:]
    assert len(added) == len(set(added)) == 8
    assert all(name.startswith("synthetic:") for name in added)
    samples = [data.load(name, SMALL) for name in added]
    assert [sample.sample_id for sample in samples] == added
    assert all(sample.target is None and sample.image.shape == (3, 16, 16) for sample in samples)
    assert not torch.equal(samples[0].image, samples[1].image)
    assert ImageFolder(tmp_path, limit=1).scoring_ids == data.scoring_ids


@pytest.mark.skipif("INR_XAI_DATA" not in os.environ, reason="INR_XAI_DATA names no folder of real photos")
def test_real_photos_carry_their_labels() -> None:
    data = ImageFolder(Path(os.environ["INR_XAI_DATA"]) / "imagenet-samples")
    assert len(data.ids) == 200
    assert data.class_names is not None
    for name in data.ids[:200:40]:
        target = data.load(name, SMALL).target
        assert target is not None
        word = name.split("_", 1)[1].replace("_", " ").lower()
        assert word in data.class_names[target].lower().replace("-", " ").replace("'", "")
