"""Turns a photo into the classifier's input by its own evaluation transform, and maps a mask back onto the photo.

The geometry is that of timm's `create_transform` (crop modes center and squash) and of torchvision's Resize+CenterCrop.
"""

from os import PathLike

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image, ImageOps
from torch import Tensor

from inr_xai.errors import UserError
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
LARGEST = 2**28  # pixels of a resized photo; a strip of 1 x 10,000 pixels would otherwise fill the memory


def read_image(path: str | PathLike[str]) -> Image.Image:
    """Returns a photo in RGB: EXIF orientation applied, transparency over white, 16 bits scaled to 8.

    Raises UserError if the file cannot be read.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            return to_rgb(ImageOps.exif_transpose(opened))
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"cannot read the image {str(path)!r} ({reason}); replace or remove the file") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts an image of any mode of Pillow to RGB."""
    if image.mode.startswith(("I", "F")):
        return wide_to_rgb(image)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, WHITE), layers).convert("RGB")
    return image.convert("RGB")


def wide_to_rgb(image: Image.Image) -> Image.Image:
    """Converts grey values of more than 8 bits: integers in [0, 65535]; floats in [0, 1], [0, 255] or [0, 65535]."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    top = float(values.max())
    scale = next((range_ for range_ in ranges if top <= range_), top)
    grey = np.rint(values.clip(0, scale) * (255.0 / scale)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def to_input(image: Image.Image, preprocessing: Preprocessing) -> tuple[InputImage, Frame]:
    """Returns the input before normalisation, values in [0, 1], and how it was cut from the photo."""
    if preprocessing.interpolation not in RESAMPLING:
        allowed = ", ".join(RESAMPLING)
        raise UserError(f"interpolation {preprocessing.interpolation!r} is unknown; choose one of {allowed}")
    channels = len(preprocessing.mean)
    if channels not in MODES:
        raise UserError(
            f"photos have 1 or 3 channels and the classifier asks for {channels}; choose another classifier"
        )
    frame = frame_of((image.height, image.width), preprocessing)
    height, width = frame.resized
    converted = image.convert(MODES[channels])
    resized = converted.resize((width, height), RESAMPLING[preprocessing.interpolation])
    values = torch.from_numpy(np.array(resized)).reshape(height, width, channels).permute(2, 0, 1)
    return cut(values, frame).to(torch.float32).div(255), frame


def frame_of(original: tuple[int, int], preprocessing: Preprocessing) -> Frame:
    """Returns where the input lies in a photo of (height, width) `original`."""
    resized = resized_size(original, preprocessing.resize)
    if resized[0] * resized[1] > LARGEST:
        raise UserError(
            f"the photo of {original[0]} x {original[1]} pixels would grow to {resized[0]} x {resized[1]}; crop it"
        )
    top, left = (offset(*pair) for pair in zip(resized, preprocessing.size, strict=True))
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


def offset(resized: int, size: int) -> int:
    """Returns where the centre crop starts along one axis; negative if the photo is padded."""
    return round((resized - size) / 2) if resized >= size else -((size - resized) // 2)


def cut(values: Shaped[Tensor, "*lead hr wr"], frame: Frame) -> Shaped[Tensor, "*lead h w"]:
    """Returns the crop of resized values, which is 0 (black, background) beyond their borders."""
    result = values.new_zeros((*values.shape[:-2], *frame.size))
    (y_out, y_in), (x_out, x_in) = (
        overlap_slices(*axis) for axis in zip((frame.top, frame.left), frame.size, frame.resized, strict=True)
    )
    result[..., y_out, x_out] = values[..., y_in, x_in]
    return result


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
        ((2 * torch.arange(new) + 1) * old // (2 * new)).to(segmentation.device)
        for new, old in zip(frame.resized, frame.original, strict=True)
    )
    return cut(segmentation[rows][:, columns], frame)


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
