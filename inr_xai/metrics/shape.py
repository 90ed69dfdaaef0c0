"""How compact a hard mask is: the number of its connected parts and the length of its contour.

Compare masks of one area only, since a larger mask can have a longer contour. See docs/metrics.md.
"""

import numpy as np
import scipy.ndimage
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.metrics.base import MeanMetric

NEIGHBOURS = np.ones((3, 3))  # all eight: pixels that touch at a corner are connected


def components(hard: Bool[Tensor, "b a h w"]) -> Float[Tensor, "b a"]:
    """Returns the number of connected parts of the kept pixels; lower is more compact, 0 if nothing is kept.

    Pixels that share a side or a corner are connected (8-connectivity, the default of OpenCV and scikit-image).

    >>> components(torch.tensor([[[[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]]]]).bool()).item()
    2.0
    """
    masks = hard.flatten(0, 1).cpu().numpy()
    counts = [scipy.ndimage.label(mask, structure=NEIGHBOURS)[1] for mask in masks]
    return torch.tensor(counts, dtype=torch.float32, device=hard.device).reshape(hard.shape[:2])


def perimeter(hard: Bool[Tensor, "b a h w"]) -> Float[Tensor, "b a"]:
    """Returns the length of the contour between kept and replaced pixels, in image sides; lower is more compact.

    The contour is made of the pixel edges between a kept and a replaced pixel. An edge between two pixels side by side
    is 1/h long, one between two pixels above each other 1/w. The border of the image does not count. This is the
    anisotropic total variation of the binary mask, as `total_variation` of `inr_xai.fitting.mask_module` computes it.
    Edges are steps, so a slanted line counts up to sqrt(2) times its Euclidean length.

    >>> half = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    >>> half[..., 4:] = True
    >>> perimeter(half).item()
    1.0
    """
    above = (hard[..., 1:, :] != hard[..., :-1, :]).sum((-2, -1))
    beside = (hard[..., 1:] != hard[..., :-1]).sum((-2, -1))
    return above / hard.shape[-1] + beside / hard.shape[-2]


class Components(MeanMetric):
    """Mean over images and areas of the number of connected parts of the hard mask."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0

    def update(self, hard: Bool[Tensor, "b a h w"]) -> None:
        self.accumulate(components(hard))


class Perimeter(MeanMetric):
    """Mean over images and areas of the length of the hard mask's contour in image sides."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0

    def update(self, hard: Bool[Tensor, "b a h w"]) -> None:
        self.accumulate(perimeter(hard))
