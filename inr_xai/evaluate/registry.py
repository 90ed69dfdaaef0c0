"""The metrics by name: what each reads of an explained image, and which of its values is better."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from inr_xai.errors import UserError, did_you_mean
from inr_xai.evaluate import by_refitting, of_heatmaps, of_masks, of_objects
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.runs.loop import is_unexpected, reason_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationMetric:
    """A metric of one explained image.

    Args:
        values: column -> value; one column of the measure's own name, or one per area, `<name>/a<area>`.
        higher_is_better: None where neither is.
        costly: fits anew for every image, so it is left out unless named.
        of_masks: reads the masks, which maps of other tools do not have.
        marks: needs a segmentation or boxes; left out for samples without.
    """

    values: Callable[[ExplainedImage], MetricValues]
    higher_is_better: bool | None
    costly: bool = False
    of_masks: bool = False
    marks: bool = False


REGISTRY: Mapping[str, EvaluationMetric] = {
    "area_error": EvaluationMetric(of_masks.areas_error, False, of_masks=True),
    "rank_violation": EvaluationMetric(of_masks.rank_violations, False, of_masks=True),
    "grayness": EvaluationMetric(of_masks.graynesses, False, of_masks=True),
    "nesting_violation": EvaluationMetric(of_masks.nesting, False, of_masks=True),
    "insertion_auc": EvaluationMetric(of_heatmaps.insertion, True),
    "deletion_auc": EvaluationMetric(of_heatmaps.deletion, False),
    "average_drop": EvaluationMetric(of_heatmaps.drop, False),
    "average_increase": EvaluationMetric(of_heatmaps.increase, True),
    "average_gain": EvaluationMetric(of_heatmaps.gain, True),
    "road": EvaluationMetric(of_heatmaps.road_combined, True),
    "infidelity": EvaluationMetric(of_heatmaps.infidelities, False),
    "sparseness": EvaluationMetric(of_heatmaps.gini, True),
    "complexity": EvaluationMetric(of_heatmaps.entropy, False),
    "pointing_game": EvaluationMetric(of_objects.pointing, True, marks=True),
    "pointing_game_of_masks": EvaluationMetric(of_objects.pointing_of_masks, True, of_masks=True, marks=True),
    "energy_pointing_game": EvaluationMetric(of_objects.energy, True, marks=True),
    "relevance_mass": EvaluationMetric(of_objects.mass, True, marks=True),
    "relevance_rank": EvaluationMetric(of_objects.rank, True, marks=True),
    "iou_matched": EvaluationMetric(of_objects.iou_matched, True, marks=True),
    "iou": EvaluationMetric(of_objects.ious, True, of_masks=True, marks=True),
    "precision": EvaluationMetric(of_objects.precisions, True, of_masks=True, marks=True),
    "recall": EvaluationMetric(of_objects.recalls, True, of_masks=True, marks=True),
    "max_sensitivity": EvaluationMetric(by_refitting.sensitivity, False, costly=True),
    "mprt": EvaluationMetric(by_refitting.randomised, False, costly=True),
    "efficient_mprt": EvaluationMetric(by_refitting.efficient, True, costly=True),
    "random_logit": EvaluationMetric(by_refitting.other_class, False, costly=True),
}


def choose(names: Sequence[str] | None, *, masks: bool, fits: bool) -> dict[str, EvaluationMetric]:
    """The measures named; without names all that the explanations at hand allow and that fit nothing anew.

    Raises:
        UserError: a name that is none, or one that the explanations at hand do not allow.
    """
    if names is None:
        return {
            name: measure
            for name, measure in REGISTRY.items()
            if not measure.costly and (masks or not measure.of_masks)
        }
    for name in names:
        _require(name, masks=masks, fits=fits)
    return {name: REGISTRY[name] for name in names}


def _require(name: str, *, masks: bool, fits: bool) -> None:
    if name not in REGISTRY:
        hint = did_you_mean(name, REGISTRY) or f"; choose some of {', '.join(REGISTRY)}"
        raise UserError(f"--metrics names {name!r}, which is no metric{hint}")
    if REGISTRY[name].of_masks and not masks:
        raise UserError(f"{name} reads masks, and maps of other tools have none; leave it out of --metrics")
    if REGISTRY[name].costly and not fits:
        raise UserError(f"{name} explains other inputs or models, and finished maps cannot; leave it out of --metrics")


@torch.no_grad()
def measure(subject: ExplainedImage, measures: Mapping[str, EvaluationMetric]) -> tuple[MetricValues, dict[str, str]]:
    """Every column of a subject, and why a metric has none: one that fails costs the others nothing."""
    values: MetricValues = {}
    reasons: dict[str, str] = {}
    for name, one in measures.items():
        try:
            found = one.values(subject)
        except Exception as error:  # whatever a model or its device raises costs this metric alone
            reasons[name] = reason_of(error)
            if is_unexpected(error):
                log.warning("%s of %s", name, subject.sample.sample_id, exc_info=error)
            continue
        undefined = [column for column, value in found.items() if not math.isfinite(value)]
        if undefined:
            reasons[name] = f"{', '.join(undefined)} is NaN or infinite for this image, so it has no value"
        values |= {column: value for column, value in found.items() if column not in undefined}
    return values, reasons
