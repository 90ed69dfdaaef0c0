"""The preservation and the deletion game: how much of a class a mask keeps, and how much it takes away.

Fong, Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017; docs/method.md,
"Metrics".
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.metrics.base import RatioMetric
from inr_xai.metrics.inputs import Score
from inr_xai.types import Images, Masks, Targets

SoftOrHard = Masks | Bool[Tensor, "b a h w"]


def preservation(
    score: Score, images: Images, targets: Targets, masks: SoftOrHard, *, baseline: Float[Tensor, "b d c h w"]
) -> Float[Tensor, "b a"]:
    """Returns p_t(m x + (1 - m) b), the mean over the draws of the baseline b, in [0, 1]; higher is better.

    Larger areas keep more: compare values of one area only. Raises ValueError for masks that leave [0, 1] or hold NaN.

    Args:
        baseline: d draws for each image; a blur or a colour has one.

    >>> brightness = lambda images, targets: images.mean((1, 2, 3))
    >>> white, black = torch.ones(1, 3, 2, 2), torch.zeros(1, 1, 3, 2, 2)
    >>> half = torch.tensor([[[[True, True], [False, False]]]])
    >>> preservation(brightness, white, torch.tensor([0]), half, baseline=black).item()
    0.5
    """
    return _mean_scores(score, images, targets, _weights(masks, images), baseline)


def deletion(
    score: Score, images: Images, targets: Targets, masks: SoftOrHard, *, baseline: Float[Tensor, "b d c h w"]
) -> Float[Tensor, "b a"]:
    """Returns p_t((1 - m) x + m b), in [0, 1]; lower is better. It is `preservation` by the complement of each mask."""
    return _mean_scores(score, images, targets, 1 - _weights(masks, images), baseline)


class PreservationRatio(RatioMetric):
    """Mean of p_t(kept) over images, divided by the mean of p_t(x)."""

    higher_is_better = True
    is_differentiable = True
    plot_lower_bound = 0.0

    def update(self, kept: Float[Tensor, "*shape"], whole: Float[Tensor, "*shape"]) -> None:
        self.accumulate(kept, whole)


class DeletionRatio(RatioMetric):
    """Mean of p_t(removed) over images, divided by the mean of p_t(x)."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0

    def update(self, removed: Float[Tensor, "*shape"], whole: Float[Tensor, "*shape"]) -> None:
        self.accumulate(removed, whole)


def _weights(masks: SoftOrHard, images: Images) -> Masks:
    weights = masks.to(images)
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError("expected masks in [0, 1] without NaN; leave out the images whose fit failed")
    return weights


def _mean_scores(
    score: Score, images: Images, targets: Targets, weights: Masks, baseline: Float[Tensor, "b d c h w"]
) -> Float[Tensor, "b a"]:
    """Returns the mean over draws of the score of each masked image; one mask and draw at a time (memory)."""
    draws = baseline.to(images).unbind(1)
    columns = []
    for weight in weights.unsqueeze(2).unbind(1):
        scores = [score(weight * images + (1 - weight) * draw, targets) for draw in draws]
        columns.append(torch.stack(scores).mean(0))
    return torch.stack(columns, dim=1)
