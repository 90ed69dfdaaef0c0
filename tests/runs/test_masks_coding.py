"""Masks in fewer bytes: every bit of every float16 comes back, and data that are no masks are refused."""

import numpy as np
import pytest
import torch

from inr_xai.runs.masks_coding import compress_masks, decompress_masks


def test_every_float16_comes_back_to_the_bit() -> None:
    bits = torch.from_numpy(np.arange(2**16).astype(np.uint16).view(np.int16))
    masks = bits.view(torch.float16).reshape(2, 2, 128, 128)
    back = decompress_masks(compress_masks(masks), (2, 2, 128, 128))
    assert back.dtype == torch.float16
    assert torch.equal(back.reshape(-1).view(torch.int16), bits)


def test_masks_that_are_nearly_binary_take_a_fraction() -> None:
    field = torch.linspace(-60, 60, 64)[:, None] + torch.linspace(-20, 20, 64)
    masks = torch.stack([torch.sigmoid(field - shift) for shift in (0.0, 10.0)]).half()[None]
    data = compress_masks(masks)
    assert torch.equal(decompress_masks(data, (1, 2, 64, 64)), masks)
    assert len(data) < masks.numel() * 2 / 3
    assert torch.equal(data, compress_masks(masks.float().transpose(2, 3).contiguous().transpose(2, 3)))


@pytest.mark.parametrize(
    ("cut", "shape", "words"),
    [
        (slice(0, -1), (1, 2, 4, 4), "do not have the shape"),
        (slice(1, None), (1, 2, 4, 4), "cannot be decompressed"),
        (slice(None), (1, 2, 4, 5), "do not have the shape"),
        (slice(None), (1, 2, 4, 3), "do not have the shape"),
        (slice(None), (2**40, 2**40, 4, 4), "do not have the shape"),
    ],
)
def test_data_that_are_no_masks_are_refused(cut: slice, shape: tuple[int, int, int, int], words: str) -> None:
    data = compress_masks(torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match=words):
        decompress_masks(data[cut], shape)


def test_no_more_is_decompressed_than_the_masks_take() -> None:
    bomb = compress_masks(torch.zeros(1, 1, 2048, 2048))
    assert len(bomb) < 20_000
    with pytest.raises(ValueError, match="do not have the shape"):
        decompress_masks(bomb, (1, 1, 4, 4))
