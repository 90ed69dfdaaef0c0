"""The geometry of masks as torchmetrics classes; the formulas are functions of `inr_xai.masks`.

`update` takes masks b x a x h x w, or b x k x a x h x w as `INRAttribution.attribute` returns them. The explanations
that an image does not have are 0 there, and do not count.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.masks import area_error, grayness, nesting_violation, overlap, rank_violation, share_above_half
from inr_xai.metrics.base import MeanMetric, set_apart
from inr_xai.types import Areas, Masks

OfAttribute = Masks | Float[Tensor, "b k a h w"]
"""Masks of each image and area, or of each image, explanation and area."""


class AreaMetric(MeanMetric):
    """The base of metrics that compare masks with the areas that were asked for.

    Args:
        areas: fractions of the image, if `update` gets none.
    """

    def __init__(self, areas: Sequence[float] | Areas | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.areas = None if areas is None else torch.as_tensor(areas)
        set_apart(self, None if self.areas is None else self.areas.tolist())

    def of_update(self, masks: OfAttribute, areas: Areas | None) -> tuple[Float[Tensor, "m a h w"], Areas]:
        """Returns masks and areas. Raises ValueError if no areas are given, or not one for each mask of an image."""
        given, each = self.areas if areas is None else areas, one_axis(masks)
        if given is None:
            name = type(self).__name__
            raise ValueError(f"expected the areas of the masks; give {name}(areas=...) or update(masks, areas)")
        if len(given) != each.shape[1]:
            raise ValueError(f"expected an area for each of the {each.shape[1]} masks of an image, got {len(given)}")
        return each, given


def one_axis(masks: OfAttribute) -> Float[Tensor, "m a h w"]:
    """Returns masks with images and explanations on one axis, without those explanations that are 0 everywhere."""
    if masks.ndim == 4:
        return masks
    flat = masks.flatten(0, 1)
    return flat[(flat != 0).flatten(1).any(1)]


class AreaError(AreaMetric):
    """Mean over images and areas of |mean(m) - a|."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: OfAttribute, areas: Areas | None = None) -> None:
        self.accumulate(area_error(*self.of_update(masks, areas)))


class Grayness(MeanMetric):
    """Mean over images and areas of mean(4 m (1 - m))."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: OfAttribute) -> None:
        self.accumulate(grayness(one_axis(masks)))


class RankViolation(AreaMetric):
    """Mean over images and areas of mean((vecsort(m) - r_a)^2)."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: OfAttribute, areas: Areas | None = None) -> None:
        self.accumulate(rank_violation(*self.of_update(masks, areas)))


class ShareAboveHalf(AreaMetric):
    """Mean over images and areas of |share of pixels above 1/2 - a|."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: OfAttribute, areas: Areas | None = None) -> None:
        self.accumulate(share_above_half(*self.of_update(masks, areas)))


class NestingViolation(MeanMetric):
    """Mean over images of `nesting_violation`: what a smaller area keeps and a larger one does not.

    Without areas, masks are sorted by how much they keep on average.
    """

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: OfAttribute, areas: Areas | None = None) -> None:
        each = one_axis(masks)
        self.accumulate(nesting_violation(each, each.float().mean((0, 2, 3)) if areas is None else areas))


class Overlap(MeanMetric):
    """Mean intersection over union of hard masks, over images, areas and pairs of different explanations.

    A single explanation has no pair and adds nothing.
    """

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, hard: Bool[Tensor, "b k a h w"]) -> None:
        first, second = torch.triu_indices(hard.shape[1], hard.shape[1], offset=1)
        self.accumulate(overlap(hard)[..., first, second])
