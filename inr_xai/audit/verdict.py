"""The verdict on an image: how its evidence is spread and, if the object is known, where it lies.

Object or context is said of an image only if a segmentation tells the object. Nothing is claimed of an image whose
explanations do not reach more than those of a class that it does not show, or not more than random regions of the same
image, nor if the classifier hardly sees the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan

from inr_xai.audit.estimates import Estimates
from inr_xai.metrics.statistics.bootstrap import Interval

CONCENTRATED, DISTRIBUTED, SPREAD, NO_CLAIM = "concentrated", "distributed", "spread", "no claim"
OBJECT, CONTEXT, BOTH = "object", "context", "both"
LEAST_PROBABILITY = 0.1
"""A smaller p_t makes what is relative to it noise: masks may well reach more of the class than the image has."""


@dataclass(frozen=True)
class Thresholds:
    """The limits between one verdict and the next.

    Args:
        concentrated: the smallest share of what all explanations restore that explanation 1 restores.
        spread: a part of p_t. Evidence is spread if all explanations together restore less than this part, and at least
            this part is left without them.
        redundant: the smallest part of p_t that is left without explanation 1, which must keep `spread` of p_t alone.
        object, context: the smallest evidence on the object of an image whose evidence lies on the object, and the
            largest of one whose evidence lies in the context. Each is halfway between the mean evidence of a classifier
            of the object alone, or of the ground alone, and that of a classifier of both, on images of another seed
            (benchmarks/audit_table.py prints them; docs/audit.md).
    """

    concentrated: float = 0.8
    spread: float = 0.5
    redundant: float = 0.8
    object: float = 0.50
    context: float = 0.12


@dataclass(frozen=True)
class Verdict:
    """The verdict on an image.

    Args:
        admitted: whether p_t is at least LEAST_PROBABILITY, and the explanations reach more than those of the control
            and more than random regions.
        evidence: SPREAD, CONCENTRATED or DISTRIBUTED; NO_CLAIM if the image is not admitted, or if the explanations are
            not spread and restore too little to have shares.
        redundant: whether explanation 1 alone suffices, and the class stays without it.
        concentration: see `Estimates.concentration`.
        confidence: the share of the resamples with the same evidence, in [0, 1].
        where: OBJECT, CONTEXT or BOTH; NO_CLAIM if the image is not admitted; None without a segmentation.
        object_evidence: see `Estimates.object_evidence`; None without a segmentation.
        where_confidence: the share of the resamples with the same place, in [0, 1]; None without a segmentation.
    """

    admitted: bool
    evidence: str
    redundant: bool
    concentration: Interval
    confidence: float
    where: str | None = None
    object_evidence: Interval | None = None
    where_confidence: float | None = None

    @property
    def labels(self) -> list[str]:
        """The words for the evidence, as the report shows them."""
        return [self.evidence, *(["redundant"] * self.redundant)]


def judge(estimates: Estimates, *, control: float, thresholds: Thresholds) -> Verdict:
    """Returns the verdict on an image.

    Args:
        control: the limit that `Estimates.joint` must exceed (`control_limit`).
    """
    joint, probability = estimates.joint(), estimates.mean("whole")
    admitted = (
        (probability >= LEAST_PROBABILITY) & (joint > control) & (joint > estimates.random_joint())
    ).tolist()  # of everything first, then of each resample; so are the lists below
    evidence = _only_admitted(_evidence_labels(estimates, thresholds), admitted)
    verdict = Verdict(
        admitted[0],
        evidence[0],
        admitted[0] and _is_redundant(estimates, thresholds),
        estimates.interval(estimates.concentration()),
        _agreement(evidence),
    )
    if estimates.image.on_object is None:
        return verdict
    values = estimates.object_evidence()
    places = _only_admitted([_place_label(value, thresholds) for value in values.tolist()], admitted)
    return replace(
        verdict, where=places[0], object_evidence=estimates.interval(values), where_confidence=_agreement(places)
    )


def _evidence_labels(estimates: Estimates, thresholds: Thresholds) -> list[str]:
    """Returns how the evidence is spread, of everything first and then of each resample."""
    enough = thresholds.spread * estimates.mean("whole")
    spread = (estimates.all_kept() < enough) & (estimates.all_removed() >= enough)
    labels = []
    for is_spread, concentration in zip(spread.tolist(), estimates.concentration().tolist(), strict=True):
        if is_spread:
            labels.append(SPREAD)
        elif isnan(concentration):
            labels.append(NO_CLAIM)
        else:
            labels.append(CONCENTRATED if concentration >= thresholds.concentrated else DISTRIBUTED)
    return labels


def _is_redundant(estimates: Estimates, thresholds: Thresholds) -> bool:
    """Returns whether explanation 1 alone suffices, and little is missing without it."""
    whole = float(estimates.mean("whole")[0])
    suffices = float(estimates.mean("alone", 1)[0]) >= thresholds.spread * whole
    return suffices and float(estimates.mean("without", 1)[0]) >= thresholds.redundant * whole


def _place_label(evidence: float, thresholds: Thresholds) -> str:
    """Returns where the evidence lies, for one value of the evidence on the object."""
    if isnan(evidence):
        return NO_CLAIM
    if evidence >= thresholds.object:
        return OBJECT
    return CONTEXT if evidence <= thresholds.context else BOTH


def _only_admitted(labels: Sequence[str], admitted: Sequence[bool]) -> list[str]:
    """Returns the labels with NO_CLAIM in place of those that are not admitted."""
    return [label if claimed else NO_CLAIM for label, claimed in zip(labels, admitted, strict=True)]


def _agreement(labels: list[str]) -> float:
    """Returns the share of the resamples with the label of everything, which comes first."""
    return sum(label == labels[0] for label in labels[1:]) / (len(labels) - 1)
