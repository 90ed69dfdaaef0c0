"""The metrics of an explained image that say whether it lies on the object of a segmentation or boxes."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai import metrics
from inr_xai.data.transform import mask_to_image
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.metrics.inputs import Maps
from inr_xai.metrics.localisation.segmentation import Truth

SMOOTH = 0.09
"""Standard deviation, as a share of the shorter side, by which TorchRay's benchmark smooths the sum of the masks."""


def pointing_game(image: ExplainedImage) -> MetricValues:
    """Returns 1 if the peak of the heatmap hits the object, in the photo's original size, else 0."""
    return {"pointing_game": _hit(image, _on_photo(image.maps, image))}


def pointing_game_of_masks(image: ExplainedImage) -> MetricValues:
    """Returns 1 if the peak of the smoothed sum of the masks hits the object, else 0.

    TorchRay's benchmark reads extremal perturbations in this way.
    """
    sum_of_masks = image.mask_batch.float().sum(1)
    return {"pointing_game_of_masks": _hit(image, metrics.smoothed(_on_photo(sum_of_masks, image), SMOOTH))}


def energy_pointing_game(image: ExplainedImage) -> MetricValues:
    """Returns the share of the heatmap in the boxes, or in the box around the segmentation if no boxes are known."""
    marks = image.boxes()
    boxes = marks if image.sample.boxes is not None else metrics.bounding_boxes(marks)
    return _of_heatmap("energy_pointing_game", image, boxes, metrics.energy_pointing_game)


def relevance_mass(image: ExplainedImage) -> MetricValues:
    """Returns the share of the heatmap on the object.

    On a mosaic, whose segmentation is the cell of the class, this is the grid pointing game.
    """
    return _of_heatmap("relevance_mass", image, image.truth(), metrics.relevance_mass_accuracy)


def relevance_rank(image: ExplainedImage) -> MetricValues:
    """Returns the share of the object among the heatmap's largest values, as many as the object has pixels."""
    accuracy = partial(metrics.relevance_rank_accuracy, generators=image.generators("ties"))
    return _of_heatmap("relevance_rank", image, image.truth(), accuracy)


def iou_matched(image: ExplainedImage) -> MetricValues:
    """Returns the intersection over union of the object and the heatmap, cut to as many pixels as the object has."""

    def matched_iou(maps: Maps, truth: Truth, *, ignore: Truth | None) -> Float[Tensor, "b a"]:
        hard = metrics.matched_area_mask(maps, truth, generators=image.generators("ties"), ignore=ignore)
        return metrics.intersection_over_union(hard[:, None], truth, ignore=ignore)

    return _of_heatmap("iou_matched", image, image.truth(), matched_iou)


def iou(image: ExplainedImage) -> MetricValues:
    """Returns the intersection over union of the object and each hard mask."""
    return _of_hard_masks("iou", image, metrics.intersection_over_union)


def precision(image: ExplainedImage) -> MetricValues:
    """Returns the share of each hard mask on the object."""
    return _of_hard_masks("precision", image, metrics.precision)


def recall(image: ExplainedImage) -> MetricValues:
    """Returns the share of the object that each hard mask keeps."""
    return _of_hard_masks("recall", image, metrics.recall)


def _of_heatmap(name: str, image: ExplainedImage, marks: Truth, function: Callable[..., Tensor]) -> MetricValues:
    return {name: 0.0 if _is_outside(image, marks) else float(function(image.maps, marks, ignore=image.ignore()))}


def _of_hard_masks(name: str, image: ExplainedImage, function: Callable[..., Tensor]) -> MetricValues:
    truth = image.truth()
    if _is_outside(image, truth):
        return image.per_area(name, torch.zeros(1, len(image.areas)))
    return image.per_area(name, function(image.hard, truth, ignore=image.ignore()))


def _is_outside(image: ExplainedImage, marks: Truth) -> bool:
    """Returns whether the object is on the photo but wholly outside the input, so that no explanation lies on it."""
    return image.sample.on_photo is not None and not bool(marks.any())


def _on_photo(maps: Float[Tensor, "1 h w"], image: ExplainedImage) -> Float[Tensor, "1 H W"]:
    """Returns maps in the photo's original size; the part outside the input has the least value, so no peak."""
    return mask_to_image(maps - maps.amin(), image.sample.frame)


def _hit(image: ExplainedImage, maps: Float[Tensor, "1 H W"]) -> float:
    """Returns whether the peak of maps in the photo's size hits the object, also the part outside the input."""
    marks, on_photo = image.boxes(), image.sample.on_photo
    if on_photo is None:
        truth = mask_to_image(marks.float(), image.sample.frame) >= 0.5
    else:
        truth = on_photo[None].to(maps.device)
    return float(metrics.pointing_hits(maps, truth, generators=image.generators("peak")))
