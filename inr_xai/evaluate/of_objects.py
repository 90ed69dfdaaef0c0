"""Where explanations lie: on the object that a segmentation or boxes mark, or beside it."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.data.transform import mask_to_image
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.evaluate.of_masks import masks_of, per_area
from inr_xai.metrics.inputs import Maps
from inr_xai.metrics.localisation.pointing import pointing_hits, smoothed
from inr_xai.metrics.localisation.relevance import (
    bounding_boxes,
    energy_pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)
from inr_xai.metrics.localisation.segmentation import (
    Truth,
    intersection_over_union,
    matched_area_mask,
    precision,
    recall,
)

SMOOTH = 0.09
"""Sigma, as a share of the shorter side, by which TorchRay's benchmark smooths the summed masks."""


def pointing(subject: ExplainedImage) -> MetricValues:
    """Of the heatmap, in the photo's original size."""
    return {"pointing_game": _hit(subject, _on_photo(subject.maps, subject))}


def pointing_of_masks(subject: ExplainedImage) -> MetricValues:
    """Of the sum of the masks over the areas, smoothed: how TorchRay's benchmark reads extremal perturbations."""
    summed = masks_of(subject).float().sum(1)
    return {"pointing_game_of_masks": _hit(subject, smoothed(_on_photo(summed, subject), SMOOTH))}


def energy(subject: ExplainedImage) -> MetricValues:
    """In the boxes; where none are known, in the one around the segmentation, since the game is defined on boxes."""
    marks = subject.boxes()
    boxes = marks if subject.sample.boxes is not None else bounding_boxes(marks)
    return _of_object("energy_pointing_game", subject, boxes, energy_pointing_game)


def mass(subject: ExplainedImage) -> MetricValues:
    """On a mosaic, whose segmentation is the cell of the class, this is the grid pointing game."""
    return _of_object("relevance_mass", subject, subject.truth(), relevance_mass_accuracy)


def rank(subject: ExplainedImage) -> MetricValues:
    found = partial(relevance_rank_accuracy, generators=subject.generators("ties"))
    return _of_object("relevance_rank", subject, subject.truth(), found)


def iou_matched(subject: ExplainedImage) -> MetricValues:
    """Of the heatmap cut at as many pixels as the object has."""

    def found(maps: Maps, truth: Truth, *, ignore: Truth | None) -> Float[Tensor, "b a"]:
        cut = matched_area_mask(maps, truth, generators=subject.generators("ties"), ignore=ignore)
        return intersection_over_union(cut[:, None], truth, ignore=ignore)

    return _of_object("iou_matched", subject, subject.truth(), found)


def ious(subject: ExplainedImage) -> MetricValues:
    return _by_area("iou", subject, intersection_over_union)


def precisions(subject: ExplainedImage) -> MetricValues:
    return _by_area("precision", subject, precision)


def recalls(subject: ExplainedImage) -> MetricValues:
    return _by_area("recall", subject, recall)


def _of_object(name: str, subject: ExplainedImage, marks: Truth, found: Callable[..., Tensor]) -> MetricValues:
    """What a metric finds of the heatmap and the marks."""
    return {name: 0.0 if _beyond(subject, marks) else float(found(subject.maps, marks, ignore=subject.ignore()))}


def _by_area(name: str, subject: ExplainedImage, found: Callable[..., Tensor]) -> MetricValues:
    """What a metric finds of the masks and the object."""
    truth = subject.truth()
    if _beyond(subject, truth):
        return per_area(name, torch.zeros(1, len(subject.areas)), subject)
    return per_area(name, found(subject.hard, truth, ignore=subject.ignore()), subject)


def _beyond(subject: ExplainedImage, marks: Truth) -> bool:
    """Whether the object is on the photo and wholly beyond the input, so that nothing of an explanation lies on it."""
    return subject.sample.on_photo is not None and not bool(marks.any())


def _on_photo(maps: Float[Tensor, "1 h w"], subject: ExplainedImage) -> Float[Tensor, "1 H W"]:
    """In the photo's original size. What was cut off has the least value, so that no peak lies there."""
    least = maps.amin()
    return mask_to_image(maps - least, subject.sample.frame)


def _hit(subject: ExplainedImage, maps: Float[Tensor, "1 H W"]) -> float:
    """An object that the input cuts off, or leaves out, is as large as on the photo: a peak elsewhere misses it."""
    marks, on_photo = subject.boxes(), subject.sample.on_photo
    if on_photo is None:
        truth = mask_to_image(marks.float(), subject.sample.frame) >= 0.5
    else:
        truth = on_photo[None].to(maps.device)
    return float(pointing_hits(maps, truth, generators=subject.generators("peak")))
