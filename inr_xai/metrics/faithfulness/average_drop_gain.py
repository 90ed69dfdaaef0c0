"""Average drop, increase and gain: how the probability of a class changes if an image is scaled by its map.

Chattopadhay et al., "Grad-CAM++", WACV 2018, section 4.1 (drop, increase); Zhang et al., "Opti-CAM", CVIU 2024 (gain).
All three are shares in [0, 1]; papers print them times 100. A map near its maximum almost everywhere hardly changes
the image, so all three reward it. Read them beside the mean of the map.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.metrics.base import MeanMetric
from inr_xai.metrics.inputs import Maps, maps_of
from inr_xai.types import Images


def masked_images(images: Images, maps: Maps, *, baseline: Images | None = None) -> Images:
    """Returns m x + (1 - m) b, where m is the map scaled to [0, 1].

    A constant map counts as 0 everywhere. Raises ValueError for maps that are not finite or not in the size of the
    images.

    Args:
        baseline: b, by default 0 everywhere as in Grad-CAM++: the mean colour for normalised images, black for images
            in [0, 1].

    >>> masked_images(torch.ones(1, 1, 1, 3), torch.tensor([[[2.0, 3.0, 4.0]]])).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    values = maps_of(images, maps)
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    scale = ((values - low) / (high - low).where(high > low, 1)).unsqueeze(1).to(images)
    return scale * images if baseline is None else scale * images + (1 - scale) * baseline.to(images)


def average_drop(kept: Float[Tensor, " b"], whole: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Returns max(0, p - o) / p for each image, in [0, 1]; lower is better, and 0 if p is 0.

    Raises ValueError for values that are no probabilities.

    Args:
        kept: o, the probability of the class on the image scaled by its map (`masked_images`).
        whole: p, the probability of the class on the image.

    >>> average_drop(torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])).tolist()
    [0.5, 0.0]
    """
    after, before = _probabilities(kept), _probabilities(whole)
    return (before - after).clamp(min=0) / before.where(before > 0, 1)


def average_increase(kept: Float[Tensor, " b"], whole: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Returns 1 for each image with o > p, else 0; higher is better. Arguments and errors as in `average_drop`.

    >>> average_increase(torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])).tolist()
    [0.0, 1.0]
    """
    after, before = _probabilities(kept), _probabilities(whole)
    return (after > before).to(after)


def average_gain(kept: Float[Tensor, " b"], whole: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Returns max(0, o - p) / (1 - p) for each image, in [0, 1]; higher is better, and 0 if p is 1.

    Arguments and errors are those of `average_drop`.

    >>> average_gain(torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])).tolist()
    [0.0, 0.5]
    """
    after, before = _probabilities(kept), _probabilities(whole)
    return (after - before).clamp(min=0) / (1 - before).where(before < 1, 1)


class AverageDrop(MeanMetric):
    """Mean over images of `average_drop`, a share; times 100 as papers print it."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, kept: Float[Tensor, " b"], whole: Float[Tensor, " b"]) -> None:
        self.accumulate(average_drop(kept, whole))


class AverageIncrease(MeanMetric):
    """Mean over images of `average_increase`, a share; times 100 as papers print it."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, kept: Float[Tensor, " b"], whole: Float[Tensor, " b"]) -> None:
        self.accumulate(average_increase(kept, whole))


class AverageGain(MeanMetric):
    """Mean over images of `average_gain`, a share; times 100 as papers print it."""

    higher_is_better = True
    is_differentiable = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, kept: Float[Tensor, " b"], whole: Float[Tensor, " b"]) -> None:
        self.accumulate(average_gain(kept, whole))


def _probabilities(values: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"expected probabilities in [0, 1], got {values.tolist()}; leave out the images that failed, and pass "
            "logits through the model's softmax or sigmoid"
        )
    return values.to(torch.promote_types(values.dtype, torch.float32))
