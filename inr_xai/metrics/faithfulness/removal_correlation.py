"""Faithfulness correlation: whether what a map gives to some pixels agrees with what their removal costs the class.

Bhatt, Weller, Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020: the criterion mu_F.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.masks import require_one_each
from inr_xai.metrics.base import MeanOfValues
from inr_xai.metrics.inputs import Maps, Score, maps_of
from inr_xai.types import Images, Targets

Subsets = Bool[Tensor, "b n h w"]


def faithfulness_correlation(
    score: Score, images: Images, targets: Targets, maps: Maps, *, baseline: Images, subsets: Subsets
) -> Float[Tensor, " b"]:
    """Returns Pearson's correlation over subsets S of sum_{i in S} s_i and p_t(x) - p_t(x with S at the baseline).

    It is in [-1, 1]; higher is better. It is NaN if the sums or the losses are the same for all subsets, as they are
    for a constant map and subsets of one size. Scale and offset of a map do not matter then. Raises ValueError for
    maps that are not finite or not in the size of the images, and for fewer than two subsets.

    Args:
        baseline: the images without any pixel, such as images of the mean colour.
        subsets: True on the pixels that are removed together, see `random_subsets`.

    >>> brightness = lambda images, targets: images.sum((1, 2, 3))
    >>> x, exact = torch.ones(1, 1, 4, 4), torch.arange(16.0).reshape(1, 4, 4)
    >>> subsets = random_subsets(x, generators=[torch.Generator()], draws=10, size=3)
    >>> weighted = lambda images, targets: brightness(images * exact, targets)
    >>> black, target = torch.zeros_like(x), torch.tensor([0])
    >>> round(faithfulness_correlation(weighted, x, target, exact, baseline=black, subsets=subsets).item(), 4)
    1.0
    """
    if subsets.shape[1] < 2:
        raise ValueError(f"expected at least two subsets to correlate, got {subsets.shape[1]}; raise draws")
    values, removed = maps_of(images, maps), baseline.to(images)
    chosen = subsets.to(images.device)
    first = values[:, :1, :1]  # taken off, so that the sums of a constant map are equal and not only up to rounding
    sums = torch.einsum("bnhw,bhw->bn", chosen.to(values), values - first) + first[..., 0] * chosen.sum((2, 3))
    # One subset of every image at a time: memory.
    after = [score(torch.where(subset.unsqueeze(1), removed, images), targets) for subset in chosen.unbind(1)]
    return _pearson(sums, score(images, targets).unsqueeze(1) - torch.stack(after, dim=1))


def random_subsets(
    images: Images, *, generators: Sequence[torch.Generator], draws: int = 100, size: int | None = None
) -> Subsets:
    """Returns random sets of pixels; all sets of the size are equally likely, and may occur more than once.

    Args:
        generators: one CPU generator per image.
        size: pixels of a set; by default the width of the image, which is Quantus's 224 for images of 224 x 224.
    """
    require_one_each(generators, len(images))
    height, width = images.shape[2:]
    size = width if size is None else size
    if not 1 <= size <= height * width:
        raise ValueError(f"expected a size of 1 to {height * width} pixels, got size={size}")
    keys = torch.stack([torch.rand(draws, height * width, generator=draw, dtype=torch.float64) for draw in generators])
    chosen = torch.zeros_like(keys, dtype=torch.bool)
    chosen.scatter_(2, keys.topk(size, dim=2).indices, True)
    return chosen.reshape(len(images), draws, height, width)


class FaithfulnessCorrelation(MeanOfValues):
    """Mean over images of `faithfulness_correlation`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0


def _pearson(first: Float[Tensor, "b n"], second: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Returns the correlation of two rows of numbers; NaN if one of them is constant."""
    columns = []
    for values in (first, second):
        centred = values.double() - values.double().mean(1, keepdim=True)
        varies = (values != values[:, :1]).any(1, keepdim=True)  # rounding of the mean is no variation
        columns.append(centred.where(varies, 0))
    correlation = (columns[0] * columns[1]).sum(1) / (columns[0].norm(dim=1) * columns[1].norm(dim=1))
    return correlation.clamp(-1, 1).to(first)
