"""Hard masks, and the geometry of masks: their area, how binary they are, how the masks of one image nest and overlap.

The formulas are in docs/method.md, "Symbols" and "Metrics". All is computed in single precision or better, whatever
the masks are stored in; NaN and infinity are refused.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from inr_xai.types import Areas, Free, Masks

ROUNDING = 1e-6  # of a pixel, added before rounding down: a * N may come out just below the whole number that it is


def hard_masks(
    masks: Masks, areas: Areas, *, generators: Sequence[torch.Generator], free: Free | None = None
) -> Bool[Tensor, "b a h w"]:
    """Returns masks that keep the floor(aN + 1e-6) pixels with the largest values of each mask.

    Pixels of equal value are chosen in a random order. An image has one such order for all its areas, so that a hard
    mask does not depend on the other areas.

    Args:
        generators: one CPU generator per image; each gives one permutation of the pixels.
        free: the pixels that may be chosen. If there are fewer than the area needs, all of them are chosen.

    >>> m = torch.tensor([[[[0.1, 0.9], [0.4, 0.2]]]])
    >>> hard_masks(m, torch.tensor([0.5]), generators=[torch.Generator()]).int().flatten().tolist()
    [0, 1, 1, 0]
    """
    require_one_each(generators, len(masks))
    values = _checked(masks)
    if free is not None:
        values = values.masked_fill(~free, -torch.inf)
    counts = pixel_counts(areas, values[0, 0].numel())
    hard = torch.zeros_like(masks, dtype=torch.bool)
    for image, draw in enumerate(generators):
        order = torch.randperm(values[image, 0].numel(), generator=draw).to(masks.device)
        for position, count in enumerate(counts):
            if count == 0:
                continue
            ranked = values[image, position].flatten()
            least = ranked.kthvalue(len(ranked) - count + 1).values
            largest = ranked > least
            tied = order[(ranked == least)[order]]  # of those equal to the least, the first in the random order
            largest[tied[: count - int(largest.sum())]] = True
            hard[image, position] = largest.reshape(masks.shape[-2:])
    return hard if free is None else hard & free


def pixel_counts(areas: Areas, pixels: int) -> list[int]:
    """Returns the number of pixels of a hard mask of each area, floor(aN + 1e-6).

    Areas in half and single precision are read as the shortest decimal that they stand for: 0.7 of 52,900 pixels are
    37,030, though the nearest float32 lies 0.0006 pixels below. Raises ValueError for bfloat16, which has only two
    digits: its 0.3 is 0.301.

    >>> pixel_counts(torch.tensor([0.05, 0.7]), 52900)
    [2645, 37030]
    """
    if areas.dtype == torch.bfloat16:
        raise ValueError("expected areas in float16 or better, got bfloat16, which has two digits; give float32")
    return [int(np.floor(float(str(area)) * pixels + ROUNDING)) for area in areas.detach().cpu().numpy()]


def area_error(masks: Masks, areas: Areas) -> Float[Tensor, "b a"]:
    """Returns |mean(m) - a|, in [0, 1]; lower is better.

    It says little by itself: the constant mask m = a has an error of 0. Read it beside `grayness`.

    >>> area_error(torch.full((1, 1, 2, 2), 0.25), torch.tensor([0.5])).item()
    0.25
    """
    mean = _checked(masks).mean((-2, -1))
    return (mean - areas.to(mean)).abs()


def grayness(masks: Masks) -> Float[Tensor, "b a"]:
    """Returns mean(4 m (1 - m)), in [0, 1]; lower is better: 0 for a binary mask, 1 for one half everywhere.

    >>> grayness(torch.full((1, 1, 2, 2), 0.5)).item()
    1.0
    """
    exact = _checked(masks)
    return (4 * exact * (1 - exact)).mean((-2, -1))


def rank_violation(masks: Masks, areas: Areas) -> Float[Tensor, "b a"]:
    """Returns mean((vecsort(m) - r_a)^2), in [0, 1]; lower is better: 0 only for a binary mask of area a.

    It measures binariness and area at once; `grayness` and `area_error` tell them apart. Source: Fong, Patrick,
    Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks", ICCV 2019, equation 4.
    """
    exact = _checked(masks)
    counts = pixel_counts(areas, exact[0, 0].numel())
    return distance_of_ranks(exact, torch.tensor(counts, device=exact.device))


def distance_of_ranks(masks: Masks, ones: Shaped[Tensor, " a"]) -> Float[Tensor, "b a"]:
    """Returns mean((vecsort(m) - r)^2), where r is zeros and then `ones` many ones, a number for each area."""
    ascending = masks.flatten(2).sort(dim=-1).values
    n = ascending.shape[-1]
    reference = (torch.arange(n, device=masks.device) >= n - ones.unsqueeze(-1)).to(ascending.dtype)
    return (ascending - reference).square().mean(-1)


def share_above_half(masks: Masks, areas: Areas) -> Float[Tensor, "b a"]:
    """Returns |share of pixels above 1/2 - a|, in [0, 1]; lower is better: the area error of the mask cut at 1/2.

    >>> share_above_half(torch.tensor([[[[0.6, 0.5], [0.4, 0.9]]]]), torch.tensor([0.25])).item()
    0.25
    """
    share = (_checked(masks) > 0.5).to(torch.float32).mean((-2, -1))
    return (share - areas.to(share)).abs()


def nesting_violation(masks: Masks, areas: Areas) -> Float[Tensor, " b"]:
    """Returns the mean over pixels and pairs a1 < a2 of max(0, m_a1 - m_a2), in [0, 1]; lower is better.

    It is 0 if every larger area contains the smaller ones, and if there is only one area.
    """
    exact = _checked(masks)[:, areas.argsort().to(masks.device)]
    first, second = torch.triu_indices(exact.shape[1], exact.shape[1], offset=1, device=masks.device)
    if len(first) == 0:
        return exact.new_zeros(len(exact))
    pairs = zip(first.tolist(), second.tolist(), strict=True)  # one pair at a time: memory of one difference
    return torch.stack([(exact[:, i] - exact[:, j]).clamp(min=0).mean((-2, -1)) for i, j in pairs]).mean(0)


def overlap(hard: Bool[Tensor, "b k a h w"]) -> Float[Tensor, "b a k k"]:
    """Returns the intersection over union of the hard masks of every two explanations, in [0, 1]; lower is better.

    The diagonal is 1. The overlap of two empty masks is 0.
    """
    flat = hard.transpose(1, 2).flatten(3).to(torch.float32)  # counts below 2^24 are exact
    shared = flat @ flat.transpose(-2, -1)
    size = shared.diagonal(dim1=-2, dim2=-1)
    union = size.unsqueeze(-1) + size.unsqueeze(-2) - shared
    return shared / union.clamp(min=1)


def require_one_each(generators: Sequence[torch.Generator], images: int) -> None:
    """Raises ValueError unless there is one generator per image."""
    if len(generators) != images:
        raise ValueError(f"expected one generator per image, {images}, got {len(generators)}")


def _checked(masks: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Returns the masks in single precision or better. Raises ValueError for NaN and infinity."""
    if not masks.isfinite().all():
        raise ValueError("expected finite masks, got NaN or infinity; leave out the images whose fit failed")
    return masks.to(torch.promote_types(masks.dtype, torch.float32))
