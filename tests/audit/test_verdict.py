"""Verdicts on games made by hand, one for each word, and how sure they are."""

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
    OBJECT,
    SPREAD,
    UNCLEAR,
    Thresholds,
    Verdict,
    judge,
)
from tests.helpers.games import Game, additive, named, read

CONCENTRATE = named(nothing=0.1, first=0.85, second=0.2, union=0.9, rest=0.1, without_1=0.2, without_2=0.8)
DISTRIBUTE = named(nothing=0.1, first=0.5, second=0.4, union=0.9, rest=0.1, without_1=0.5, without_2=0.5)
SPREADS = named(nothing=0.1, first=0.3, second=0.2, union=0.35, rest=0.7, without_1=0.8, without_2=0.9)
REDUNDANT = named(nothing=0.1, first=0.8, second=0.7, union=0.9, rest=0.3, without_1=0.9, without_2=0.9)


def judged(reading: Estimates, control: float = 0.0) -> Verdict:
    return judge(reading, control=control, thresholds=Thresholds())


@pytest.mark.parametrize(
    ("game", "evidence", "redundant", "concentration"),
    [
        (CONCENTRATE, CONCENTRATED, False, 0.75 / 0.8),
        (DISTRIBUTE, DISTRIBUTED, False, 0.4 / 0.8),
        (SPREADS, SPREAD, False, 0.2 / 0.25),
        (REDUNDANT, CONCENTRATED, True, 0.7 / 0.8),
    ],
)
def test_how_evidence_is_spread(game: Game, evidence: str, redundant: bool, concentration: float) -> None:
    """Without a segmentation nothing is said of the object."""
    found = judged(read(game))
    assert (found.admitted, found.evidence, found.redundant) == (True, evidence, redundant)
    assert found.concentration == pytest.approx((concentration,) * 3)
    assert found.confidence == 1
    assert (found.where, found.object_evidence, found.where_confidence) == (None, None, None)
    assert found.said == [evidence, *["redundant"] * redundant]


@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        ({"union": 0.51}, CONCENTRATED),
        ({"rest": 0.49}, CONCENTRATED),
        ({"first": 0.2, "rest": 0.49}, DISTRIBUTED),
        ({"whole": 0.6}, CONCENTRATED),
    ],
)
def test_spread_is_where_the_union_neither_restores_half_nor_takes_half_away(
    changes: dict[str, float], evidence: str
) -> None:
    values: dict[str, Any] = {"nothing": 0.1, "first": 0.45, "union": 0.48, "rest": 0.52}
    assert judged(read(named(**values))).evidence == SPREAD
    assert judged(read(named(**values | changes))).evidence == evidence


@pytest.mark.parametrize("changes", [{"first": 0.49}, {"without_1": 0.79}])
def test_redundant_is_what_would_do_alone_and_is_not_missed(changes: dict[str, float]) -> None:
    values: dict[str, Any] = {"first": 0.51, "union": 0.7, "without_1": 0.81}
    assert judged(read(named(**values))).redundant
    assert not judged(read(named(**values | changes))).redundant


@pytest.mark.parametrize(
    ("on_object", "where", "evidence"), [(0.9, OBJECT, 0.56 / 0.9), (0.1, CONTEXT, 0.0), (0.4, BOTH, 0.21 / 0.9)]
)
def test_where_evidence_lies(on_object: float, where: str, evidence: float) -> None:
    found = judged(read(additive(0.4, 0.3, 0.3), on_object=[on_object, on_object, 0], object_share=0.1))
    assert (found.where, found.where_confidence) == (where, 1)
    assert found.object_evidence == pytest.approx((evidence,) * 3)


def test_thresholds_are_arguments() -> None:
    reading = read(additive(0.4, 0.3, 0.3), on_object=[0.4, 0.4, 0], object_share=0.1)
    assert judge(reading, control=0, thresholds=Thresholds(object=0.2)).where == OBJECT
    assert judge(reading, control=0, thresholds=Thresholds(context=0.24)).where == CONTEXT
    assert judge(reading, control=0, thresholds=Thresholds(concentrated=0.5)).evidence == CONCENTRATED


def test_nothing_is_claimed_of_what_carries_no_more_than_the_control() -> None:
    """Joint is (0.9 - 0.1 + 1 - 0.3) / 2 = 0.75; the numbers stay, the words do not."""
    reading = read(REDUNDANT, on_object=[1, 1, 0], object_share=0.1)
    admitted, refused = judged(reading, 0.74), judged(reading, 0.76)
    assert (admitted.admitted, admitted.evidence, admitted.where) == (True, CONCENTRATED, OBJECT)
    assert (refused.admitted, refused.evidence, refused.where) == (False, UNCLEAR, UNCLEAR)
    assert (refused.confidence, refused.where_confidence) == (1, 1)
    assert refused.said == [UNCLEAR]
    assert refused.concentration == admitted.concentration
    assert refused.object_evidence == admitted.object_evidence


@pytest.mark.parametrize(("p", "admitted"), [(0.11, True), (0.09, False), (0.0, False)])
def test_nothing_is_claimed_of_a_class_that_is_hardly_seen(p: float, admitted: bool) -> None:
    """A mask that draws more of the class than the image has would else be called evidence many times its worth."""
    found = judged(
        read(named(first=0.3, union=0.3, whole=p, without_1=0, without_2=0), on_object=[1, 1, 0], object_share=0.1)
    )
    assert found.admitted is admitted
    assert (found.evidence, found.where) == ((CONCENTRATED, OBJECT) if admitted else (UNCLEAR, UNCLEAR))


def test_what_equals_the_control_is_not_more() -> None:
    assert not judged(read(named(union=0.5, rest=0.5, without_1=0)), 0.5).admitted


def test_nothing_is_claimed_of_what_carries_no_more_than_random_regions() -> None:
    """Joint is 0.75; one of two random regions may not reach it either."""
    taken = read(REDUNDANT).taken
    for chance, admitted in (0.74, True), (0.76, False):
        beside = Estimates(replace(taken, chances=[torch.tensor([[0.1], [chance]])]))
        assert judged(beside, 0.5).admitted == admitted


def test_of_an_object_that_is_all_of_the_image_no_place_is_told() -> None:
    found = judged(read(CONCENTRATE, on_object=[1, 1, 1], object_share=1.0))
    assert (found.admitted, found.evidence, found.where) == (True, CONCENTRATED, UNCLEAR)


def test_confidence_is_the_share_of_resamples_that_say_the_same() -> None:
    """Two baselines: both, or the second twice, are distributed; the first twice, a quarter of the time, is not."""
    reading = read(named(first=0.9, union=1), named(first=0.3, union=1))
    found = judged(reading)
    assert found.evidence == DISTRIBUTED
    assert found.confidence == (reading.over("alone", 1)[1:] < 0.8).double().mean().item()
    assert found.confidence == pytest.approx(0.75, abs=0.05)


def test_confidence_counts_what_the_control_says_of_a_resample() -> None:
    """The second baseline twice, a quarter of the time, carries less than the control."""
    game = [additive(0.4, 0.4, 0.2), additive(0.1, 0.1, 0.8)]
    reading = read(*game, on_object=[1, 1, 0], object_share=0)
    carried = (reading.over("joint")[1:] > 0.45).double().mean().item()
    assert carried == pytest.approx(0.75, abs=0.05)
    found = judged(reading, 0.45)
    assert (found.evidence, found.where) == (DISTRIBUTED, OBJECT)
    assert (found.confidence, found.where_confidence) == (carried, carried)
    refused = judged(reading, 0.55)
    assert refused.evidence == UNCLEAR
    assert refused.confidence == pytest.approx(0.75, abs=0.05)
    assert refused.confidence == refused.where_confidence


def test_where_the_union_restores_nothing_there_is_no_concentration() -> None:
    found = judged(read(named(nothing=0.3, first=0.3, union=0.3, rest=0.1)))
    assert (found.admitted, found.evidence) == (True, UNCLEAR)
    assert found.concentration == pytest.approx((float("nan"),) * 3, nan_ok=True)
