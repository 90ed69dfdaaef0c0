"""The table that maps summary.json to W&B's few keys."""

import math

import pytest

from inr_xai.loggers.keys import AUDIT, MOST_METRICS, explanations, summary_keys
from inr_xai.scoring.summary import summarise

ROWS = [
    {
        "sample_id": name,
        "explanation": k,
        "area": area,
        "p_full": 0.8,
        "preservation_hard_mean": 0.4 / k + area,
        "preservation_hard_noise": 0.2 / k,
        "preservation_hard_photo": 0.6 / k,
        "deletion_hard_mean": 0.16,
        "chance": 0.08,
        "area_error": 0.01,
        "grayness": 0.5,
        "carries": int(k == 1 or name == "a"),
        "remaining_hard_mean": 0.4,
    }
    for name in ("a", "b")
    for k in (1, 2, 3)
    for area in (0.1, 0.2)
    if (name, k) != ("b", 3)
]
SUMMARY = summarise(ROWS) | {"failures": 1, "seconds_per_image": 2.0, "passes_per_image": 30.0}


def test_each_key_is_the_mean_that_its_name_says() -> None:
    keys = summary_keys(SUMMARY, "grayness/k1")
    expected = {
        "headline/preservation": (0.4 + 0.15) / 0.8,
        "headline/unseen_preservation": 0.4 / 0.8,
        "headline/deletion": 0.2,
        "headline/chance": 0.1,
        "headline/area_error": 0.01,
        "headline/carries": 4 / 5,  # of five explanations, since b has no third one
        "explanation_3/preservation": (0.4 / 3 + 0.15) / 0.8,
        "explanation_3/unseen_preservation": 0.4 / 3 / 0.8,
        "explanation_3/carries": 1.0,
        "explanation_2/carries": 0.5,
        "explanation_2/remaining": 0.5,
        "run/images": 2,
        "run/failures": 1,
        "run/seconds_per_image": 2.0,
        "run/passes_per_image": 30.0,
        "grayness/k1": 0.5,
    }
    assert {name: keys[name] for name in expected} == pytest.approx(expected)
    for k in (1, 2, 3):
        names = {name.partition("/")[2] for name in keys if name.startswith(f"explanation_{k}/")}
        assert names == {"preservation", "unseen_preservation", "deletion", "chance", "carries", "remaining"}


def test_a_run_with_three_explanations_has_at_most_forty_keys() -> None:
    tables_and_charts = 4
    assert len(summary_keys(SUMMARY, "grayness/k1")) + MOST_METRICS + len(AUDIT) + tables_and_charts <= 40


def test_what_is_missing_or_not_finite_has_no_key() -> None:
    some = {"p_full/k1": 0.0, "chance_rel/k1": math.nan, "area_error/k1": 0.25, "images": 3}
    assert summary_keys(some, "none/k1") == {"headline/area_error": 0.25, "run/images": 3}
    assert summary_keys({}) == {}


def test_explanations_are_counted_from_one() -> None:
    assert explanations(SUMMARY) == [1, 2, 3]
    assert explanations({"p_full/k2": 0.5}) == []
