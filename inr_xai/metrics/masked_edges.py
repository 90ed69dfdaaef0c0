"""Hallucination: edges that a masked picture has and its image has not.

Kolek et al., "Explaining Image Classifiers with Multiscale Directional Image Representation", CVPR 2023 (hallucination
score); edges, threshold and dilation are those of its code, github.com/skmda37/ShearletX at 16fee04, scatterplot.py.
That code puts black in the place of what is hidden, and scales the picture to a maximum of 1.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.metrics.base import MeanMetric
from inr_xai.types import Images, Masks

SMOOTHED = 1e-6  # added to the squared slope, as in kornia


def hallucination(images: Images, masks: Masks, *, baseline: Images, threshold: float = 0.1) -> Float[Tensor, "b a"]:
    """Returns |E(m x + (1 - m) b) less the neighbourhood of E(x)| / |E(x)| of each mask; at least 0, lower is better.

    E are the pixels at which the Sobel slope of the grey image, divided by 8, is above the threshold; the neighbourhood
    is E(x) and all pixels that touch it. A binary mask has edges along its contour wherever image and baseline differ,
    so compare masks of one area and one baseline only. It is NaN for an image without edges. Raises ValueError for
    images, masks or baselines that leave [0, 1] or hold NaN.

    Args:
        baseline: b, what replaces hidden pixels.
        threshold: of the slope, in units of the image per pixel.

    >>> image, half = torch.ones(1, 1, 6, 6), torch.ones(1, 2, 6, 6)
    >>> image[..., 3:] = 0  # one vertical edge, two pixels wide
    >>> half[:, 1, 3:] = 0  # the second mask adds a horizontal one where the image is white
    >>> [round(value, 3) for value in hallucination(image, half, baseline=torch.zeros_like(image))[0].tolist()]
    [0.0, 0.167]
    """
    for name, values in (("images", images), ("masks", masks), ("baselines", baseline)):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"expected {name} in [0, 1] without NaN; pass them before the model's normalisation")
    weights, replaced = masks.to(images), baseline.to(images)
    own = edges(images, threshold)
    near = F.max_pool2d(own.to(images).unsqueeze(1), 3, stride=1, padding=1).squeeze(1) > 0
    counts = []
    for weight in weights.unsqueeze(2).unbind(1):  # one mask at a time: memory
        new = edges(weight * images + (1 - weight) * replaced, threshold) & ~near
        counts.append(new.sum((1, 2)))
    total = own.sum((1, 2)).to(torch.promote_types(images.dtype, torch.float32)).unsqueeze(1)
    return torch.stack(counts, dim=1) / total.where(total > 0, torch.nan)


def edges(images: Images, threshold: float) -> Bool[Tensor, "b h w"]:
    """Returns where the Sobel slope of the mean over channels, divided by 8, is above a threshold; borders repeat."""
    grey = F.pad(
        images.to(torch.promote_types(images.dtype, torch.float32)).mean(1, keepdim=True), (1, 1, 1, 1), "replicate"
    )
    across = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    slopes = F.conv2d(grey, torch.stack([across, across.T]).unsqueeze(1))
    return (slopes.square().sum(1) + SMOOTHED).sqrt() > threshold


class Hallucination(MeanMetric):
    """Mean over images and areas of `hallucination`."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0

    def update(self, values: Float[Tensor, "b a"]) -> None:
        """Adds the values that `hallucination` returned. Raises ValueError for NaN and infinity."""
        self.accumulate(values)
