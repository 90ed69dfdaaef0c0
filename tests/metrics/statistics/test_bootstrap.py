"""Intervals and p-values over photos: analytic cases, and plain loops over the same resamples."""

import itertools
import math

import numpy as np
import pytest
import torch

from inr_xai.metrics.statistics import bootstrap
from inr_xai.metrics.statistics.bootstrap import (
    mean_interval,
    paired_difference,
    ratio_of_means,
    resamples,
    sign_flip_p_value,
)


def photos(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def looped(statistic, count: int, *, draws: int, level: float, seed: int) -> list[float]:
    """Returns the ends of the interval by a loop over resamples and a sort, interpolated between sorted values."""
    rows = [row.tolist() for block in resamples(count, draws=draws, seed=seed) for row in block]
    assert len(rows) == draws
    values = sorted(statistic(row) for row in rows)
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        at = share * (draws - 1)
        below = math.floor(at)
        above = min(below + 1, draws - 1)
        ends.append(values[below] + (at - below) * (values[above] - values[below]))
    return ends


@pytest.mark.parametrize(("draws", "level", "seed"), [(300, 0.95, 0), (201, 0.8, 3)])
def test_intervals_against_a_loop_over_the_same_resamples(draws: int, level: float, seed: int) -> None:
    over, under = photos(9, 1), photos(9, 2)
    numerators, denominators = over.tolist(), under.tolist()
    options = {"draws": draws, "level": level, "seed": seed}

    def ratio(row: list[int]) -> float:
        return sum(numerators[i] for i in row) / sum(denominators[i] for i in row)

    def difference(row: list[int]) -> float:
        return sum(numerators[i] - denominators[i] for i in row) / len(row)

    everything = list(range(9))
    result = ratio_of_means(over, under, **options)
    assert result == pytest.approx((ratio(everything), *looped(ratio, 9, **options)), abs=1e-12)
    result = paired_difference(over, under, **options)
    assert result == pytest.approx((difference(everything), *looped(difference, 9, **options)), abs=1e-12)
    assert mean_interval(over - under, **options) == result


def test_resamples_are_uniform_and_the_same_however_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    together = torch.cat(list(resamples(5, draws=4000, seed=0)))
    assert together.shape == (4000, 5)
    frequency = torch.bincount(together.flatten(), minlength=5) / together.numel()
    assert (frequency - 0.2).abs().max() < 4.5 * math.sqrt(0.2 * 0.8 / together.numel())
    assert not torch.equal(together, torch.cat(list(resamples(5, draws=4000, seed=1))))
    monkeypatch.setattr(bootstrap, "AT_ONCE", 64)
    blocks = list(resamples(5, draws=4000, seed=0))
    assert max(map(len, blocks)) == 12
    assert torch.equal(torch.cat(blocks), together)


def test_two_photos_have_three_means() -> None:
    # 0, 1/2 and 1 with probabilities 1/4, 1/2 and 1/4.
    values = torch.tensor([0.0, 1.0])
    assert mean_interval(values) == (0.5, 0, 1)
    assert mean_interval(values, level=0.4) == (0.5, 0.5, 0.5)


def test_many_photos_give_the_normal_interval() -> None:
    values = photos(400)
    result = mean_interval(values, draws=8000)
    error = float(values.std(correction=0)) / math.sqrt(400)
    assert result.value == pytest.approx(float(values.mean()), abs=1e-12)
    assert result.low == pytest.approx(result.value - 1.96 * error, abs=0.1 * error)
    assert result.high == pytest.approx(result.value + 1.96 * error, abs=0.1 * error)


def test_pairs_are_resampled_together() -> None:
    under = photos(12)
    assert ratio_of_means(0.25 * under, under) == pytest.approx((0.25, 0.25, 0.25), abs=1e-12)
    assert paired_difference(under + 0.1, under) == pytest.approx((0.1, 0.1, 0.1), abs=1e-12)


def test_half_precision_is_computed_in_double_precision() -> None:
    values = torch.full((3,), 0.1, dtype=torch.float16)
    assert mean_interval(values).value == pytest.approx(float(values[0].double()), abs=1e-15)


def test_one_photo_has_a_value_and_no_interval() -> None:
    value = torch.tensor([0.5], dtype=torch.float64)
    for result in (mean_interval(value), ratio_of_means(value, 2 * value), paired_difference(value, value / 2)):
        assert result.value in (0.5, 0.25)
        assert np.isnan([result.low, result.high]).all()


def test_a_ratio_over_nothing_is_nan() -> None:
    assert np.isnan(ratio_of_means(torch.ones(3), torch.zeros(3))).all()
    result = ratio_of_means(torch.ones(2), torch.tensor([0.0, 1.0]))
    assert result.value == 2
    assert np.isnan([result.low, result.high]).all()


GOOD = torch.tensor([0.1, 0.2])


@pytest.mark.parametrize("bad", [torch.tensor([0.1, torch.nan]), torch.tensor([torch.inf, 0.1])])
@pytest.mark.parametrize("function", [ratio_of_means, paired_difference, sign_flip_p_value])
def test_numbers_that_are_not_finite_are_refused(function, bad: torch.Tensor) -> None:
    for pair in ((GOOD, bad), (bad, GOOD)):
        with pytest.raises(ValueError, match="NaN"):
            function(*pair)
    with pytest.raises(ValueError, match="NaN"):
        mean_interval(bad)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval(torch.zeros(0)), "at least one"),
        (lambda: mean_interval(GOOD, level=95), "between 0 and 1"),
        (lambda: mean_interval(GOOD, draws=0), "at least one draw"),
        (lambda: ratio_of_means(GOOD, -GOOD), "at least 0"),
        (lambda: sign_flip_p_value(GOOD, GOOD, draws=0), "at least one draw"),
    ],
)
def test_what_makes_no_sense_is_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("seed", range(6))
def test_all_sign_patterns_against_a_loop_over_whole_numbers(seed: int) -> None:
    # Tenths are not exact in floats: patterns that tie must count although their sums differ in the last bit.
    tenths = torch.randint(-5, 8, (7,), generator=torch.Generator().manual_seed(seed)).tolist()
    patterns = list(itertools.product((1, -1), repeat=7))
    hits = sum(
        abs(sum(sign * tenth for sign, tenth in zip(pattern, tenths, strict=True))) >= abs(sum(tenths))
        for pattern in patterns
    )
    a = torch.tensor([0.1 * tenth for tenth in tenths], dtype=torch.float64)
    assert sign_flip_p_value(a, torch.zeros(7, dtype=torch.float64)) == hits / 128


def test_random_sign_patterns_come_near_to_all_of_them() -> None:
    a, b = photos(14, 1) + 0.1, photos(14, 2)
    exact = sign_flip_p_value(a, b, draws=2**14)
    assert 0.01 < exact < 0.9
    assert sign_flip_p_value(a, b) == pytest.approx(exact, abs=4.5 * math.sqrt(exact * (1 - exact) / 9999))
    assert sign_flip_p_value(b, a, draws=2**14) == exact


def test_a_p_value_is_never_zero_and_one_if_nothing_differs() -> None:
    ones, many = torch.ones(10), torch.ones(80)
    assert sign_flip_p_value(ones, 0 * ones) == 2 / 1024
    assert sign_flip_p_value(many, 0 * many, draws=99) == 1 / 100
    assert sign_flip_p_value(many, many) == 1
    assert sign_flip_p_value(ones[:1], 0 * ones[:1]) == 1
