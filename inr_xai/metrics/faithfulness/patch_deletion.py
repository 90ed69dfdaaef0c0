"""Single deletion: whether a map ranks the patches of a grid as their deletion, one at a time, costs the class.

Hesse, Schaub-Meyer, Roth, "Benchmarking the Attribution Quality of Vision Models", NeurIPS 2024, section 3 (IDSDS, the
in-domain single-deletion score); grid, logits and baseline are those of its code, github.com/visinf/idsds at 22353d7.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.metrics.base import MeanOfValues
from inr_xai.metrics.inputs import Maps, Score, maps_of
from inr_xai.metrics.robustness.similarity import spearman
from inr_xai.types import Images, Targets


def single_deletion(
    score: Score, images: Images, targets: Targets, maps: Maps, *, baseline: Images, cells: int = 4
) -> Float[Tensor, " b"]:
    """Returns Spearman's correlation over patches P of sum_{i in P} s_i and f(x) - f(x with P at the baseline).

    It is in [-1, 1]; higher is better. It is NaN if all patches have the same sum or cost the same. It is in-domain
    only for a classifier that was fine-tuned on images of which half have one patch at the baseline
    (scripts/finetune_single_deletion.py does that for the demo); for any other, part of the cost is that such images
    are strange to it. Raises ValueError for maps that are not finite or not in the size of the images, and for fewer
    than two cells a side, or more than pixels.

    Args:
        score: f; the authors take the logit (`logit_score`).
        baseline: the authors take 0 after the model's normalisation, which is the mean colour before it.
        cells: patches of a row and of a column. Patch j covers the pixels from floor(j h / cells) to the next patch.

    >>> brightness = lambda images, targets: images.sum((1, 2, 3))
    >>> x = torch.arange(64.0).reshape(1, 1, 8, 8)
    >>> single_deletion(brightness, x, torch.tensor([0]), x[:, 0], baseline=torch.zeros_like(x)).item()
    1.0
    """
    if not 2 <= cells <= min(images.shape[2:]):
        raise ValueError(f"expected 2 to {min(images.shape[2:])} cells a side, got cells={cells}")
    values, removed = maps_of(images, maps), baseline.to(images)
    whole = score(images, targets)
    sums, costs = [], []
    for rows in _parts(images.shape[2], cells):
        for columns in _parts(images.shape[3], cells):
            deleted = images.clone()
            deleted[:, :, rows, columns] = removed[:, :, rows, columns]
            sums.append(values[:, rows, columns].sum((1, 2)))
            costs.append(whole - score(deleted, targets))
    by_cell = (torch.stack(column, dim=1).reshape(-1, cells, cells) for column in (sums, costs))
    return spearman(*by_cell)


class SingleDeletion(MeanOfValues):
    """Mean over images of `single_deletion`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0


def _parts(length: int, count: int) -> list[slice]:
    """Returns consecutive slices of nearly equal length."""
    ends = [place * length // count for place in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]
