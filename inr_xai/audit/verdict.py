"""What may be said of an image: how its evidence is spread, and, where the object is known, where it lies.

Object or context is said of an image only where a segmentation tells the object. No claim is made of an image whose
explanations do not carry more than those of a class that it does not show, and than random regions of its own do, nor
of one whose class the classifier hardly sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan

from inr_xai.audit.estimates import Estimates
from inr_xai.metrics.statistics.bootstrap import Interval

CONCENTRATED, DISTRIBUTED, SPREAD, UNCLEAR = "concentrated", "distributed", "spread", "no claim"
OBJECT, CONTEXT, BOTH = "object", "context", "both"
FAINT = 0.1
"""p_t below which what is relative to it is noise: masks may well carry more of the class than the image does."""


@dataclass(frozen=True)
class Thresholds:
    """Where one thing ends and the next begins.

    Args:
        concentrated: explanation 1 restores at least this share of what the union restores.
        spread: of p_t: the union restores less than this, and as much is left without it.
        redundant: of p_t: left without explanation 1, which alone keeps `spread` of it.
        object, context: the evidence on the object is at least, or at most, this. Halfway between what classifiers
            of the object alone, or of the ground alone, have and one of both, on images of other seeds
            (scripts/benchmark_audit.py prints them; docs/audit.md).
    """

    concentrated: float = 0.8
    spread: float = 0.5
    redundant: float = 0.8
    object: float = 0.50
    context: float = 0.12


@dataclass(frozen=True)
class Verdict:
    """
    Args:
        admitted: whether p_t is FAINT or more, and the explanations carry more than the control's, and than random
            regions.
        evidence: SPREAD, or CONCENTRATED or DISTRIBUTED, or UNCLEAR where nothing may be claimed, or the union, not
            spread, restores too little to have shares.
        redundant: whether explanation 1 would do alone, and the class stays without it.
        concentration: see `Estimates.concentration`.
        confidence: share of the resamples that say the same of the evidence.
        where: OBJECT, CONTEXT or BOTH; UNCLEAR where nothing may be claimed; None without a segmentation.
        object_evidence: see `Estimates.object_evidence`; None without a segmentation.
        where_confidence: share of the resamples that say the same of the place.
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
    def said(self) -> list[str]:
        """The evidence in words."""
        return [self.evidence, *(["redundant"] * self.redundant)]


def judge(estimates: Estimates, *, control: float, thresholds: Thresholds) -> Verdict:
    """The verdict on an image.

    Args:
        control: what explanations of absent classes reach, in `Estimates.joint`.
    """
    joint = estimates.joint()
    admitted = ((estimates.over("whole") >= FAINT) & (joint > control) & (joint > estimates.chance())).tolist()
    kinds = _claimed(_evidence(estimates, thresholds), admitted)
    concentration = estimates.interval(estimates.concentration())
    redundant = admitted[0] and _redundant(estimates, thresholds)
    found = Verdict(admitted[0], kinds[0], redundant, concentration, _agreement(kinds))
    if estimates.image.on_object is None:
        return found
    values = estimates.object_evidence()
    places = _claimed([_place(value, thresholds) for value in values.tolist()], admitted)
    return replace(
        found, where=places[0], object_evidence=estimates.interval(values), where_confidence=_agreement(places)
    )


def _evidence(estimates: Estimates, thresholds: Thresholds) -> list[str]:
    """Of everything first, then of each resample."""
    whole, union = estimates.over("whole"), estimates.together()
    spread = (union < thresholds.spread * whole) & (estimates.left() >= thresholds.spread * whole)
    pairs = zip(spread.tolist(), estimates.concentration().tolist(), strict=True)
    return [SPREAD if wide else _kind(first, thresholds) for wide, first in pairs]


def _kind(concentration: float, thresholds: Thresholds) -> str:
    if isnan(concentration):
        return UNCLEAR
    return CONCENTRATED if concentration >= thresholds.concentrated else DISTRIBUTED


def _redundant(estimates: Estimates, thresholds: Thresholds) -> bool:
    """Whether explanation 1 would do alone, and nothing is missing without it."""
    whole = float(estimates.over("whole")[0])
    enough = float(estimates.over("alone", 1)[0]) >= thresholds.spread * whole
    return enough and float(estimates.over("without", 1)[0]) >= thresholds.redundant * whole


def _place(evidence: float, thresholds: Thresholds) -> str:
    if isnan(evidence):
        return UNCLEAR
    if evidence >= thresholds.object:
        return OBJECT
    return CONTEXT if evidence <= thresholds.context else BOTH


def _claimed(said: Sequence[str], admitted: Sequence[bool]) -> list[str]:
    return [one if there else UNCLEAR for one, there in zip(said, admitted, strict=True)]


def _agreement(said: list[str]) -> float:
    """How many of the resamples say what everything together says."""
    return sum(one == said[0] for one in said[1:]) / (len(said) - 1)
