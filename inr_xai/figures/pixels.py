"""Pictures as arrays: what a mask keeps as it is, and what it leaves out under grey. No drawing library is needed.

What is left out loses its colours and most of its contrast. It becomes dark on a bright photo and light on a dark one:
of the two greys the one that differs more from the photo, so that kept and left-out pixels are told apart on any photo.
"""

import numpy as np

from inr_xai.types import Image

LUMA = (0.2126, 0.7152, 0.0722)
"""The parts of red, green and blue in the brightness of a pixel (ITU-R BT.709)."""
CONTRAST = 0.16
"""The part of the photo's contrast that is left where a mask keeps nothing."""
DARK, LIGHT = 0.14, 0.68
"""What a black pixel becomes where a mask keeps nothing, on a bright photo and on a dark one."""
SHARP, LARGE = 400, 1024
"""Pixels of the shorter side from which on a picture is sharp in print, and of the longer side that are enough."""


def pixels_of(image: Image) -> np.ndarray:
    """Returns an image as h x w x 3 with values in [0, 1]; a single channel is shown as grey."""
    photo = image.detach().permute(1, 2, 0).clamp(0, 1).float().cpu().numpy()
    return np.broadcast_to(photo, (*photo.shape[:2], 3))


def eight_bits(picture: np.ndarray) -> np.ndarray:
    """Returns values in [0, 1], of any shape, as whole numbers from 0 to 255; what is outside is cut, NaN is 0."""
    return (np.clip(np.nan_to_num(picture), 0, 1) * 255).round().astype(np.uint8)


def left_out(photo: np.ndarray) -> np.ndarray:
    """Returns a photo as it looks where a mask keeps nothing; h x w x 3, values in [0, 1].

    >>> left_out(np.ones((1, 1, 3))).round(2).tolist(), left_out(np.zeros((1, 1, 3))).round(2).tolist()
    ([[[0.3, 0.3, 0.3]]], [[[0.68, 0.68, 0.68]]])
    """
    grey = photo @ np.array(LUMA, dtype=photo.dtype)
    veiled = max((start + CONTRAST * grey for start in (DARK, LIGHT)), key=lambda veil: np.abs(veil - grey).mean())
    return np.repeat(veiled[..., None], 3, axis=-1)


def overlay(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns a photo that is clear where the mask (h x w, values in [0, 1]) is 1, and under grey where it is 0.

    >>> overlay(np.ones((1, 1, 3)), np.ones((1, 1))).tolist()
    [[[1.0, 1.0, 1.0]]]
    """
    weight = np.nan_to_num(mask)[..., None]
    return np.asarray(weight * photo + (1 - weight) * left_out(photo))


def hatched(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns a picture without colours and with slanted lines, dark ones beside light ones, where the mask is hard."""
    height, width = mask.shape
    thick = max(1, round(min(height, width) / 160))
    phase = np.add.outer(np.arange(height), np.arange(width)) % (10 * thick)
    grey = np.repeat((picture @ np.array(LUMA, dtype=picture.dtype))[..., None], 3, axis=-1)
    lined = np.where((phase < thick)[..., None], 0.1, np.where((phase < 2 * thick)[..., None], 0.95, grey))
    return np.where((np.nan_to_num(mask) > 0.5)[..., None], lined, picture)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Returns a small picture (h x w or h x w x 3) with each pixel as a square of pixels, so that it stays crisp."""
    times = -(-SHARP // min(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else picture


def reduced(picture: np.ndarray) -> np.ndarray:
    """Returns a picture (h x w or h x w x 3) with no side above `LARGE` pixels: means of squares of pixels."""
    side = -(-max(picture.shape[:2]) // LARGE)
    if side == 1:
        return picture
    height, width = (max(1, size // side) for size in picture.shape[:2])
    tall, wide = (min(side, size) for size in picture.shape[:2])
    parts = picture[: height * tall, : width * wide].reshape(height, tall, width, wide, *picture.shape[2:])
    return np.asarray(parts.mean(axis=(1, 3)))
