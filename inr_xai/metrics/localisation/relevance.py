"""How much of an importance map lies on the object: of its mass, and of its largest values.

Arras, Osman, Samek, "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network Explanations",
Information Fusion 81, 2022, relevance mass and rank accuracy; Wang et al., "Score-CAM", CVPR Workshops 2020, the
energy-based pointing game.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.metrics.base import MeanMetric
from inr_xai.metrics.inputs import Maps, finite_maps
from inr_xai.metrics.localisation.segmentation import Truth, labelled, matched_area_mask


def relevance_mass_accuracy(maps: Maps, truth: Truth, *, ignore: Truth | None = None) -> Float[Tensor, " b"]:
    """sum of s+ on the object / sum of s+, s+ = max(s, 0), in [0, 1], higher is better; 0 where no s is positive.

    Pixels to ignore leave both sums. For a binary mask this is its precision. A constant map reaches the object's
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
    """sum of s+ in the boxes / sum of s+: `relevance_mass_accuracy` with boxes for the object.

    In [0, 1], higher is better; errors are the same.

    Args:
        boxes: True within the bounding boxes of the class; `bounding_boxes` makes one of a segmentation.
    """
    return relevance_mass_accuracy(maps, boxes, ignore=ignore)


def bounding_boxes(truth: Truth) -> Truth:
    """True within the smallest box around all of each image's object; nowhere without object.

    >>> bounding_boxes(torch.tensor([[[True, False, False], [False, True, False]]])).int().tolist()
    [[[1, 1, 0], [1, 1, 0]]]
    """
    rows, columns = _span(truth.any(2)), _span(truth.any(1))
    return rows.unsqueeze(2) & columns.unsqueeze(1)


def relevance_rank_accuracy(
    maps: Maps, truth: Truth, *, generators: Sequence[torch.Generator], ignore: Truth | None = None
) -> Float[Tensor, " b"]:
    """|T & G| / |G|, T the |G| largest values of the map, in [0, 1], higher is better.

    Precision and recall, at once, of `matched_area_mask`, whose arguments and errors these are. What a binary mask
    smaller than the object lacks is drawn at random.

    >>> maps, truth = torch.tensor([[[3.0, 2.0, 1.0]]]), torch.tensor([[[True, False, True]]])
    >>> relevance_rank_accuracy(maps, truth, generators=[torch.Generator()]).item()
    0.5
    """
    largest = matched_area_mask(maps, truth, generators=generators, ignore=ignore)
    return (largest & truth).sum((1, 2)) / largest.sum((1, 2))


class RelevanceMassAccuracy(MeanMetric):
    """Mean over images of the share of the positive map on the object."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, maps: Maps, truth: Truth, *, ignore: Truth | None = None) -> None:
        self.accumulate(relevance_mass_accuracy(maps, truth, ignore=ignore))


class EnergyPointingGame(MeanMetric):
    """Mean over images of the share of the positive map in the boxes."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, maps: Maps, boxes: Truth, *, ignore: Truth | None = None) -> None:
        self.accumulate(energy_pointing_game(maps, boxes, ignore=ignore))


class RelevanceRankAccuracy(MeanMetric):
    """Mean over images of the share of the object among the largest values, as many as it has pixels."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(
        self, maps: Maps, truth: Truth, *, generators: Sequence[torch.Generator], ignore: Truth | None = None
    ) -> None:
        self.accumulate(relevance_rank_accuracy(maps, truth, generators=generators, ignore=ignore))


def _span(occupied: Bool[Tensor, "b p"]) -> Bool[Tensor, "b p"]:
    """From the first to the last place that is occupied."""
    return (occupied.cumsum(1) > 0) & (occupied.flip(1).cumsum(1).flip(1) > 0)
