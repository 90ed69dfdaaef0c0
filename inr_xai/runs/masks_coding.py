"""Masks in fewer bytes, and back to the same bits: zlib on the two bytes of each float16 apart."""

import math
import sys
import zlib

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

LEVEL = 6
"""The effort of zlib, from 1 to 9."""


def compress_masks(masks: Float[Tensor, "k a h w"]) -> UInt8[Tensor, " n"]:
    """Returns float16 masks in fewer bytes, from which `decompress_masks` makes the same bits.

    Masks are 0 or 1 on most pixels. There, each of the two bytes of a value repeats for long, and in between, the high
    byte (sign, exponent and two bits of the fraction) changes slowly.

    >>> masks = torch.tensor([0.0, 1.0, 0.25, 1.0], dtype=torch.float16).view(1, 1, 2, 2)
    >>> torch.equal(decompress_masks(compress_masks(masks), (1, 1, 2, 2)), masks)
    True
    """
    values = masks.detach().cpu().to(torch.float16).contiguous().numpy().astype("<f2", copy=False)
    planes = values.reshape(-1).view(np.uint8).reshape(-1, 2).T
    return torch.frombuffer(bytearray(zlib.compress(planes.tobytes(), LEVEL)), dtype=torch.uint8)


def decompress_masks(data: UInt8[Tensor, " n"], shape: tuple[int, int, int, int]) -> Float[Tensor, "k a h w"]:
    """Returns the float16 masks that `compress_masks` was given.

    Args:
        data: what it returned.
        shape: the shape of the masks.

    Raises:
        ValueError: the data are no masks of this shape. No more memory is used than these take.
    """
    count = math.prod(shape)
    stream = zlib.decompressobj()
    try:
        planes = stream.decompress(data.numpy().tobytes(), min(2 * count + 1, sys.maxsize))
    except zlib.error as error:
        raise ValueError(f"its masks cannot be decompressed: {error}") from error
    if len(planes) != 2 * count or not stream.eof or stream.unused_data:
        raise ValueError(f"its masks do not have the shape {shape} once they are decompressed")
    values = np.ascontiguousarray(np.frombuffer(planes, np.uint8).reshape(2, count).T).reshape(-1).view("<f2")
    return torch.from_numpy(values.astype(np.float16, copy=False).reshape(shape))
