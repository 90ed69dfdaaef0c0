"""The metrics of finished explanations by name: how each is computed, and which of its values is better."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from inr_xai.columns import METRICS_OF_PROBABILITIES, METRICS_THAT_REFIT
from inr_xai.errors import UserError, did_you_mean
from inr_xai.evaluate import by_refitting, of_heatmaps, of_masks, of_objects
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.limits import require_probabilities
from inr_xai.runs.loop import is_unexpected, reason_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationMetric:
    """A metric of one explained image.

    Args:
        compute: returns column -> value: one column of the metric's name, or one for each area, `<name>/a<area>`.
        higher_is_better: None if neither direction is better.
        of_masks: it reads the masks, which maps of other tools do not have.
        marks: it needs a segmentation or boxes, and is left out for samples that have none.
        partial: it is NaN for some images by its definition, which is no failure.
    """

    compute: Callable[[ExplainedImage], MetricValues]
    higher_is_better: bool | None
    of_masks: bool = False
    marks: bool = False
    partial: bool = False


REGISTRY: Mapping[str, EvaluationMetric] = {
    "area_error": EvaluationMetric(of_masks.area_error, False, of_masks=True),
    "rank_violation": EvaluationMetric(of_masks.rank_violation, False, of_masks=True),
    "grayness": EvaluationMetric(of_masks.grayness, False, of_masks=True),
    "nesting_violation": EvaluationMetric(of_masks.nesting_violation, False, of_masks=True),
    "hallucination": EvaluationMetric(of_masks.hallucination, False, of_masks=True, partial=True),
    "random_fidelity": EvaluationMetric(of_masks.random_fidelity, True, of_masks=True),
    "insertion_auc": EvaluationMetric(of_heatmaps.insertion_auc, True),
    "deletion_auc": EvaluationMetric(of_heatmaps.deletion_auc, False),
    "pixel_flipping": EvaluationMetric(of_heatmaps.pixel_flipping, False),
    "average_drop": EvaluationMetric(of_heatmaps.average_drop, False),
    "average_increase": EvaluationMetric(of_heatmaps.average_increase, True),
    "average_gain": EvaluationMetric(of_heatmaps.average_gain, True),
    "road": EvaluationMetric(of_heatmaps.road, True),
    "infidelity": EvaluationMetric(of_heatmaps.infidelity, False),
    "faithfulness_correlation": EvaluationMetric(of_heatmaps.faithfulness_correlation, True),
    "single_deletion": EvaluationMetric(of_heatmaps.single_deletion, True),
    "sic": EvaluationMetric(of_heatmaps.sic, True, partial=True),
    "aic": EvaluationMetric(of_heatmaps.aic, True, partial=True),
    "sparseness": EvaluationMetric(of_heatmaps.sparseness, True),
    "complexity": EvaluationMetric(of_heatmaps.complexity, False),
    "pointing_game": EvaluationMetric(of_objects.pointing_game, True, marks=True),
    "pointing_game_of_masks": EvaluationMetric(of_objects.pointing_game_of_masks, True, of_masks=True, marks=True),
    "energy_pointing_game": EvaluationMetric(of_objects.energy_pointing_game, True, marks=True),
    "relevance_mass": EvaluationMetric(of_objects.relevance_mass, True, marks=True),
    "relevance_rank": EvaluationMetric(of_objects.relevance_rank, True, marks=True),
    "iou_matched": EvaluationMetric(of_objects.iou_matched, True, marks=True),
    "iou": EvaluationMetric(of_objects.iou, True, of_masks=True, marks=True),
    "precision": EvaluationMetric(of_objects.precision, True, of_masks=True, marks=True),
    "recall": EvaluationMetric(of_objects.recall, True, of_masks=True, marks=True),
    "max_sensitivity": EvaluationMetric(by_refitting.max_sensitivity, False),
    "mprt": EvaluationMetric(by_refitting.mprt, False),
    "efficient_mprt": EvaluationMetric(by_refitting.efficient_mprt, True),
    "random_logit": EvaluationMetric(by_refitting.random_logit, False),
}


def directions() -> dict[str, bool | None]:
    """Returns metric -> whether higher is better; None if neither direction is."""
    return {name: metric.higher_is_better for name, metric in REGISTRY.items()}


def choose(
    names: Sequence[str] | None, *, masks: bool, fits: bool, head: str = "softmax"
) -> dict[str, EvaluationMetric]:
    """Returns the metrics of some names.

    Args:
        names: None for all metrics that the explanations allow and that fit nothing anew.
        masks: whether the explanations have masks.
        fits: whether other inputs and models can be explained.
        head: the classifier's; with `none` it has no probabilities.

    Raises:
        UserError: a name that is no metric, or one that the explanations do not allow.
    """
    if names is None:
        needless = METRICS_OF_PROBABILITIES if head == "none" else ()
        available = {name: REGISTRY[name] for name in REGISTRY if name not in needless}
        available = {name: metric for name, metric in available.items() if masks or not metric.of_masks}
        return {name: metric for name, metric in available.items() if name not in METRICS_THAT_REFIT}
    for name in names:
        if name not in REGISTRY:
            hint = did_you_mean(name, REGISTRY) or f"; choose some of {', '.join(REGISTRY)}"
            raise UserError(f"--metrics names {name!r}, which is no metric{hint}")
        if name in METRICS_OF_PROBABILITIES:
            require_probabilities(head, name)
        if REGISTRY[name].of_masks and not masks:
            raise UserError(f"{name} reads masks, and maps of other tools have none; leave it out of --metrics")
        if name in METRICS_THAT_REFIT and not fits:
            raise UserError(
                f"{name} explains other inputs or models, and finished maps cannot; leave it out of --metrics"
            )
    return {name: REGISTRY[name] for name in names}


@torch.no_grad()
def measure(image: ExplainedImage, metrics: Mapping[str, EvaluationMetric]) -> tuple[MetricValues, dict[str, str]]:
    """Returns every column of an image, and why a metric has none. A metric that fails costs the others nothing."""
    values: MetricValues = {}
    reasons: dict[str, str] = {}
    for name, metric in metrics.items():
        try:
            columns = metric.compute(image)
        except Exception as error:  # finer than Guard's rule: the image's row keeps its other metrics and says why
            reasons[name] = reason_of(error)
            if is_unexpected(error):
                log.warning("%s of %s", name, image.sample.sample_id, exc_info=error)
            continue
        undefined = [column for column, value in columns.items() if not (metric.partial or math.isfinite(value))]
        if undefined:
            reasons[name] = f"{', '.join(undefined)} is NaN or infinite for this image, so it has no value"
        values |= {column: value for column, value in columns.items() if column not in undefined}
    return values, reasons
