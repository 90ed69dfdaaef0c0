"""Random fidelity: what random parts of a mask cost the class, less what random parts of the rest cost it.

Zheng et al., "F-Fidelity: A Robust Framework for Faithfulness Evaluation of Explainable AI", ICLR 2025, and its
predecessor "Towards Robust Fidelity for Evaluating Explainability of Graph Neural Networks", ICLR 2024 (R-Fidelity).
Taken: never all of an explanation is removed, but random parts of it, as a share of it and at most as a share of the
image, so that the images stay nearer to those that the classifier knows; and the probability as what is lost. Left
out: the classifier is not fine-tuned on images with random parts removed, the paper's other half.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.masks import ROUNDING, require_one_each
from inr_xai.metrics.base import MeanMetric
from inr_xai.metrics.inputs import Score
from inr_xai.types import Images, Targets

Regions = Bool[Tensor, "b a h w"]


def random_fidelity(
    score: Score,
    images: Images,
    targets: Targets,
    masks: Regions,
    *,
    baseline: Images,
    generators: Sequence[torch.Generator],
    share: float = 0.5,
    most: float = 0.1,
    draws: int = 20,
) -> Float[Tensor, "b a"]:
    """Returns Fid+ - Fid- of each binary mask, in [-1, 1]; higher is better.

    Fid+ is `removal_cost` of the mask (the paper's, higher is better) and Fid- that of the rest of the image (lower is
    better). If the mask and the rest have most / share of the image or more, both lose equally many pixels. Arguments
    and errors are those of `removal_cost`.
    """
    cost = partial(removal_cost, score, images, targets, baseline=baseline, generators=generators)
    of_mask, of_rest = (cost(part, share=share, most=most, draws=draws) for part in (masks, ~masks))
    return of_mask - of_rest


def removal_cost(
    score: Score,
    images: Images,
    targets: Targets,
    regions: Regions,
    *,
    baseline: Images,
    generators: Sequence[torch.Generator],
    share: float = 0.5,
    most: float = 0.1,
    draws: int = 20,
) -> Float[Tensor, "b a"]:
    """Returns p_t(x) - p_t(x with random pixels of a region R at the baseline), the mean over draws, in [-1, 1].

    Each draw removes min(floor(share |R|), floor(most N)) pixels of R; all sets of that many are equally likely. The
    regions of an image have the same random numbers, so that none depends on the others. It is 0 for a region of which
    no pixel is removed. Raises ValueError for shares outside (0, 1] and without draws.

    Args:
        regions: True on the pixels of each region.
        baseline: what replaces removed pixels, such as images of the mean colour.
        generators: one CPU generator per image.
        share: the part of a region that is removed, alpha in the paper.
        most: the largest part of the image that is removed, beta in the paper.
    """
    require_one_each(generators, len(images))
    if not (0 < share <= 1 and 0 < most <= 1 and draws >= 1):
        raise ValueError(
            f"expected share and most in (0, 1] and draws of at least 1, got share={share}, most={most}, draws={draws}"
        )
    replaced, limit = baseline.to(images), int(most * regions[0, 0].numel() + ROUNDING)
    whole, costs = score(images, targets), []
    for i, draw in enumerate(generators):
        keys = torch.rand(draws, *regions.shape[2:], generator=draw, dtype=torch.float64).to(regions.device)
        for region in regions[i]:
            count = min(int(share * int(region.sum()) + ROUNDING), limit)
            removed = _random_parts(region, count, keys)
            copies = torch.where(removed.unsqueeze(1), replaced[i], images[i])
            costs.append(whole[i] - score(copies, targets[i : i + 1].expand(draws)).mean())
    return torch.stack(costs).reshape(regions.shape[:2])


class RandomFidelity(MeanMetric):
    """Mean over images and areas of `random_fidelity`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def update(self, values: Float[Tensor, "b a"]) -> None:
        """Adds the values that `random_fidelity` returned. Raises ValueError for NaN and infinity."""
        self.accumulate(values)


def _random_parts(region: Bool[Tensor, "h w"], count: int, keys: Float[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
    """Returns the `count` pixels of a region with the largest keys, for each draw of random keys in [0, 1)."""
    chosen = keys.masked_fill(~region, -1).flatten(1).topk(count, dim=1).indices
    return torch.zeros_like(keys, dtype=torch.bool).flatten(1).scatter_(1, chosen, True).reshape(keys.shape)
