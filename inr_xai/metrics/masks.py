"""The geometry of masks as torchmetrics classes; the formulas are functions of `inr_xai.masks`."""

import torch
from jaxtyping import Bool
from torch import Tensor

from inr_xai.masks import area_error, grayness, nesting_violation, overlap, rank_violation, share_above_half
from inr_xai.metrics.base import MeanMetric
from inr_xai.types import Areas, Masks


class AreaError(MeanMetric):
    """Mean over images and areas of |mean(m) - a|."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks, areas: Areas) -> None:
        self.accumulate(area_error(masks, areas))


class Grayness(MeanMetric):
    """Mean over images and areas of mean(4 m (1 - m))."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks) -> None:
        self.accumulate(grayness(masks))


class RankViolation(MeanMetric):
    """Mean over images and areas of mean((vecsort(m) - r_a)^2)."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks, areas: Areas) -> None:
        self.accumulate(rank_violation(masks, areas))


class ShareAboveHalf(MeanMetric):
    """Mean over images and areas of |share of pixels above 1/2 - a|."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks, areas: Areas) -> None:
        self.accumulate(share_above_half(masks, areas))


class NestingViolation(MeanMetric):
    """Mean over images of `nesting_violation`: what a smaller area keeps and a larger one does not."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks, areas: Areas) -> None:
        self.accumulate(nesting_violation(masks, areas))


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
