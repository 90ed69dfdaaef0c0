"""Reads a photo, turns it into the classifier's input by its own evaluation transform, and maps masks back onto it.

The geometry is that of timm's `create_transform` (crop modes center and squash) and of torchvision's Resize+CenterCrop.
"""

import logging
from os import PathLike

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from inr_xai.data.image_file import (
    has_deep_colours,
    opened_image,
    require_bright,
    require_room,
    row_strips,
)
from inr_xai.data.value_range import Range, is_wide, parse_range, range_of, wide_to_rgb
from inr_xai.errors import UserError, error_text
from inr_xai.types import Frame, Preprocessing
from inr_xai.types import Image as InputImage

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
MODES = {1: "L", 3: "RGB"}
WHITE = (255, 255, 255, 255)
LARGEST = 2**28  # pixels of a resized photo; a narrower strip has no input that shows it
AT_ONCE = 72 * 10**6  # pixels of a photo, of the resized photo and of the step between them, with 4 bytes each
log = logging.getLogger(__name__)


class PhotoReader:
    """Reads the photos of a data set.

    Args:
        values: the option data.range, the values of black and white in photos of more than 8 bits; None for the rule
            of `inr_xai.data.value_range`. A range that is only a guess is said once, in a warning.

    Raises:
        UserError: `values` is no range.
    """

    def __init__(self, values: object = None) -> None:
        self._range = parse_range(values)
        self._told: set[Range] = set()

    def read(self, path: str | PathLike[str]) -> tuple[Image.Image, tuple[int, int]]:
        """Returns the upright photo in RGB, and its (height, width), which is larger if the photo was decoded smaller.

        Raises UserError if the file cannot be read, for whatever reason.
        """
        try:
            with opened_image(path, reducible=True) as (image, (height, width)):
                deep = has_deep_colours(image)
                image.load()
                require_room(image)
                sideways = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
                ImageOps.exif_transpose(image, in_place=True)
                if deep:
                    require_bright(image)
                return self._to_rgb(image, path), (width, height) if sideways else (height, width)
        except Exception as error:
            raise UserError(
                f"cannot read the image {str(path)!r} ({error_text(error)}); replace or remove the file"
            ) from error

    def read_input(self, path: str | PathLike[str], preprocessing: Preprocessing) -> tuple[InputImage, Frame]:
        """Returns what `to_input` makes of a photo. Raises UserError if the file cannot be read."""
        image, original = self.read(path)
        return to_input(image, preprocessing, original=original)

    def _to_rgb(self, image: Image.Image, path: str | PathLike[str]) -> Image.Image:
        if not is_wide(image):
            return to_rgb(image)
        limits, warning = (self._range, "") if self._range is not None else range_of(image)
        if warning and limits not in self._told:
            self._told.add(limits)
            log.warning("%s: %s; this is said once for all such photos", path, warning)
        return wide_to_rgb(image, limits)


def read_image(path: str | PathLike[str], values: object = None) -> Image.Image:
    """Returns a photo in RGB: EXIF orientation applied, transparency over white, more than 8 bits scaled to 8.

    A JPEG that is too large for the memory is returned at a half, a quarter or an eighth of its size.

    Args:
        values: the values of black and white in photos of more than 8 bits; None for the rule, see `PhotoReader`.

    Raises:
        UserError: the file cannot be read.
    """
    return PhotoReader(values).read(path)[0]


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts an image of 8 bits or less to RGB, in strips if it has transparent pixels, which become white."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    result = Image.new("RGB", image.size)
    for top, strip in row_strips(image):
        layers = strip.convert("RGBA")
        result.paste(Image.alpha_composite(Image.new("RGBA", layers.size, WHITE), layers).convert("RGB"), (0, top))
    return result


def to_input(
    image: Image.Image, preprocessing: Preprocessing, *, original: tuple[int, int] | None = None
) -> tuple[InputImage, Frame]:
    """Returns the input before normalisation, values in [0, 1], and how it was cut from the photo.

    Args:
        original: (height, width) of the photo, if `image` is a smaller copy of it.
    """
    if preprocessing.interpolation not in RESAMPLING:
        allowed = ", ".join(RESAMPLING)
        raise UserError(f"interpolation {preprocessing.interpolation!r} is unknown; choose one of {allowed}")
    channels = len(preprocessing.mean)
    if channels not in MODES:
        raise UserError(
            f"photos have 1 or 3 channels and the classifier asks for {channels}; choose another classifier"
        )
    frame = frame_of(original or (image.height, image.width), preprocessing)
    converted = image if image.mode == MODES[channels] else image.convert(MODES[channels])
    part = resized_part(converted, frame, RESAMPLING[preprocessing.interpolation])
    values = torch.from_numpy(np.array(part)).reshape(part.height, part.width, channels).permute(2, 0, 1)
    return padded(values, frame).to(torch.float32).div(255), frame


def resized_part(image: Image.Image, frame: Frame, resampling: Image.Resampling) -> Image.Image:
    """Returns the part of the resized photo that the crop keeps.

    Only if the whole resized photo would not fit into the memory, or if `image` is a smaller copy of the photo, the
    part alone is resized; its values then differ by rounding.
    """
    (height, width), (_, rows), (_, columns) = frame.resized, *overlaps(frame)
    whole = frame.original == (image.height, image.width)
    if whole and height * width + image.height * width + image.height * image.width <= AT_ONCE:
        return image.resize((width, height), resampling).crop((columns.start, rows.start, columns.stop, rows.stop))
    down, across = image.height / height, image.width / width
    right, bottom = min(columns.stop * across, image.width), min(rows.stop * down, image.height)
    box = (columns.start * across, rows.start * down, right, bottom)
    return image.resize((columns.stop - columns.start, rows.stop - rows.start), resampling, box=box)


def frame_of(original: tuple[int, int], preprocessing: Preprocessing) -> Frame:
    """Returns where the input lies in a photo of (height, width) `original`."""
    resized = resized_size(original, preprocessing.resize)
    if resized[0] * resized[1] > LARGEST:
        raise UserError(
            f"the photo of {original[0]} x {original[1]} pixels would grow to {resized[0]} x {resized[1]}; crop it"
        )
    pairs = zip(resized, preprocessing.size, strict=True)
    top, left = (offset(*pair, floor=preprocessing.floor_crop) for pair in pairs)
    return Frame(original=original, resized=resized, top=top, left=left, size=preprocessing.size)


def resized_size(original: tuple[int, int], resize: int | tuple[int, int]) -> tuple[int, int]:
    """Returns the size of the resized photo: `resize` itself if it is a pair, otherwise its shorter side is `resize`.

    >>> resized_size((300, 401), 256), resized_size((300, 401), (224, 224))
    ((256, 342), (224, 224))
    """
    if not isinstance(resize, int):
        return resize
    height, width = original
    longer = int(resize * max(height, width) / min(height, width))
    return (longer, resize) if width <= height else (resize, longer)


def offset(resized: int, size: int, *, floor: bool = False) -> int:
    """Returns where the centre crop starts along one axis; negative if the photo is padded.

    >>> offset(7, 4), offset(7, 4, floor=True), offset(4, 7)
    (2, 1, -1)
    """
    if resized < size:
        return -((size - resized) // 2)
    return (resized - size) // 2 if floor else round((resized - size) / 2)


def cut(values: Shaped[Tensor, "*lead hr wr"], frame: Frame) -> Shaped[Tensor, "*lead h w"]:
    """Returns the crop of resized values, which is 0 (black, background) beyond their borders."""
    (_, rows), (_, columns) = overlaps(frame)
    return padded(values[..., rows, columns], frame)


def padded(part: Shaped[Tensor, "*lead hp wp"], frame: Frame) -> Shaped[Tensor, "*lead h w"]:
    """Returns the crop, given the part of it that the photo fills; it is 0 beyond."""
    result = part.new_zeros((*part.shape[:-2], *frame.size))
    (rows, _), (columns, _) = overlaps(frame)
    result[..., rows, columns] = part
    return result


def overlaps(frame: Frame) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Returns slices for rows and for columns: the part of the crop that the photo fills, and where it is there."""
    down, across = zip((frame.top, frame.left), frame.size, frame.resized, strict=True)
    return overlap_slices(*down), overlap_slices(*across)


def overlap_slices(start: int, size: int, resized: int) -> tuple[slice, slice]:
    """Returns slices along one axis: the part of the crop that the photo fills, and the same part of the photo."""
    first, last = max(start, 0), min(start + size, resized)
    return slice(first - start, last - start), slice(first, last)


def segmentation_to_input(segmentation: Shaped[Tensor, "H W"], frame: Frame) -> Shaped[Tensor, "h w"]:
    """Returns a label map of the photo in the input frame: nearest neighbour, the same crop, 0 in the padding."""
    if tuple(segmentation.shape) != frame.original:
        raise UserError(
            f"the segmentation has {tuple(segmentation.shape)} pixels and its photo {frame.original}; "
            "give segmentations of the photo's own size"
        )
    rows, columns = (
        ((2 * torch.arange(new) + 1) * old // (2 * new))[part].to(segmentation.device)
        for new, old, (_, part) in zip(frame.resized, frame.original, overlaps(frame), strict=True)
    )
    return padded(segmentation[rows][:, columns], frame)


def map_to_input(values: Float[Tensor, "H W"], frame: Frame) -> Float[Tensor, "h w"]:
    """Returns a map of the photo's own pixels in the input frame: the same resize and crop, 0 in the padding.

    It is bilinear where the photo grows. Where the photo shrinks, a pixel has the mean of what lies within it, so that
    nothing of the map gets lost or leaves its object.
    """
    rows, columns = (
        axis_means(*axis).to(values.device)
        for axis in zip((frame.top, frame.left), frame.size, frame.resized, frame.original, strict=True)
    )
    return (rows.to(values) @ values @ columns.to(values).T).to(values.dtype)


def mask_to_image(masks: Float[Tensor, "*lead h w"], frame: Frame) -> Float[Tensor, "*lead H W"]:
    """Returns maps of the input frame, at any resolution, on the photo's own pixels: bilinear, 0 outside the crop."""
    starts = (frame.top, frame.left)
    rows, columns = (
        axis_weights(masks.shape[axis], start, size, resized, original).to(masks.device)
        for axis, start, size, resized, original in zip(
            (-2, -1), starts, frame.size, frame.resized, frame.original, strict=True
        )
    )
    work = masks.to(torch.promote_types(masks.dtype, torch.float32))
    return (rows.to(work) @ work @ columns.to(work).T).to(masks.dtype)


def axis_weights(cells: int, start: int, size: int, resized: int, original: int) -> Float[Tensor, "o i"]:
    """Returns bilinear weights along one axis, photo's pixels x map's cells; a row outside the crop is 0."""
    centres = (torch.arange(original, dtype=torch.float64) + 0.5) * resized / original - start
    position = (centres / size * cells - 0.5).clamp(0, cells - 1)
    lower = position.floor().long().clamp(max=max(cells - 2, 0))
    upper = (lower + 1).clamp(max=cells - 1)
    weights = torch.zeros(original, cells, dtype=torch.float64)
    share = (position - lower).unsqueeze(1)
    weights.scatter_add_(1, lower.unsqueeze(1), 1 - share)
    weights.scatter_add_(1, upper.unsqueeze(1), share)
    inside = (centres >= 0) & (centres < size)
    return weights * inside.unsqueeze(1)


def axis_means(start: int, size: int, resized: int, original: int) -> Float[Tensor, "o i"]:
    """Returns weights along one axis, input's pixels x photo's pixels; a row in the padding is 0."""
    scale = original / resized
    places = torch.arange(start, start + size, dtype=torch.float64).unsqueeze(1)
    pixels = torch.arange(original, dtype=torch.float64)
    if scale > 1:  # how much of a pixel of the photo lies within one of the input
        weights = torch.minimum(pixels + 1, (places + 1) * scale) - torch.maximum(pixels, places * scale)
    else:
        weights = 1 - (pixels + 0.5 - (places + 0.5) * scale).abs()
    weights = weights.clamp(min=0) * ((places >= 0) & (places < resized))
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
