"""Marks on photos as tensors: label maps from PNG files, filled boxes, and both turned as EXIF turns the photo."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from inr_xai.data.image_file import opened_image, require_room, row_strips
from inr_xai.errors import UserError, error_text

Box = tuple[int, int, int, int]
"""Left, top, right and bottom pixel, counted from 0; these four are inside the box."""


def read_label_map(file: Path, modes: tuple[str, ...]) -> UInt8[Tensor, "*shape"]:
    """Returns the stored values of a PNG (the indices of a palette image), H x W or H x W x channels.

    Raises UserError if the file cannot be read, or if its mode of Pillow is not one of `modes`.
    """
    with _loaded(file, copies=4) as picture:
        if picture.mode not in modes:
            raise UserError(
                f"the segmentation {str(file)!r} is of mode {picture.mode}, not {' or '.join(modes)}, so its values "
                "are no class ids; take the file as published"
            )
        return torch.from_numpy(np.array(picture))


def read_object(file: Path) -> Bool[Tensor, "H W"]:
    """Returns True where a mask has a value other than 0 in some channel (or as palette index) and is not transparent.

    In a JPEG, values must be at least 128, because compression changes values near 0.

    Raises UserError if the file cannot be read, or if it has no such pixel.
    """
    with _loaded(file, copies=1) as picture:
        least = 128 if picture.format == "JPEG" else 1
        ImageOps.exif_transpose(picture, in_place=True)
        mask = np.zeros((picture.height, picture.width), dtype=bool)
        for top, strip in row_strips(picture):
            bands = dict(zip(strip.getbands(), map(np.asarray, strip.split()), strict=True))
            opaque = bands.pop("A", None)
            part = np.any([values >= least for values in bands.values()], axis=0)
            mask[top : top + strip.height] = part if opaque is None else part & (opaque != 0)
    if not mask.any():
        values = "0" if least == 1 else f"below {least}"
        raise UserError(
            f"the segmentation {str(file)!r} has no object: all its pixels are {values}; mend or remove the file"
        )
    return torch.from_numpy(mask)


def fill_boxes(boxes: Iterable[Box], size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Returns True within any of the boxes, on (height, width) pixels. Raises UserError if a box extends beyond.

    >>> fill_boxes([(1, 0, 2, 0)], (2, 3)).int().tolist()
    [[0, 1, 1], [0, 0, 0]]
    """
    height, width = size
    filled = torch.zeros(size, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        if not (0 <= left <= right < width and 0 <= top <= bottom < height):
            raise UserError(
                f"the box of columns {left}..{right} and rows {top}..{bottom} does not lie within the photo of "
                f"{height} x {width} pixels; give the photos as published"
            )
        filled[top : bottom + 1, left : right + 1] = True
    return filled


def stored_size(photo: Path) -> tuple[int, int]:
    """Returns the height and width of an image file before EXIF turns it. Raises UserError if it cannot be read."""
    with _readable(photo, "image"), opened_image(photo, reducible=True) as (_, size):
        return size


def upright(mask: Bool[Tensor, "H W"], photo: Path) -> Bool[Tensor, "I J"]:
    """Turns a mask, which refers to the stored pixels of `photo`, as EXIF turns the photo.

    Raises UserError if the photo cannot be read.
    """
    with _readable(photo, "image"), opened_image(photo, reducible=True) as (opened, _):
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    picture = Image.fromarray(mask.numpy())
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    return torch.from_numpy(np.array(ImageOps.exif_transpose(picture)))


@contextmanager
def _loaded(file: Path, *, copies: int) -> Iterator[Image.Image]:
    with _readable(file, "segmentation"), opened_image(file, copies=copies) as (picture, _):
        picture.load()
        require_room(picture)
        yield picture


@contextmanager
def _readable(file: Path, kind: str) -> Iterator[None]:
    """Gives any error of a file the sentence of a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"cannot read the {kind} {str(file)!r} ({error_text(error)}); restore or mend the file"
        ) from error
