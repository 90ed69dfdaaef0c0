"""The share of an importance map on the object: of its mass, and of its largest values.

Arras, Osman, Samek, "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network Explanations",
Information Fusion 81, 2022, relevance mass and rank accuracy; Wang et al., "Score-CAM", CVPR Workshops 2020, the
energy-based pointing game.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.metrics.base import MeanMetric, set_apart
from inr_xai.metrics.inputs import Maps, Marked, OneChannel, finite_maps, tie_generators, without_channel
from inr_xai.metrics.localisation.segmentation import Truth, as_truth, labelled, matched_area_mask


def relevance_mass_accuracy(maps: Maps, truth: Truth, *, ignore: Truth | None = None) -> Float[Tensor, " b"]:
    """Returns sum of s+ on the object / sum of s+, s+ = max(s, 0), in [0, 1]; higher is better, 0 if no s is positive.

    Both sums leave out pixels to ignore. For a binary mask this is its precision. A constant map reaches the object's
    share of the image: compare images of one object size, or with that share. Raises ValueError for an image without
    object, and for NaN.

    >>> relevance_mass_accuracy(torch.tensor([[[3.0, 1.0, -5.0]]]), torch.tensor([[[True, False, True]]])).item()
    0.75
    """
    mass = finite_maps(maps).clamp(min=0)
    inside = labelled(truth, mass.shape, ignore=ignore)
    if ignore is not None:
        mass = mass.masked_fill(ignore, 0)
    total = mass.sum((1, 2))
    return (mass * inside).sum((1, 2)) / total.where(total > 0, 1)


def energy_pointing_game(maps: Maps, boxes: Truth, *, ignore: Truth | None = None) -> Float[Tensor, " b"]:
    """Returns sum of s+ in the boxes / sum of s+, in [0, 1]; higher is better.

    It is `relevance_mass_accuracy` with boxes as the object, and raises the same errors.

    Args:
        boxes: True within the bounding boxes of the class; `bounding_boxes` makes one from a segmentation.
    """
    return relevance_mass_accuracy(maps, boxes, ignore=ignore)


def bounding_boxes(truth: Truth) -> Truth:
    """Returns images that are True within the smallest box around the whole object, and nowhere without object.

    >>> bounding_boxes(torch.tensor([[[True, False, False], [False, True, False]]])).int().tolist()
    [[[1, 1, 0], [1, 1, 0]]]
    """
    rows, columns = _span(truth.any(2)), _span(truth.any(1))
    return rows.unsqueeze(2) & columns.unsqueeze(1)


def relevance_rank_accuracy(
    maps: Maps, truth: Truth, *, generators: Sequence[torch.Generator], ignore: Truth | None = None
) -> Float[Tensor, " b"]:
    """Returns |T & G| / |G|, T the |G| largest values of the map and G the object, in [0, 1]; higher is better.

    It is both precision and recall of `matched_area_mask`, whose arguments and errors it has. If a binary mask is
    smaller than the object, the pixels that it lacks are drawn at random.

    >>> maps, truth = torch.tensor([[[3.0, 2.0, 1.0]]]), torch.tensor([[[True, False, True]]])
    >>> relevance_rank_accuracy(maps, truth, generators=[torch.Generator()]).item()
    0.5
    """
    largest = matched_area_mask(maps, truth, generators=generators, ignore=ignore)
    return (largest & truth).sum((1, 2)) / largest.sum((1, 2))


class RelevanceMassAccuracy(MeanMetric):
    """Mean over images of `relevance_mass_accuracy`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, maps: OneChannel, truth: Marked, *, ignore: Marked | None = None) -> None:
        objects, left_out = as_truth(truth, ignore)
        self.accumulate(relevance_mass_accuracy(without_channel(maps), objects, ignore=left_out))


class EnergyPointingGame(MeanMetric):
    """Mean over images of `energy_pointing_game`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, maps: OneChannel, boxes: Marked, *, ignore: Marked | None = None) -> None:
        objects, left_out = as_truth(boxes, ignore)
        self.accumulate(energy_pointing_game(without_channel(maps), objects, ignore=left_out))


class RelevanceRankAccuracy(MeanMetric):
    """Mean over images of `relevance_rank_accuracy`.

    Args:
        seed: seed of the order of ties, if `update` gets no generators.
    """

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, *, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        set_apart(self, seed)

    def update(
        self,
        maps: OneChannel,
        truth: Marked,
        *,
        generators: Sequence[torch.Generator] | None = None,
        ignore: Marked | None = None,
    ) -> None:
        values, (objects, left_out) = without_channel(maps), as_truth(truth, ignore)
        draws = tie_generators(values, self.seed) if generators is None else generators
        self.accumulate(relevance_rank_accuracy(values, objects, generators=draws, ignore=left_out))


def _span(occupied: Bool[Tensor, "b p"]) -> Bool[Tensor, "b p"]:
    """Returns True from the first to the last occupied place."""
    return (occupied.cumsum(1) > 0) & (occupied.flip(1).cumsum(1).flip(1) > 0)
