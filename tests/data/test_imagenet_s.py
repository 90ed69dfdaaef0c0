"""ImageNet-S: ids in masks that missing folders do not shift, masks that follow their photo, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from inr_xai.data import ImageNetS
from inr_xai.data.imagenet_s import CLASSES_50
from inr_xai.data.labels import imagenet_index
from inr_xai.errors import UserError
from inr_xai.types import ImageData, Preprocessing

GOLDFISH, AGARIC = "n01443537", "n12998815"  # the first and the last of the 50: ids 1 and 50, classes 1 and 992
SIDE = (6, 8)
MEAN, STD = (0.5,) * 3, (0.25,) * 3
SAME = Preprocessing(size=SIDE, resize=SIDE, interpolation="bilinear", mean=MEAN, std=STD)
WNIDS_300 = sorted(imagenet_index())[::3][:300]


def mask_of(class_id: int, other: int = 0, *, shape: tuple[int, int] = SIDE) -> np.ndarray:
    """Returns a mask with rows of the class, of another class, of pixels to ignore, and of background."""
    ids = np.zeros(shape, dtype=int)
    ids[:2, 1:], ids[2, :4], ids[3] = class_id, other, 1000
    return ids


def put(folder: Path, name: str, ids: np.ndarray, *, split: str = "validation", orientation: int = 1) -> None:
    """Writes a photo and its mask in the published format."""
    photo, mask = folder / split / f"{name}.JPEG", folder / f"{split}-segmentation" / f"{name}.png"
    for file in (photo, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(list(photo.parent.iterdir()))).integers(0, 255, (*ids.shape, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    picture.save(photo, exif=picture.getexif())
    Image.fromarray(np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)).save(mask)


def small(root: Path) -> Path:
    """Writes two photos of two of the 50 classes."""
    put(root / "ImageNetS50", f"{AGARIC}/b", mask_of(50, 1))
    put(root / "ImageNetS50", f"{GOLDFISH}/a", mask_of(1, 50))
    return root


def test_missing_folders_shift_neither_ids_nor_labels(tmp_path: Path) -> None:
    data = ImageNetS(small(tmp_path))
    assert data.ids == [f"{GOLDFISH}/a", f"{AGARIC}/b"]
    for name, class_id, other, target in [(data.ids[0], 1, 50, 1), (data.ids[1], 50, 1, 992)]:
        sample, ids = data.load(name, SAME), mask_of(class_id, other)
        assert (sample.target, sample.sample_id, sample.boxes, sample.difficult) == (target, name, None, False)
        assert sample.segmentation is not None
        assert sample.ignore is not None
        assert sample.segmentation.tolist() == (ids == class_id).tolist()
        assert sample.ignore.tolist() == (ids == 1000).tolist()
    assert data.class_names is not None
    assert data.class_names[992].startswith("agaric")
    assert isinstance(data, ImageData)


def test_the_fifty_classes_are_in_the_order_of_their_wnids() -> None:
    wnids = sorted(imagenet_index())
    assert len(set(CLASSES_50)) == 50
    assert list(CLASSES_50) == sorted(CLASSES_50)
    assert (wnids[CLASSES_50[0]], wnids[CLASSES_50[28]], wnids[CLASSES_50[-1]]) == (GOLDFISH, "n03445777", AGARIC)


@pytest.mark.parametrize("inside", [".", "ImageNetS50"])
def test_the_root_may_be_the_folder_itself(tmp_path: Path, inside: str) -> None:
    assert ImageNetS(small(tmp_path) / inside).ids == [f"{GOLDFISH}/a", f"{AGARIC}/b"]


def test_other_splits_with_masks(tmp_path: Path) -> None:
    put(tmp_path, f"{GOLDFISH}/{GOLDFISH}_18", mask_of(1), split="train-semi")
    data = ImageNetS(tmp_path, split="train-semi")
    assert data.ids == [f"{GOLDFISH}/{GOLDFISH}_18"]
    assert data.load(data.ids[0], SAME).target == 1


def test_an_id_above_255_uses_the_second_channel(tmp_path: Path) -> None:
    """The mask is of the last of 300 wnids, which a list names in another order."""
    (tmp_path / "categories.txt").write_text("\n".join(reversed(WNIDS_300)) + "\n")
    put(tmp_path, f"{WNIDS_300[-1]}/a", mask_of(300, 44))
    with Image.open(tmp_path / f"validation-segmentation/{WNIDS_300[-1]}/a.png") as opened:
        assert opened.getpixel((1, 0)) == (44, 1, 0)
    data = ImageNetS(tmp_path, subset=300, categories=tmp_path / "categories.txt")
    sample = data.load(data.ids[0], SAME)
    assert sample.target == imagenet_index()[WNIDS_300[-1]]
    assert sample.segmentation is not None
    assert sample.segmentation.tolist() == (mask_of(300, 44) == 300).tolist()


def test_larger_subsets_need_a_list_or_all_folders(tmp_path: Path) -> None:
    put(tmp_path, f"{WNIDS_300[6]}/a", mask_of(7))
    with pytest.raises(
        UserError, match=r"names 1 wnids.*count all 300.*data.categories=ImageNetS_categories_im300.txt"
    ):
        ImageNetS(tmp_path, subset=300)
    for wnid in WNIDS_300:
        (tmp_path / "validation" / wnid).mkdir(exist_ok=True)
    data = ImageNetS(tmp_path, subset=300)
    sample = data.load(data.ids[0], SAME)
    assert sample.segmentation is not None
    assert sample.segmentation.tolist() == (mask_of(7) == 7).tolist()
    with pytest.raises(UserError, match=r"names 300 wnids.*count all 919"):
        ImageNetS(tmp_path, subset=919)


def test_masks_follow_the_resize_and_the_crop(tmp_path: Path) -> None:
    """Compares with loops over the pixels of the input, for a crop that cuts one axis and pads the other."""
    ids = np.kron(mask_of(1), np.ones((5, 5), dtype=int))
    put(tmp_path, f"{GOLDFISH}/a", ids)
    preprocessing = Preprocessing(size=(14, 32), resize=20, interpolation="bilinear", mean=MEAN, std=STD)
    sample = ImageNetS(tmp_path).load(f"{GOLDFISH}/a", preprocessing)
    assert (sample.frame.resized, sample.frame.top, sample.frame.left) == ((20, 26), 3, -3)
    for mask, class_id in [(sample.segmentation, 1), (sample.ignore, 1000)]:
        assert mask is not None
        assert mask.any()
        for y in range(14):
            for x in range(32):
                row, column = int((y + 3 + 0.5) * 30 / 20), int((x - 3 + 0.5) * 40 / 26)
                assert bool(mask[y, x]) == (3 <= x < 29 and ids[row, column] == class_id)


def test_a_turned_photo_is_loaded_with_its_mask(tmp_path: Path) -> None:
    put(tmp_path, f"{GOLDFISH}/a", mask_of(1), orientation=6)
    upended = Preprocessing(size=SIDE[::-1], resize=SIDE[::-1], interpolation="bilinear", mean=MEAN, std=STD)
    sample = ImageNetS(tmp_path).load(f"{GOLDFISH}/a", upended)
    assert sample.segmentation is not None
    assert sample.segmentation.tolist() == np.rot90(mask_of(1) == 1, -1).tolist()


def test_a_broken_file_fails_its_photo_alone(tmp_path: Path) -> None:
    small(tmp_path)
    folder = tmp_path / "ImageNetS50"
    for name in ("photo", "gone", "palette", "size", "other"):
        put(folder, f"{GOLDFISH}/{name}", mask_of(2 if name == "other" else 1))
    masks = folder / "validation-segmentation" / GOLDFISH
    (folder / "validation" / GOLDFISH / "photo.JPEG").write_text("no image")
    (masks / "gone.png").unlink()
    with Image.open(masks / "palette.png") as opened:
        palette = opened.convert("P")
    palette.save(masks / "palette.png")
    with Image.open(masks / "size.png") as opened:
        halved = opened.resize((4, 3), Image.Resampling.NEAREST)
    halved.save(masks / "size.png")
    data = ImageNetS(tmp_path)
    for name, message in [
        ("photo", r"cannot read the image"),
        ("gone", r"cannot read the segmentation .*gone.png"),
        ("palette", r"is of mode P, not RGB, so its values are no class ids"),
        ("size", r"the segmentation has \(3, 4\) pixels and its photo \(6, 8\)"),
        ("other", rf"segmentation of '{GOLDFISH}/other' has no pixel of its class"),
    ]:
        with pytest.raises(UserError, match=message):
            data.load(f"{GOLDFISH}/{name}", SAME)
    assert data.load(f"{GOLDFISH}/a", SAME).target == 1


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"absent/validation' does not exist; data.root must hold ImageNetS50/validation/"
    ):
        ImageNetS(tmp_path / "absent")
    small(tmp_path)
    with pytest.raises(UserError, match=r"test' does not exist"):
        ImageNetS(tmp_path, split="test")
    with pytest.raises(UserError, match=r"data.subset=100 is not allowed; choose one of 50, 300, 919"):
        ImageNetS(tmp_path, subset=100)
    put(tmp_path / "ImageNetS50", "n01440764/a", mask_of(1))
    with pytest.raises(UserError, match=r"n01440764 below data.root is not among the 50 wnids of ImageNetS50"):
        ImageNetS(tmp_path)
    (tmp_path / "ImageNetS50/validation-segmentation").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"validation-segmentation' does not exist; data.root must hold"):
        ImageNetS(tmp_path)


def test_bad_lists_of_categories_are_refused(tmp_path: Path) -> None:
    small(tmp_path)
    for content, message in [("n01443537\ncat\n", "names cat; write one wnid"), (f"{GOLDFISH}\n", "names 1 wnids")]:
        (tmp_path / "list.txt").write_text(content)
        with pytest.raises(UserError, match=message):
            ImageNetS(tmp_path, categories=tmp_path / "list.txt")
    with pytest.raises(UserError, match=r"data.categories=.* cannot be read"):
        ImageNetS(tmp_path, categories=tmp_path / "absent.txt")


def test_targets_selection_and_pools(tmp_path: Path) -> None:
    data = ImageNetS(small(tmp_path), targets="7", limit=1, every=2, pool_size=1)
    assert (data.targets, data.limit, data.every, len(data.ids)) == (7, 1, 2, 2)
    assert (data.scoring_ids, data.donor_ids) == ([data.ids[0]], [data.ids[1]])
    synthetic = ImageNetS(tmp_path).scoring_ids[-1]
    assert data.load(synthetic, SAME).target is None
    with pytest.raises(UserError, match=r"there is no sample 'b'"):
        data.load("b", SAME)
    with pytest.raises(UserError, match=r"data.every=0"):
        ImageNetS(tmp_path, every=0)
