"""The masks of one explanation at all areas of a page's slider, packed in one opaque PNG.

A pixel's number of 16 bits stands in two channels of 8 bits, the higher half in red and the lower in green: an opaque
PNG comes out of a browser's canvas as it went in. If larger masks contain the smaller ones, a rank map holds the step
of the slider from which on each pixel is kept. If they do not, each bit of the numbers is one hard mask.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from inr_xai.masks import hard_masks, pixel_counts
from inr_xai.seeding import generator

STEPS = 1024
"""Steps of a rank map from nothing to the whole image."""
DRAWN, SMALLEST, LARGEST = 32, 0.01, 0.5
"""Masks are drawn at so many areas in equal ratios, from the smallest; the largest is that of a single explanation."""
BITS = 16
"""Masks in one number of a bit map; the numbers of further masks stand below."""
RANKS, MASKS = "ranks", "masks"
"""The two kinds of packed maps."""


@dataclass(frozen=True)
class PackedMasks:
    """The masks of all explanations of an image at the areas of a slider.

    Args:
        kind: RANKS if each pixel's number is the first step that keeps it, MASKS if bit s is the mask of step s.
        areas: the fraction of the image that the mask of each step keeps, ascending.
        maps: a PNG for each explanation, h x w; of the kind MASKS, 2h x w.
        size: h and w.
    """

    kind: str
    areas: tuple[float, ...]
    maps: tuple[bytes, ...]
    size: tuple[int, int]


def drawn_areas(fitted: Sequence[float], largest: float, pixels: int) -> list[float]:
    """Returns at most 32 areas, ascending, at which masks are drawn: those fitted, and others in equal ratios.

    Args:
        fitted: the areas that were fitted; of more than 32, every n-th is taken.
        largest: the area of the last mask, unless a larger one was fitted.
        pixels: the number of pixels of a mask; areas of less than one are left out.

    >>> [round(area, 3) for area in drawn_areas([0.05, 0.2], 0.5, 50176)[-3:]]
    [0.388, 0.441, 0.5]
    """
    kept = sorted(set(fitted))
    kept = kept[:: -(-len(kept) // DRAWN)]
    ratio = max(largest, kept[-1]) / SMALLEST
    series = [SMALLEST * ratio ** (place / (DRAWN - 1)) for place in range(DRAWN)]
    for area in kept:  # each stands for the nearest of the others
        series.remove(min(series, key=lambda other: abs(other / area - 1)))
    return sorted(area for area in {*series, *kept} if area * pixels >= 1)


def step_areas(drawn: Sequence[float], fitted: Sequence[float]) -> list[float]:
    """Returns the area of each step of a rank map: multiples of 1/1024, but for those nearest to drawn areas.

    These are the drawn areas themselves, so that the page shows them exactly. Where two are nearest to one step, it is
    the fitted one.

    >>> areas = step_areas([0.01, 0.1, 0.3], [0.1])
    >>> len(areas), areas[101], areas[-1]
    (307, 0.1, 0.3)
    """
    exact: dict[int, float] = {}
    for area in sorted(drawn, key=lambda area: (area in fitted, area)):
        exact[max(1, round(area * STEPS))] = area
    last = max(exact)
    return [exact.get(step, step / STEPS) for step in range(1, last + 1)]


def pack(masks: Float[Tensor, "k a h w"], areas: Sequence[float], fitted: Sequence[float]) -> PackedMasks:
    """Packs the drawn masks of an image's explanations.

    Args:
        masks: values in [0, 1] without ties at the thresholds of their hard masks.
        areas: the areas of the masks, ascending, at most 32.
        fitted: those of them that were fitted.
    """
    ties = [generator(0, "page") for _ in masks]
    hard = hard_masks(masks, torch.tensor(areas, dtype=torch.float64), generators=ties)
    size = (masks.shape[-2], masks.shape[-1])
    if not bool((hard[:, :-1] & ~hard[:, 1:]).any()):
        steps = step_areas(areas, fitted)
        # Pixels that come in between two drawn areas come in the order of the masks around them.
        maps = [
            _ranked(first_of(part), -values.float().sum(0), steps) for part, values in zip(hard, masks, strict=True)
        ]
        return PackedMasks(RANKS, tuple(steps), tuple(png_of(one) for one in maps), size)
    return PackedMasks(MASKS, tuple(areas), tuple(png_of(_bits(one)) for one in hard), size)


def pack_map(heatmap: Float[Tensor, "h w"], fitted: Sequence[float], *, name: str) -> PackedMasks:
    """Packs a heatmap of another method, whose hard masks are its largest values.

    Args:
        fitted: areas that the slider shows exactly, ascending.
        name: the image's name, from which the order of equal values is drawn.
    """
    steps = step_areas([*fitted, max(LARGEST, *fitted)], fitted)
    draw = torch.randperm(heatmap.numel(), generator=generator(0, name, "page")).reshape(heatmap.shape)
    ranks = _ranked(-heatmap.double(), draw, steps)
    return PackedMasks(RANKS, tuple(steps), (png_of(ranks),), (heatmap.shape[0], heatmap.shape[1]))


def first_of(hard: Bool[Tensor, "a h w"]) -> Int[Tensor, "h w"]:
    """Returns the place of the first mask that keeps each pixel; the number of masks where none does."""
    return (~hard).long().sum(0)


def _ranked(first: Tensor, then: Tensor, areas: Sequence[float]) -> np.ndarray:
    """Returns the first step that keeps each pixel, if pixels come in the order of `first`, and equal ones of `then`.

    The number of steps stands for pixels that no step keeps.
    """
    order = np.lexsort((then.flatten().numpy(), first.flatten().numpy()))
    counts = pixel_counts(torch.tensor(areas, dtype=torch.float64), first.numel())
    steps = np.empty(first.numel(), dtype=np.uint16)
    steps[order] = np.searchsorted(counts, np.arange(first.numel()), side="right")
    return steps.reshape(first.shape)


def _bits(hard: Bool[Tensor, "a h w"]) -> np.ndarray:
    """Returns numbers of 16 bits, of which bit s is mask s; the numbers of masks from 16 on stand below."""
    words = np.zeros((2, *hard.shape[1:]), dtype=np.uint16)
    for place, mask in enumerate(hard.numpy()):
        words[place // BITS] |= mask.astype(np.uint16) << np.uint16(place % BITS)
    return words.reshape(-1, hard.shape[-1])


def hard_mask(packed: PackedMasks, explanation: int, area: float) -> Bool[np.ndarray, "h w"]:
    """Returns the hard mask of an explanation, counted from 1, at the step whose area is nearest to the one given."""
    step = int(np.abs(np.array(packed.areas) - area).argmin())
    with Image.open(io.BytesIO(packed.maps[explanation - 1])) as image:
        channels = np.asarray(image, dtype=np.uint16)
    numbers = channels[..., 0] << 8 | channels[..., 1]
    if packed.kind == RANKS:
        return numbers <= step
    height = packed.size[0]
    part = numbers[height * (step // BITS) :][:height]
    return (part >> (step % BITS) & 1).astype(bool)


def png_of(numbers: np.ndarray) -> bytes:
    """Returns numbers of 16 bits as an opaque PNG: the higher halves in red, the lower ones in green."""
    channels = np.stack([numbers >> 8, numbers & 255, np.zeros_like(numbers)], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(channels).save(stream, "png", optimize=True)
    return stream.getvalue()
