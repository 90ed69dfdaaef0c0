"""Verdicts on games made by hand, one for each word, and their confidence."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from inr_xai.audit.estimates import Estimates
from inr_xai.audit.verdict import (
    BOTH,
    CONCENTRATED,
    CONTEXT,
    DISTRIBUTED,
    NO_CLAIM,
    OBJECT,
    SPREAD,
    Thresholds,
    Verdict,
    judge,
)
from tests.helpers.games import ValueFunction, additive, estimates_of, two_regions

CONCENTRATE = two_regions(nothing=0.1, first=0.85, second=0.2, union=0.9, rest=0.1, without_1=0.2, without_2=0.8)
DISTRIBUTE = two_regions(nothing=0.1, first=0.5, second=0.4, union=0.9, rest=0.1, without_1=0.5, without_2=0.5)
SPREADS = two_regions(nothing=0.1, first=0.3, second=0.2, union=0.35, rest=0.7, without_1=0.8, without_2=0.9)
REDUNDANT = two_regions(nothing=0.1, first=0.8, second=0.7, union=0.9, rest=0.3, without_1=0.9, without_2=0.9)


def verdict_on(estimates: Estimates, control: float = 0.0) -> Verdict:
    return judge(estimates, control=control, thresholds=Thresholds())


@pytest.mark.parametrize(
    ("game", "evidence", "redundant", "concentration"),
    [
        (CONCENTRATE, CONCENTRATED, False, 0.75 / 0.8),
        (DISTRIBUTE, DISTRIBUTED, False, 0.4 / 0.8),
        (SPREADS, SPREAD, False, 0.2 / 0.25),
        (REDUNDANT, CONCENTRATED, True, 0.7 / 0.8),
    ],
)
def test_how_evidence_is_spread(game: ValueFunction, evidence: str, redundant: bool, concentration: float) -> None:
    """Without a segmentation nothing is said of the object."""
    verdict = verdict_on(estimates_of(game))
    assert (verdict.admitted, verdict.evidence, verdict.redundant) == (True, evidence, redundant)
    assert verdict.concentration == pytest.approx((concentration,) * 3)
    assert verdict.confidence == 1
    assert (verdict.where, verdict.object_evidence, verdict.where_confidence) == (None, None, None)
    assert verdict.labels == [evidence, *["redundant"] * redundant]


@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        ({"union": 0.51}, CONCENTRATED),
        ({"rest": 0.49}, CONCENTRATED),
        ({"first": 0.2, "rest": 0.49}, DISTRIBUTED),
        ({"whole": 0.6}, CONCENTRATED),
    ],
)
def test_evidence_is_spread_if_the_regions_neither_restore_half_nor_take_half_away(
    changes: dict[str, float], evidence: str
) -> None:
    values: dict[str, Any] = {"nothing": 0.1, "first": 0.45, "union": 0.48, "rest": 0.52}
    assert verdict_on(estimates_of(two_regions(**values))).evidence == SPREAD
    assert verdict_on(estimates_of(two_regions(**values | changes))).evidence == evidence


@pytest.mark.parametrize("changes", [{"first": 0.49}, {"without_1": 0.79}])
def test_explanation_1_is_redundant_if_it_suffices_alone_and_is_not_missed(changes: dict[str, float]) -> None:
    values: dict[str, Any] = {"first": 0.51, "union": 0.7, "without_1": 0.81}
    assert verdict_on(estimates_of(two_regions(**values))).redundant
    assert not verdict_on(estimates_of(two_regions(**values | changes))).redundant


@pytest.mark.parametrize(
    ("on_object", "where", "evidence"), [(0.9, OBJECT, 0.56 / 0.9), (0.1, CONTEXT, 0.0), (0.4, BOTH, 0.21 / 0.9)]
)
def test_where_evidence_lies(on_object: float, where: str, evidence: float) -> None:
    verdict = verdict_on(estimates_of(additive(0.4, 0.3, 0.3), on_object=[on_object, on_object, 0], object_share=0.1))
    assert (verdict.where, verdict.where_confidence) == (where, 1)
    assert verdict.object_evidence == pytest.approx((evidence,) * 3)


def test_thresholds_are_arguments() -> None:
    estimates = estimates_of(additive(0.4, 0.3, 0.3), on_object=[0.4, 0.4, 0], object_share=0.1)
    assert judge(estimates, control=0, thresholds=Thresholds(object=0.2)).where == OBJECT
    assert judge(estimates, control=0, thresholds=Thresholds(context=0.24)).where == CONTEXT
    assert judge(estimates, control=0, thresholds=Thresholds(concentrated=0.5)).evidence == CONCENTRATED


def test_nothing_is_claimed_if_the_regions_reach_no_more_than_the_control() -> None:
    """The joint value is (0.9 - 0.1 + 1 - 0.3) / 2 = 0.75; the numbers stay, the words do not."""
    estimates = estimates_of(REDUNDANT, on_object=[1, 1, 0], object_share=0.1)
    admitted, refused = verdict_on(estimates, 0.74), verdict_on(estimates, 0.76)
    assert (admitted.admitted, admitted.evidence, admitted.where) == (True, CONCENTRATED, OBJECT)
    assert (refused.admitted, refused.evidence, refused.where) == (False, NO_CLAIM, NO_CLAIM)
    assert (refused.confidence, refused.where_confidence) == (1, 1)
    assert refused.labels == [NO_CLAIM]
    assert refused.concentration == admitted.concentration
    assert refused.object_evidence == admitted.object_evidence


@pytest.mark.parametrize(("p", "admitted"), [(0.11, True), (0.09, False), (0.0, False)])
def test_nothing_is_claimed_of_a_class_that_the_classifier_hardly_sees(p: float, admitted: bool) -> None:
    """Otherwise a mask that draws more of the class than the image has would count as evidence many times its worth."""
    game = two_regions(first=0.3, union=0.3, whole=p, without_1=0, without_2=0)
    verdict = verdict_on(estimates_of(game, on_object=[1, 1, 0], object_share=0.1))
    assert verdict.admitted is admitted
    assert (verdict.evidence, verdict.where) == ((CONCENTRATED, OBJECT) if admitted else (NO_CLAIM, NO_CLAIM))


def test_a_joint_value_that_equals_the_control_is_not_admitted() -> None:
    assert not verdict_on(estimates_of(two_regions(union=0.5, rest=0.5, without_1=0)), 0.5).admitted


def test_nothing_is_claimed_if_the_regions_reach_no_more_than_random_regions() -> None:
    """The joint value is 0.75, which neither of two random regions may reach."""
    image = estimates_of(REDUNDANT).image
    for value, admitted in (0.74, True), (0.76, False):
        estimates = Estimates(replace(image, random_values=[torch.tensor([[0.1], [value]])]))
        assert verdict_on(estimates, 0.5).admitted == admitted


def test_no_place_is_claimed_if_the_object_is_all_of_the_image() -> None:
    verdict = verdict_on(estimates_of(CONCENTRATE, on_object=[1, 1, 1], object_share=1.0))
    assert (verdict.admitted, verdict.evidence, verdict.where) == (True, CONCENTRATED, NO_CLAIM)


def test_confidence_is_the_share_of_resamples_with_the_same_verdict() -> None:
    """Both baselines, or the second twice, are distributed; the first twice, a quarter of the time, is not."""
    estimates = estimates_of(two_regions(first=0.9, union=1), two_regions(first=0.3, union=1))
    verdict = verdict_on(estimates)
    assert verdict.evidence == DISTRIBUTED
    assert verdict.confidence == (estimates.mean("alone", 1)[1:] < 0.8).double().mean().item()
    assert verdict.confidence == pytest.approx(0.75, abs=0.05)


def test_confidence_compares_each_resample_with_the_control() -> None:
    """The second baseline twice, a quarter of the time, reaches less than the control."""
    functions = [additive(0.4, 0.4, 0.2), additive(0.1, 0.1, 0.8)]
    estimates = estimates_of(*functions, on_object=[1, 1, 0], object_share=0)
    share = (estimates.mean("joint")[1:] > 0.45).double().mean().item()
    assert share == pytest.approx(0.75, abs=0.05)
    verdict = verdict_on(estimates, 0.45)
    assert (verdict.evidence, verdict.where) == (DISTRIBUTED, OBJECT)
    assert (verdict.confidence, verdict.where_confidence) == (share, share)
    refused = verdict_on(estimates, 0.55)
    assert refused.evidence == NO_CLAIM
    assert refused.confidence == pytest.approx(0.75, abs=0.05)
    assert refused.confidence == refused.where_confidence


def test_there_is_no_concentration_if_the_regions_restore_nothing() -> None:
    verdict = verdict_on(estimates_of(two_regions(nothing=0.3, first=0.3, union=0.3, rest=0.1)))
    assert (verdict.admitted, verdict.evidence) == (True, NO_CLAIM)
    assert verdict.concentration == pytest.approx((float("nan"),) * 3, nan_ok=True)
