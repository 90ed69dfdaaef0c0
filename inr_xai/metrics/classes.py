"""The metrics as torchmetrics classes: sums over images and areas, for Lightning logging and many processes.

The formulas are the pure functions of `inr_xai.metrics`; here is only the state.
"""

from typing import Any

import torch
import torchmetrics
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.metrics.masks import area_error, grayness, nesting_violation, rank_violation
from inr_xai.metrics.shape import components, perimeter
from inr_xai.metrics.stability import mask_iou
from inr_xai.types import Areas, Masks


class _Mean(torchmetrics.Metric):
    """The mean of values, image by image and area by area, which processes add up."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        _add_states(self, "total", "count")

    def compute(self) -> Float[Tensor, ""]:
        return self.total / self.count


class AreaError(_Mean):
    """Mean over images and areas of |mean(m) - a|."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks, areas: Areas) -> None:
        _accumulate(self, area_error(masks, areas))


class Grayness(_Mean):
    """Mean over images and areas of mean(4 m (1 - m))."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks) -> None:
        _accumulate(self, grayness(masks))


class RankViolation(_Mean):
    """Mean over images and areas of mean((vecsort(m) - r_a)^2)."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks, areas: Areas) -> None:
        _accumulate(self, rank_violation(masks, areas))


class NestingViolation(_Mean):
    """Mean over images of what smaller areas keep and larger ones do not."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, masks: Masks, areas: Areas) -> None:
        _accumulate(self, nesting_violation(masks, areas))


class Components(_Mean):
    """Mean over images and areas of the number of connected parts of the hard mask."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0

    def update(self, hard: Bool[Tensor, "b a h w"]) -> None:
        _accumulate(self, components(hard))


class Perimeter(_Mean):
    """Mean over images and areas of the length of the hard mask's contour in image sides."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0

    def update(self, hard: Bool[Tensor, "b a h w"]) -> None:
        _accumulate(self, perimeter(hard))


class SeedStability(_Mean):
    """Mean over images and areas of the intersection over union of hard masks from two seeds."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, a: Bool[Tensor, "b a h w"], b: Bool[Tensor, "b a h w"]) -> None:
        _accumulate(self, mask_iou(a, b))


class PreservationRatio(torchmetrics.Metric):
    """Mean of p_t(kept) over images, divided by the mean of p_t(x)."""

    higher_is_better = True
    is_differentiable = True
    full_state_update = False
    plot_lower_bound = 0.0
    masked: Tensor
    whole: Tensor

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        _add_states(self, "masked", "whole")

    def update(self, kept: Float[Tensor, "*shape"], whole: Float[Tensor, "*shape"]) -> None:
        _accumulate_pair(self, kept, whole)

    def compute(self) -> Float[Tensor, ""]:
        return self.masked / self.whole


class DeletionRatio(torchmetrics.Metric):
    """Mean of p_t(removed) over images, divided by the mean of p_t(x)."""

    higher_is_better = False
    is_differentiable = True
    full_state_update = False
    plot_lower_bound = 0.0
    masked: Tensor
    whole: Tensor

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        _add_states(self, "masked", "whole")

    def update(self, removed: Float[Tensor, "*shape"], whole: Float[Tensor, "*shape"]) -> None:
        _accumulate_pair(self, removed, whole)

    def compute(self) -> Float[Tensor, ""]:
        return self.masked / self.whole


def _add_states(metric: torchmetrics.Metric, *names: str) -> None:
    """Scalars that processes add up."""
    for name in names:
        metric.add_state(name, default=torch.zeros(()), dist_reduce_fx="sum")


def _accumulate(metric: Any, values: Float[Tensor, "*shape"]) -> None:
    metric.total = metric.total + values.sum()
    metric.count = metric.count + values.numel()


def _accumulate_pair(metric: Any, masked: Float[Tensor, "*shape"], whole: Float[Tensor, "*shape"]) -> None:
    if masked.isnan().any() or whole.isnan().any():
        raise ValueError("expected probabilities without NaN; leave out the images that failed")
    metric.masked = metric.masked + masked.float().sum()
    metric.whole = metric.whole + whole.float().sum()
