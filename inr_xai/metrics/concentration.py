"""How concentrated an importance map is, whatever it shows: its sparseness and its complexity.

Chalasani et al., "Concise Explanations of Neural Networks using Adversarial Training", ICML 2020 (sparseness); Bhatt,
Weller, Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020 (complexity). For a binary mask
both depend on its area alone: they distinguish importance maps, but not masks of one area.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.metrics.base import MeanMetric
from inr_xai.metrics.inputs import Maps, finite_maps


def sparseness(maps: Maps) -> Float[Tensor, " b"]:
    """Returns the Gini index of |s|, sum_i (2i - N - 1) |s|_(i) / (N sum |s|) with |s|_(i) ascending.

    It is in [0, 1); higher is sparser: 0 for a constant map (a map of zeros is one), 1 - 1/N for a single pixel,
    1 - a for a binary mask of area a. Raises ValueError for NaN.

    >>> mask = torch.zeros(1, 4, 4)
    >>> mask[:, 0] = 1
    >>> sparseness(mask).item()
    0.75
    """
    size = _sizes(maps).sort(dim=1).values
    pixels = size.shape[1]
    weight = 2 * torch.arange(1, pixels + 1, device=size.device) - pixels - 1
    return (weight * size).sum(1) / (pixels * size.sum(1))


def complexity(maps: Maps) -> Float[Tensor, " b"]:
    """Returns the entropy of |s|, -sum_i p_i ln p_i with p = |s| / sum |s|, in [0, ln N] nats; lower is simpler.

    It is ln N for a constant map (a map of zeros is one), 0 for a single pixel, ln(aN) for a binary mask of area a.
    Raises ValueError for NaN.

    >>> mask = torch.zeros(1, 4, 4)
    >>> mask[:, 0] = 1
    >>> round(complexity(mask).exp().item(), 5)
    4.0
    """
    size = _sizes(maps)
    return torch.special.entr(size / size.sum(1, keepdim=True)).sum(1)


class Sparseness(MeanMetric):
    """Mean over images of the Gini index of the absolute map."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, maps: Maps) -> None:
        self.accumulate(sparseness(maps))


class Complexity(MeanMetric):
    """Mean over images of the entropy of the absolute map."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0

    def update(self, maps: Maps) -> None:
        self.accumulate(complexity(maps))


def _sizes(maps: Maps) -> Float[Tensor, "b p"]:
    """Returns |s| in units of its maximum; 1 everywhere for a map that is 0 everywhere."""
    size = finite_maps(maps).abs().flatten(1)
    maximum = size.amax(1, keepdim=True)
    return (size / maximum.where(maximum > 0, 1)).where(maximum > 0, 1)
