"""Where explanations lie: on the object that a segmentation or boxes mark, or beside it."""

from jaxtyping import Float
from torch import Tensor

from inr_xai.data.transform import mask_to_image
from inr_xai.evaluation.stored import masks_of, per_area
from inr_xai.evaluation.subject import Subject
from inr_xai.metrics.localisation import energy_pointing_game, relevance_mass_accuracy, relevance_rank_accuracy
from inr_xai.metrics.pointing import pointing_hits, smoothed
from inr_xai.metrics.segmentation import intersection_over_union, matched_area_mask, precision, recall

Values = dict[str, float]
SMOOTH = 0.09
"""Sigma, as a share of the shorter side, by which TorchRay's benchmark smooths the summed masks."""


def pointing(subject: Subject) -> Values:
    """Of the heatmap, in the photo's original size."""
    return {"pointing_game": _hit(subject, _on_photo(subject.maps, subject))}


def pointing_of_masks(subject: Subject) -> Values:
    """Of the sum of the masks over the areas, smoothed: how TorchRay's benchmark reads extremal perturbations."""
    summed = masks_of(subject).float().sum(1)
    return {"pointing_game_of_masks": _hit(subject, smoothed(_on_photo(summed, subject), SMOOTH))}


def energy(subject: Subject) -> Values:
    return {"energy_pointing_game": float(energy_pointing_game(subject.maps, subject.boxes(), ignore=subject.ignore()))}


def mass(subject: Subject) -> Values:
    """On a mosaic, whose segmentation is the cell of the class, this is the grid pointing game."""
    return {"relevance_mass": float(relevance_mass_accuracy(subject.maps, subject.truth(), ignore=subject.ignore()))}


def rank(subject: Subject) -> Values:
    ties = subject.generators("ties")
    found = relevance_rank_accuracy(subject.maps, subject.truth(), generators=ties, ignore=subject.ignore())
    return {"relevance_rank": float(found)}


def iou_matched(subject: Subject) -> Values:
    """Of the heatmap cut at as many pixels as the object has."""
    truth, ignore = subject.truth(), subject.ignore()
    cut = matched_area_mask(subject.maps, truth, generators=subject.generators("ties"), ignore=ignore)
    return {"iou_matched": float(intersection_over_union(cut[:, None], truth, ignore=ignore))}


def ious(subject: Subject) -> Values:
    found = intersection_over_union(subject.hard, subject.truth(), ignore=subject.ignore())
    return per_area("iou", found, subject)


def precisions(subject: Subject) -> Values:
    return per_area("precision", precision(subject.hard, subject.truth(), ignore=subject.ignore()), subject)


def recalls(subject: Subject) -> Values:
    return per_area("recall", recall(subject.hard, subject.truth(), ignore=subject.ignore()), subject)


def _on_photo(maps: Float[Tensor, "1 h w"], subject: Subject) -> Float[Tensor, "1 H W"]:
    """In the photo's original size. What was cut off has the least value, so that no peak lies there."""
    least = maps.amin()
    return mask_to_image(maps - least, subject.sample.frame)


def _hit(subject: Subject, maps: Float[Tensor, "1 H W"]) -> float:
    """Truth is known in the input frame and goes back to the photo with the map."""
    truth = mask_to_image(subject.boxes().float(), subject.sample.frame) >= 0.5
    return float(pointing_hits(maps, truth, generators=subject.generators("peak")))
