"""The input equals that of timm's and torchvision's evaluation transforms; masks are mapped back to the photo."""

import math
import struct
import zlib
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms as tv
from PIL import Image
from timm.data import create_transform

from inr_xai.data.transform import (
    PhotoReader,
    cut,
    frame_of,
    map_to_input,
    mask_to_image,
    read_image,
    segmentation_to_input,
    to_input,
)
from inr_xai.errors import UserError
from inr_xai.types import Frame, Preprocessing
from tests.helpers.broken_images import PNG_START, chunk

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
SIZES = [(301, 452), (452, 301), (64, 49), (97, 1003), (225, 224), (224, 224), (31, 200), (500, 500)]


def photo(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Returns noise over a ramp, so that any shift by a pixel changes values."""
    height, width = size
    noise = np.random.default_rng(seed).integers(0, 128, (height, width, 3))
    ramp = np.linspace(0, 127, width)[None, :, None] + np.zeros((height, 1, 3))
    return Image.fromarray((noise + ramp).astype(np.uint8))


def preprocessing(size: tuple[int, int], resize: int | tuple[int, int], interpolation: str) -> Preprocessing:
    return Preprocessing(size=size, resize=resize, interpolation=interpolation, mean=MEAN, std=STD)


def normalised(image: torch.Tensor) -> torch.Tensor:
    return tv.functional.normalize(image, MEAN, STD)


@pytest.mark.parametrize(("size", "mode"), list(product(SIZES, ["center", "squash"])))
def test_input_equals_timm(size: tuple[int, int], mode: str) -> None:
    for side, crop_pct, interpolation in [(224, 0.875, "bicubic"), (160, 0.95, "bilinear"), (96, 1.0, "bicubic")]:
        theirs = create_transform(
            (3, side, side),
            interpolation=interpolation,
            mean=MEAN,
            std=STD,
            crop_pct=crop_pct,
            crop_mode=mode,
        )
        scaled = int(side / crop_pct)
        resize = (scaled, scaled) if mode == "squash" else scaled
        ours, _ = to_input(photo(size), preprocessing((side, side), resize, interpolation))
        assert torch.equal(normalised(ours), theirs(photo(size)))


@pytest.mark.parametrize("size", SIZES)
def test_input_equals_torchvision_with_and_without_padding(size: tuple[int, int]) -> None:
    for crop, resize in [((224, 224), 256), ((225, 160), 232), ((224, 224), 99), ((250, 100), 201)]:
        theirs = tv.Compose([tv.Resize(resize), tv.CenterCrop(crop), tv.ToTensor()])
        ours, _ = to_input(photo(size), preprocessing(crop, resize, "bilinear"))
        assert torch.equal(ours, theirs(photo(size)))


def test_one_channel_is_the_grey_photo() -> None:
    one_channel = Preprocessing(size=(32, 32), resize=40, interpolation="bilinear", mean=(0.5,), std=(0.5,))
    grey = tv.Compose([tv.Grayscale(), tv.Resize(40), tv.CenterCrop(32), tv.ToTensor()])
    assert torch.equal(to_input(photo((70, 51)), one_channel)[0], grey(photo((70, 51))))


def test_unknown_interpolation_and_endless_strips_are_refused() -> None:
    with pytest.raises(UserError, match=r"'cubic' is unknown; choose one of nearest, bilinear"):
        to_input(photo((8, 8)), preprocessing((4, 4), 4, "cubic"))
    with pytest.raises(UserError, match=r"would grow to 256 x 5120000"):
        frame_of((1, 20000), preprocessing((224, 224), 256, "bilinear"))


def slow_mask_to_image(mask: np.ndarray, frame: Frame) -> np.ndarray:
    """Computes each pixel of the photo from its centre in the input and the four cells around it."""
    result = np.zeros(frame.original)
    cells = mask.shape
    for y, x in product(*map(range, frame.original)):
        inputs = [
            (p + 0.5) * frame.resized[i] / frame.original[i] - (frame.top, frame.left)[i] for i, p in enumerate((y, x))
        ]
        if not all(0 <= inputs[i] < frame.size[i] for i in (0, 1)):
            continue
        at = [min(max(inputs[i] / frame.size[i] * cells[i] - 0.5, 0), cells[i] - 1) for i in (0, 1)]
        for dy, dx in product((0, 1), (0, 1)):
            cy, cx = min(int(at[0]) + dy, cells[0] - 1), min(int(at[1]) + dx, cells[1] - 1)
            result[y, x] += mask[cy, cx] * abs(1 - dy - at[0] % 1) * abs(1 - dx - at[1] % 1)
    return result


@pytest.mark.parametrize("original", [(23, 41), (41, 23), (6, 9)])
@pytest.mark.parametrize("cells", [(16, 16), (7, 5), (40, 33), (1, 1)])
@pytest.mark.slow
def test_mask_to_image_agrees_with_a_loop_over_pixels(original: tuple[int, int], cells: tuple[int, int]) -> None:
    for resize in (20, 12, (18, 20)):
        frame = frame_of(original, preprocessing((16, 16), resize, "bilinear"))
        masks = torch.rand(2, 3, *cells, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        ours = mask_to_image(masks, frame)
        for a, b in product(range(2), range(3)):
            assert np.abs(ours[a, b].numpy() - slow_mask_to_image(masks[a, b].numpy(), frame)).max() < 1e-12


def test_mask_of_ones_is_one_on_the_crop_and_zero_outside() -> None:
    frame = frame_of((30, 60), preprocessing((20, 20), 24, "bilinear"))
    back = mask_to_image(torch.ones(5, 5), frame)
    # The crop has columns 14 to 34 of 48, which are 17.5 to 42.5 of the photo's 60; and its rows 2.5 to 27.5 of 30.
    expected = torch.zeros(30, 60)
    expected[2:27, 17:42] = 1
    assert torch.allclose(back, expected)


@pytest.mark.parametrize("original", [(24, 40), (40, 24), (24, 24)])
def test_round_trip_without_resizing_is_exact(original: tuple[int, int]) -> None:
    frame = frame_of(original, preprocessing((16, 20), 24, "nearest"))
    mask = torch.rand(16, 20, dtype=torch.float64)
    back = mask_to_image(mask, frame)
    assert torch.allclose(cut(back, frame), mask, atol=1e-12)
    assert back.sum() == pytest.approx(float(mask.sum()))


def test_round_trip_of_a_smooth_map_returns_the_map() -> None:
    frame = frame_of((333, 250), preprocessing((224, 224), 256, "bilinear"))
    y, x = torch.meshgrid(torch.linspace(0, 3, 224), torch.linspace(0, 2, 224), indexing="ij")
    smooth = 0.5 + 0.5 * torch.sin(y + x)
    back = mask_to_image(smooth, frame)
    rows = ((torch.arange(224) + frame.top + 0.5) * 333 / frame.resized[0]).long()
    columns = ((torch.arange(224) + frame.left + 0.5) * 250 / frame.resized[1]).long()
    assert (back[rows][:, columns] - smooth).abs().max() < 0.02


def test_mask_keeps_its_dtype() -> None:
    frame = frame_of((30, 20), preprocessing((16, 16), 18, "bilinear"))
    half = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)).half()
    back = mask_to_image(half, frame)
    assert back.dtype == torch.float16
    assert (back.float() - mask_to_image(half.float(), frame)).abs().max() < 1e-3


@pytest.mark.parametrize("size", [(30, 45), (45, 30), (16, 19), (64, 64)])
def test_segmentation_takes_the_nearest_pixel_of_the_same_crop(size: tuple[int, int]) -> None:
    classes = np.random.default_rng(0).integers(1, 5, size)
    for resize in (32, (20, 50), 10):
        frame = frame_of(size, preprocessing((16, 24), resize, "nearest"))
        ours = segmentation_to_input(torch.from_numpy(classes), frame)
        for y, x in product(range(16), range(24)):
            row, column = y + frame.top, x + frame.left
            inside = 0 <= row < frame.resized[0] and 0 <= column < frame.resized[1]
            old_row = math.floor(Fraction(2 * row + 1, 2) * size[0] / frame.resized[0])
            old_column = math.floor(Fraction(2 * column + 1, 2) * size[1] / frame.resized[1])
            assert ours[y, x] == (classes[old_row, old_column] if inside else 0)


def test_segmentation_of_another_size_is_refused() -> None:
    frame = frame_of((30, 20), preprocessing((16, 16), 18, "bilinear"))
    with pytest.raises(UserError, match=r"the segmentation has \(20, 30\) pixels and its photo \(30, 20\)"):
        segmentation_to_input(torch.zeros(20, 30, dtype=torch.bool), frame)


def saved(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    image.save(path, **options)
    read = read_image(path)
    assert read.mode == "RGB"
    return np.asarray(read)


def test_grey_palette_and_bilevel_photos_become_rgb(tmp_path: Path) -> None:
    rgb = photo((9, 7))
    grey = rgb.convert("L")
    assert (saved(grey, tmp_path / "a.png") == np.asarray(grey)[..., None]).all()
    palette = rgb.quantize(16)
    assert (saved(palette, tmp_path / "b.png") == np.asarray(palette.convert("RGB"))).all()
    bilevel = grey.convert("1")
    assert (saved(bilevel, tmp_path / "c.png") == np.asarray(bilevel)[..., None] * 255).all()


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 102))
    expected = [[200, 0, 0], [255, 255, 255], [153, 153, 153]]
    assert saved(image, tmp_path / "a.png")[0].tolist() == expected
    grey = Image.new("LA", (2, 1), (100, 255))
    grey.putpixel((1, 0), (100, 0))
    assert saved(grey, tmp_path / "b.png")[0].tolist() == [[100] * 3, [255] * 3]
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([9, 9, 9, 10, 20, 30])
    palette.putpixel((0, 0), 0)
    assert saved(palette, tmp_path / "c.png", transparency=0)[0].tolist() == [[255] * 3, [10, 20, 30]]
    assert saved(palette, tmp_path / "d.gif", transparency=0)[0].tolist() == [[255] * 3, [10, 20, 30]]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    read = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "a.jpg", quality=100)
    assert np.abs(read.astype(int) - [255, 0, 0]).max() <= 8


def test_wide_grey_values_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    expected = [[0, 1, 128, 255]]
    assert saved(Image.fromarray(values), tmp_path / "a.png")[..., 0].tolist() == expected
    assert saved(Image.fromarray(values), tmp_path / "b.tif")[..., 1].tolist() == expected
    assert saved(Image.fromarray(values.astype(np.int32)), tmp_path / "c.tif")[..., 2].tolist() == expected
    unit = Image.fromarray(np.array([[0.0, 0.2, 1.0]], dtype=np.float32))
    assert saved(unit, tmp_path / "d.tif")[..., 0].tolist() == [[0, 51, 255]]
    byte = Image.fromarray(np.array([[0.0, 51.0, 255.0]], dtype=np.float32))
    assert saved(byte, tmp_path / "e.tif")[..., 0].tolist() == [[0, 51, 255]]


def put_values(path: Path, *values: float, kind: type = np.uint16) -> Path:
    """Writes a photo of one row of these values."""
    Image.fromarray(np.array([values], dtype=kind)).save(path)
    return path


@pytest.mark.parametrize(
    ("values", "kind", "expected", "warning"),
    [
        ((0, 819, 4095), np.uint16, [0, 51, 255], "its values are 0 to 4095 and are read as 0 to 4095"),
        ((0, 819, 3276), np.uint16, [0, 51, 204], "its values are 0 to 3276 and are read as 0 to 4095"),
        ((0, 819, 3276), np.float32, [0, 51, 204], "its values are 0 to 3276 and are read as 0 to 4095"),
        ((0, 51, 255), np.int32, [0, 51, 255], "its values are 0 to 255 and are read as 0 to 255"),
        ((0, 0.2, 1), np.float32, [0, 51, 255], None),
        ((0, 51, 102), np.float32, [0, 51, 102], None),
        ((0, 13107, 65535), np.int32, [0, 51, 255], None),
        ((0, 13107, 52428), np.float32, [0, 51, 204], None),
        ((0, 0, 0), np.uint16, [0, 0, 0], None),
    ],
)
def test_one_rule_gives_black_and_white_and_a_guess_is_said(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    values: tuple[float, ...],
    kind: type,
    expected: list[int],
    warning: str | None,
) -> None:
    reader = PhotoReader()
    for name in ("a.tif", "b.tif"):
        image, size = reader.read(put_values(tmp_path / name, *values, kind=kind))
        assert size == (1, 3)
        assert np.asarray(image)[0].tolist() == [[value] * 3 for value in expected]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (warning is not None)  # once for all photos
    assert warning is None or warning in said[0]
    assert warning is None or "data.range=[LOW,HIGH]" in said[0]


@pytest.mark.parametrize(
    ("values", "kind", "shown"),
    [
        ((-1024, 3071), np.int32, "-1024 to 3071"),
        ((0, 70000), np.int32, "0 to 70000"),
        ((-0.5, 0.5), np.float32, "-0.5 to 0.5"),
        ((0, math.nan, 1), np.float32, "NaN"),
        ((0, math.inf), np.float32, "0 to inf"),
    ],
)
def test_values_without_a_known_scale_fail_and_the_option_settles_them(
    tmp_path: Path, values: tuple[float, ...], kind: type, shown: str
) -> None:
    file = put_values(tmp_path / "a.tif", *values, kind=kind)
    with pytest.raises(UserError, match=rf"values are {shown}, which has no known black.* data\.range=\[LOW,HIGH\]"):
        read_image(file)
    read = np.asarray(read_image(file, [-0.25, 0.25]))[0, :, 1].tolist()
    assert read == [0 if math.isnan(value) else round(255 * min(max(2 * value + 0.5, 0), 1)) for value in values]


def test_the_option_is_of_wide_values_alone_and_is_checked(tmp_path: Path) -> None:
    file = put_values(tmp_path / "a.png", 1000, 1500, 3000, 9000)
    assert np.asarray(read_image(file, (1000, 3000)))[0, :, 0].tolist() == [0, 64, 255, 255]
    byte = put_values(tmp_path / "b.png", 0, 51, 255, kind=np.uint8)
    assert np.asarray(read_image(byte, [0, 4095]))[0, :, 0].tolist() == [0, 51, 255]
    for wrong in ([1, 1], [2, 1], [0], "ab", [0, math.nan], [False, True], 255, [0, 10**400], [-1e308, 1e308]):
        with pytest.raises(UserError, match=r"data\.range=.* is not allowed; give the values of black and white"):
            PhotoReader(wrong)


def test_colours_of_16_bits_that_use_12_are_not_read_as_black(tmp_path: Path) -> None:
    """Pillow keeps the upper 8 of 16 bits of colours, of which 12-bit photos have 4."""

    def put_colours(largest: int) -> Path:
        row = b"\0" + struct.pack(">6H", *[0, 10, largest, 7, 8, 9])
        header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(PNG_START + parts)
        return tmp_path / "a.png"

    assert np.asarray(read_image(put_colours(65535)))[0, 0].tolist() == [0, 0, 255]
    assert np.asarray(read_image(put_colours(0x1234)))[0, 0].tolist() == [0, 0, 0x12]
    with pytest.raises(UserError, match=r"its colours of 16 bits are at most 4095 of 65535 and would be almost black"):
        read_image(put_colours(0x0F00))


def test_a_map_of_the_photo_follows_its_resize_and_crop() -> None:
    """It is Pillow's bilinear filter where the photo grows, and 0 where it is padded."""
    for original, size, resize in [((20, 50), (32, 24), 30), ((40, 30), (50, 60), (45, 50)), ((24, 30), (24, 24), 24)]:
        frame = frame_of(original, preprocessing(size, resize, "bilinear"))
        values = torch.rand(original, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        height, width = frame.resized
        theirs = Image.fromarray(values.numpy()).resize((width, height), Image.Resampling.BILINEAR)
        expected = cut(torch.from_numpy(np.array(theirs)), frame)
        assert (map_to_input(values, frame) - expected).abs().max() < 1e-5


def test_a_map_of_a_larger_photo_keeps_its_sum() -> None:
    """A pixel has the mean of what lies within it: blocks of whole pixels, and parts of pixels."""
    values = torch.rand(200, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frame = frame_of((200, 400), preprocessing((20, 20), 25, "bilinear"))  # pixels of 8 x 8
    blocks = values.reshape(25, 8, 50, 8).mean((1, 3))
    assert torch.allclose(map_to_input(values, frame), cut(blocks, frame), atol=1e-12)
    squashed = frame_of((200, 400), preprocessing((30, 70), (30, 70), "bilinear"))
    means = map_to_input(values, squashed)
    assert means.mean() == pytest.approx(float(values.mean()))
    assert means[0, 0] == pytest.approx(float(slow_mean(values, 200 / 30, 400 / 70)))


def slow_mean(values: torch.Tensor, height: float, width: float) -> float:
    """Returns the mean over a rectangle from the corner, whose sides are no whole pixels."""
    down, across = (
        torch.tensor([min(1.0, max(0.0, side - place)) for place in range(extent)], dtype=torch.float64)
        for side, extent in zip((height, width), values.shape, strict=True)
    )
    return float(down @ values @ across / (height * width))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    image = photo((5, 8))
    turns = {  # how a viewer turns the stored pixels by the EXIF standard
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    assert (np.asarray(read_image(tmp_path / "a.png")) == turns[orientation](np.asarray(image))).all()


def test_broken_files_are_user_errors(tmp_path: Path) -> None:
    photo((60, 60)).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.bmp").touch()
    for name in ("cut.jpg", "text.png", "empty.bmp", "absent.gif"):
        with pytest.raises(UserError, match=rf"cannot read the image '.*{name}' .*; replace or remove the file$"):
            read_image(tmp_path / name)
