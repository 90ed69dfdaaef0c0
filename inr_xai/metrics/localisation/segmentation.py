"""How well hard masks cover the object of a segmentation.

Pixels to ignore count neither for the mask nor for the object, as in Everingham et al., "The Pascal Visual Object
Classes Challenge", IJCV 2015, and Gao et al., "Large-Scale Unsupervised Semantic Segmentation", TPAMI 2023
(ImageNet-S).
"""

from bisect import bisect_left
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from inr_xai.masks import hard_masks, require_one_each
from inr_xai.metrics.base import MeanMetric
from inr_xai.metrics.inputs import Maps, Marked, as_bool, finite_maps

Truth = Bool[Tensor, "b h w"]
"""True on the object of each image, or on the pixels to ignore."""

HardMasks = Shaped[Tensor, "b h w"] | Shaped[Tensor, "b a h w"]
"""Hard masks of one area or of several, True or 1 on kept pixels, as `update` of the classes takes them."""

SIZE_BINS = (0.05, 0.25, 0.5, 1.0)
"""Shares of the image up to which an object is small, medium small, medium large, large: the bins of ImageNet-S."""


def intersection_over_union(
    hard: Bool[Tensor, "b a h w"], truth: Truth, *, ignore: Truth | None = None
) -> Float[Tensor, "b a"]:
    """Returns |M & G| / |M | G| of mask M and object G, in [0, 1]; higher is better.

    With an object of share g, a mask of area a reaches at most min(a, g) / max(a, g): compare masks of one area only,
    or cut them by `matched_area_mask`. Raises ValueError for an image without object.

    >>> mask, truth = torch.tensor([[[[True, True, False]]]]), torch.tensor([[[False, True, False]]])
    >>> intersection_over_union(mask, truth).item()
    0.5
    """
    shared, kept, size = _counts(hard, truth, ignore=ignore)
    return shared / (kept + size - shared)


def precision(hard: Bool[Tensor, "b a h w"], truth: Truth, *, ignore: Truth | None = None) -> Float[Tensor, "b a"]:
    """Returns |M & G| / |M|, the share of the mask on the object, in [0, 1]; higher is better, 0 for an empty mask.

    With an object of share g, a mask of area a > g reaches at most g / a. Raises ValueError for an image without
    object.

    >>> mask, truth = torch.tensor([[[[True, True, False]]]]), torch.tensor([[[False, True, False]]])
    >>> precision(mask, truth).item()
    0.5
    """
    shared, kept, _ = _counts(hard, truth, ignore=ignore)
    return shared / kept.clamp(min=1)


def recall(hard: Bool[Tensor, "b a h w"], truth: Truth, *, ignore: Truth | None = None) -> Float[Tensor, "b a"]:
    """Returns |M & G| / |G|, the share of the object that the mask keeps, in [0, 1]; higher is better.

    With an object of share g, a mask of area a < g reaches at most a / g. Raises ValueError for an image without
    object.

    >>> mask, truth = torch.tensor([[[[True, True, False]]]]), torch.tensor([[[False, True, False]]])
    >>> recall(mask, truth).item()
    1.0
    """
    shared, _, size = _counts(hard, truth, ignore=ignore)
    return shared / size


def matched_area_mask(
    maps: Maps, truth: Truth, *, generators: Sequence[torch.Generator], ignore: Truth | None = None
) -> Bool[Tensor, "b h w"]:
    """Returns masks of the largest values of each map, with as many pixels as its object has.

    Precision and recall of such a mask are equal. No pixel to ignore is chosen. Raises ValueError for an image without
    object.

    Args:
        generators: one CPU generator per image, for the order of ties.

    >>> maps, truth = torch.tensor([[[3.0, 2.0, 1.0]]]), torch.tensor([[[True, False, True]]])
    >>> matched_area_mask(maps, truth, generators=[torch.Generator()]).tolist()
    [[[True, True, False]]]
    """
    values = finite_maps(maps)
    require_one_each(generators, len(values))
    counts = labelled(truth, values.shape, ignore=ignore).sum((1, 2)).tolist()
    free = torch.ones_like(truth) if ignore is None else ~ignore
    hard = torch.zeros_like(truth)
    for image, (count, draw) in enumerate(zip(counts, generators, strict=True)):  # each object has an area of its own
        area = torch.tensor([count / truth[0].numel()], dtype=torch.float64)
        place = slice(image, image + 1)
        hard[place] = hard_masks(values[place, None], area, generators=[draw], free=free[place, None])[:, 0]
    return hard


def size_bin(truth: Truth, *, ignore: Truth | None = None, edges: Sequence[float] = SIZE_BINS) -> Int[Tensor, " b"]:
    """Returns the size class of each object: the place of the first edge that its share of the image does not exceed.

    Pixels to ignore are no part of the image, as in the evaluation of ImageNet-S. Raises ValueError for an image
    without object, or with an object above the last edge.

    >>> truth = torch.tensor([[[True] + 19 * [False]], [[True] * 6 + 14 * [False]]])
    >>> size_bin(truth).tolist()
    [0, 2]
    """
    size = labelled(truth, truth.shape, ignore=ignore).sum((1, 2)).tolist()
    counted = [truth[0].numel()] * len(truth) if ignore is None else (~ignore).sum((1, 2)).tolist()
    # Python's numbers are in double precision, in which 5 pixels of 100 are 0.05.
    shares = [pixels / all_pixels for pixels, all_pixels in zip(size, counted, strict=True)]
    if any(share > edges[-1] for share in shares):
        raise ValueError(f"expected objects of at most {edges[-1]} of the image, got {max(shares)}; end edges with 1")
    return torch.tensor([bisect_left(edges, share) for share in shares], device=truth.device)


def labelled(truth: Truth, shape: tuple[int, ...], *, ignore: Truth | None = None) -> Truth:
    """Returns the pixels of the object without those to ignore. Raises ValueError for another shape, or no pixel."""
    if truth.shape != shape or (ignore is not None and ignore.shape != shape):
        raise ValueError(
            f"expected truth and ignore of shape {tuple(shape)}, one for each map, got truth of {tuple(truth.shape)}"
            + (f" and ignore of {tuple(ignore.shape)}" if ignore is not None else "")
        )
    counted = truth if ignore is None else truth & ~ignore
    empty = ~counted.flatten(1).any(1)
    if empty.any():
        raise ValueError(
            f"expected an object in every image, got none in the images {empty.nonzero().flatten().tolist()}; "
            "leave them out"
        )
    return counted


def as_truth(truth: Marked, ignore: Marked | None) -> tuple[Truth, Truth | None]:
    """Returns what is marked, and what is to be ignored, as booleans without the axis of a single channel.

    Raises ValueError for other values than 0 and 1.
    """
    objects, left_out = (
        None if marked is None else as_bool(marked.squeeze(1) if marked.ndim == 4 else marked)
        for marked in (truth, ignore)
    )
    assert objects is not None
    return objects, left_out


def as_hard(hard: HardMasks) -> Bool[Tensor, "b a h w"]:
    """Returns hard masks as booleans with an axis of areas. Raises ValueError for other values than 0 and 1."""
    return as_bool(hard.unsqueeze(1) if hard.ndim == 3 else hard)


class IntersectionOverUnion(MeanMetric):
    """Mean over images and areas of `intersection_over_union`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, hard: HardMasks, truth: Marked, *, ignore: Marked | None = None) -> None:
        objects, left_out = as_truth(truth, ignore)
        self.accumulate(intersection_over_union(as_hard(hard), objects, ignore=left_out))


class Precision(MeanMetric):
    """Mean over images and areas of `precision`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, hard: HardMasks, truth: Marked, *, ignore: Marked | None = None) -> None:
        objects, left_out = as_truth(truth, ignore)
        self.accumulate(precision(as_hard(hard), objects, ignore=left_out))


class Recall(MeanMetric):
    """Mean over images and areas of `recall`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, hard: HardMasks, truth: Marked, *, ignore: Marked | None = None) -> None:
        objects, left_out = as_truth(truth, ignore)
        self.accumulate(recall(as_hard(hard), objects, ignore=left_out))


def _counts(
    hard: Bool[Tensor, "b a h w"], truth: Truth, *, ignore: Truth | None
) -> tuple[Int[Tensor, "b a"], Int[Tensor, "b a"], Int[Tensor, "b 1"]]:
    """Returns the numbers of pixels that mask and object share, of the mask, and of the object."""
    counted = labelled(truth, hard[:, 0].shape, ignore=ignore).unsqueeze(1)
    kept = hard if ignore is None else hard & ~ignore.unsqueeze(1)
    return (kept & counted).sum((-2, -1)), kept.sum((-2, -1)), counted.sum((-2, -1))
