"""How certain a mean over photos is: percentile bootstrap intervals, and a paired permutation test.

Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7, 1979; Efron, Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 13. Photos are drawn with replacement: average over areas and baselines
before. With few photos (below about 20) the intervals are somewhat too narrow.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.seeding import generator

AT_ONCE = 2**22  # numbers that are drawn at a time, which bounds the memory
TIE = 1e-12  # relative to the sum of |differences|; sums in another order differ by less


class Interval(NamedTuple):
    """A value over photos with the ends of its confidence interval, which are NaN for a single photo."""

    value: float
    low: float
    high: float


def interval_columns(name: str, interval: Interval) -> dict[str, float]:
    """Returns the columns of an interval in a table, by name.

    >>> interval_columns("excess", Interval(0.5, 0.25, 0.75))
    {'excess': 0.5, 'excess_low': 0.25, 'excess_high': 0.75}
    """
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def mean_interval(values: Float[Tensor, " n"], *, draws: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """Returns the mean over photos with its interval.

    Args:
        values: one number per photo. The same photos in the same order are resampled alike under one seed.
        draws: the number of resamples.
        level: the level of confidence, between 0 and 1.

    Raises:
        ValueError: there is no photo, a value is not finite, or the level or the number of draws makes no sense.

    >>> mean_interval(torch.tensor([1.0, 1.0, 1.0]))
    Interval(value=1.0, low=1.0, high=1.0)
    """
    (exact,) = _checked(values)
    return _interval(lambda photos: exact[photos].mean(-1), len(exact), draws=draws, level=level, seed=seed)


def ratio_of_means(
    numerator: Float[Tensor, " n"],
    denominator: Float[Tensor, " n"],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Returns the mean of the numerator divided by that of the denominator, with its interval.

    Pairs are resampled together. The value is NaN if the mean of the denominator is 0, and the ends are NaN if that of
    a resample is 0. Arguments and errors are those of `mean_interval`; a denominator below 0 is refused as well.

    >>> ratio_of_means(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))
    Interval(value=0.5, low=0.5, high=0.5)
    """
    over, under = _checked(numerator, denominator)
    if (under < 0).any():
        raise ValueError(f"expected a denominator of at least 0, got {float(under.min()):g}; give probabilities")

    def ratio(photos: Int[Tensor, "r n"]) -> Float[Tensor, " r"]:
        mean = under[photos].mean(-1)
        return torch.where(mean > 0, over[photos].mean(-1) / mean, torch.nan)

    return _interval(ratio, len(over), draws=draws, level=level, seed=seed)


def paired_difference(
    a: Float[Tensor, " n"], b: Float[Tensor, " n"], *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Returns the mean over photos of a - b with its interval; a[i] and b[i] belong to one photo.

    Pairing cancels how easy or hard a photo is, so this interval may exclude 0 although the intervals of the two means
    overlap. Arguments and errors are those of `mean_interval`.
    """
    first, second = _checked(a, b)
    return mean_interval(first - second, draws=draws, level=level, seed=seed)


def sign_flip_p_value(a: Float[Tensor, " n"], b: Float[Tensor, " n"], *, draws: int = 9999, seed: int = 0) -> float:
    """Returns the two-sided p-value of the paired permutation test that a and b may be exchanged within each photo.

    It is the share of sign patterns of a - b whose |mean| is at least the observed one. All 2^n patterns are taken if
    they are at most `draws` + 1. Else `draws` random ones are taken, and the observed one counts as one more:
    (1 + hits) / (1 + draws) (Phipson, Smyth, "Permutation p-values should never be zero", 2010). The value is never
    below 2^(1 - n), so five photos cannot reach 0.05.

    >>> sign_flip_p_value(torch.tensor([3.0, 2.0, 5.0]), torch.tensor([1.0, 1.0, 1.0]))
    0.25
    """
    first, second = _checked(a, b)
    _require_draws(draws)
    difference = first - second
    bound = difference.sum().abs() - TIE * difference.abs().sum()
    count = len(difference)
    # 64 photos would overflow the shift, and no number of draws is as large.
    if count < 63 and 1 << count <= draws + 1:
        bits = torch.arange(1 << count).unsqueeze(1) >> torch.arange(count) & 1
        return float(((1 - 2 * bits).double() @ difference).abs().ge(bound).double().mean())
    hits, draw = 0, generator(seed, "sign flip")
    for rows in _rows(draws, count):
        signs = 1 - 2 * torch.randint(2, (rows, count), generator=draw)
        hits += int((signs.double() @ difference).abs().ge(bound).sum())
    return (1 + hits) / (1 + draws)


def resamples(count: int, *, draws: int, seed: int) -> Iterator[Int[Tensor, "r n"]]:
    """Yields indices of photos drawn with replacement, `count` in each of `draws` rows, some rows at a time."""
    draw = generator(seed, "bootstrap")
    for rows in _rows(draws, count):
        yield torch.randint(count, (rows, count), generator=draw)


def _interval(
    statistic: Callable[[Int[Tensor, "r n"]], Float[Tensor, " r"]],
    count: int,
    *,
    draws: int,
    level: float,
    seed: int,
) -> Interval:
    """Returns the statistic of all photos, with the quantiles of the statistic of resampled photos as its ends."""
    _require_draws(draws)
    if not 0 < level < 1:
        raise ValueError(f"expected a level of confidence between 0 and 1, got {level}; try 0.95")
    value = float(statistic(torch.arange(count).unsqueeze(0)))
    if count == 1:
        return Interval(value, torch.nan, torch.nan)
    values = torch.cat([statistic(photos) for photos in resamples(count, draws=draws, seed=seed)])
    low, high = values.quantile(values.new_tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return Interval(value, low, high)


def _rows(draws: int, count: int) -> list[int]:
    """Returns the numbers of draws to make at a time, so that no more than AT_ONCE numbers are in memory."""
    limit = max(1, AT_ONCE // count)
    return [min(limit, draws - start) for start in range(0, draws, limit)]


def _require_draws(draws: int) -> None:
    if draws < 1:
        raise ValueError(f"expected at least one draw, got {draws}; try 2000")


def _checked(*columns: Float[Tensor, " n"]) -> list[Float[Tensor, " n"]]:
    """Returns columns in double precision on the CPU. Raises ValueError unless they are finite and of one length."""
    lengths = [tuple(column.shape) for column in columns]
    if len(set(lengths)) > 1 or len(lengths[0]) != 1 or lengths[0][0] == 0:
        raise ValueError(f"expected one number per photo, of the same photos, and at least one, got shapes {lengths}")
    if not all(bool(column.isfinite().all()) for column in columns):
        raise ValueError("expected finite numbers, got NaN or infinity; leave out the photos that failed")
    return [column.detach().cpu().double() for column in columns]
