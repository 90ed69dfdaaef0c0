"""The metrics by name: what each reads of a subject, and which of its values is better."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from inr_xai.errors import UserError
from inr_xai.evaluation import localising, rankings, refitting, stored
from inr_xai.evaluation.subject import Subject
from inr_xai.words import did_you_mean

Values = dict[str, float]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measure:
    """A metric of one subject.

    Args:
        values: column -> value; one column of the measure's own name, or one per area, `<name>/a<area>`.
        higher_is_better: None where neither is.
        costly: fits anew for every image, so it is left out unless named.
        of_masks: reads the masks, which maps of other tools do not have.
        marks: needs a segmentation or boxes; left out for samples without.
    """

    values: Callable[[Subject], Values]
    higher_is_better: bool | None
    costly: bool = False
    of_masks: bool = False
    marks: bool = False


MEASURES: Mapping[str, Measure] = {
    "area_error": Measure(stored.areas_error, False, of_masks=True),
    "rank_violation": Measure(stored.rank_violations, False, of_masks=True),
    "grayness": Measure(stored.graynesses, False, of_masks=True),
    "nesting_violation": Measure(stored.nesting, False, of_masks=True),
    "insertion_auc": Measure(rankings.insertion, True),
    "deletion_auc": Measure(rankings.deletion, False),
    "average_drop": Measure(rankings.drop, False),
    "average_increase": Measure(rankings.increase, True),
    "average_gain": Measure(rankings.gain, True),
    "road": Measure(rankings.road_combined, True),
    "infidelity": Measure(rankings.infidelities, False),
    "sparseness": Measure(rankings.gini, True),
    "complexity": Measure(rankings.entropy, False),
    "pointing_game": Measure(localising.pointing, True, marks=True),
    "pointing_game_of_masks": Measure(localising.pointing_of_masks, True, of_masks=True, marks=True),
    "energy_pointing_game": Measure(localising.energy, True, marks=True),
    "relevance_mass": Measure(localising.mass, True, marks=True),
    "relevance_rank": Measure(localising.rank, True, marks=True),
    "iou_matched": Measure(localising.iou_matched, True, marks=True),
    "iou": Measure(localising.ious, True, of_masks=True, marks=True),
    "precision": Measure(localising.precisions, True, of_masks=True, marks=True),
    "recall": Measure(localising.recalls, True, of_masks=True, marks=True),
    "max_sensitivity": Measure(refitting.sensitivity, False, costly=True),
    "mprt": Measure(refitting.randomised, False, costly=True),
    "efficient_mprt": Measure(refitting.efficient, True, costly=True),
    "random_logit": Measure(refitting.other_class, False, costly=True),
}


def choose(names: Sequence[str] | None, *, masks: bool, fits: bool) -> dict[str, Measure]:
    """The measures named; without names all that the explanations at hand allow and that fit nothing anew.

    Raises:
        UserError: a name that is none, or one that the explanations at hand do not allow.
    """
    if names is None:
        return {
            name: measure
            for name, measure in MEASURES.items()
            if not measure.costly and (masks or not measure.of_masks)
        }
    for name in names:
        _require(name, masks=masks, fits=fits)
    return {name: MEASURES[name] for name in names}


def _require(name: str, *, masks: bool, fits: bool) -> None:
    if name not in MEASURES:
        hint = did_you_mean(name, MEASURES) or f"; choose some of {', '.join(MEASURES)}"
        raise UserError(f"--metrics names {name!r}, which is no metric{hint}")
    if MEASURES[name].of_masks and not masks:
        raise UserError(f"{name} reads masks, and maps of other tools have none; leave it out of --metrics")
    if MEASURES[name].costly and not fits:
        raise UserError(f"{name} explains other inputs or models, and finished maps cannot; leave it out of --metrics")


@torch.no_grad()
def measure(subject: Subject, measures: Mapping[str, Measure]) -> tuple[Values, dict[str, str]]:
    """Every column of a subject, and why a metric has none: one that fails costs the others nothing."""
    values: Values = {}
    reasons: dict[str, str] = {}
    for name, one in measures.items():
        try:
            found = one.values(subject)
        except Exception as error:  # whatever a model or its device raises costs this metric alone
            reasons[name] = why(error)
            if is_unexpected(error):
                log.warning("%s of %s", name, subject.sample.sample_id, exc_info=error)
            continue
        undefined = [column for column, value in found.items() if not math.isfinite(value)]
        if undefined:
            reasons[name] = f"{', '.join(undefined)} is NaN or infinite for this image, so it has no value"
        values |= {column: value for column, value in found.items() if column not in undefined}
    return values, reasons


def why(error: Exception) -> str:
    """An error as one line; what is no refusal of ours tells its kind too.

    >>> why(ValueError("no object")), why(RuntimeError("out of\\nmemory"))
    ('no object', 'RuntimeError: out of memory')
    """
    told = " ".join(str(error).split())
    return f"{type(error).__name__}: {told}" if is_unexpected(error) or not told else told


def is_unexpected(error: Exception) -> bool:
    """Whether it is no refusal, so that its traceback is wanted."""
    return not isinstance(error, ValueError | OSError)
