"""Means and rank correlations of samples with bootstrap intervals over photos, of which samples are crops.

A photo is drawn with all its samples, those of all classifiers. A resample is a weight of each sample: how often its
photo was drawn. Cluster bootstrap: Davison, Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from inr_xai.metrics.statistics.bootstrap import Interval, resamples

DRAWS = 2000
"""Resamples of photos behind an interval."""

Weights = Float[Tensor, "d n"]
"""The weight of each sample: 1 in the first row, the whole numbers of a resample in each other row."""
Numbers = Float[Tensor, " n"]


def mean_over_photos(photos: Sequence[str], values: Sequence[float]) -> Interval:
    """Returns the mean over samples with its 95 % interval over photos.

    Args:
        photos: the photo of each sample.
    """
    weights, numbers = photo_weights(photos), torch.tensor(values, dtype=torch.float64)
    return _interval(weights @ numbers / weights.sum(1))


def correlation(photos: Sequence[str], first: Sequence[float], second: Sequence[float]) -> Interval:
    """Returns Spearman's correlation with its 95 % interval over photos; it is NaN if one of both is constant."""
    return _interval(_spearman(photo_weights(photos), *_columns(first, second)))


def correlation_within(
    photos: Sequence[str], first: Sequence[float], second: Sequence[float], groups: Sequence[str]
) -> Interval:
    """Returns the mean over groups of Spearman's correlation among the samples of each, with its interval.

    Args:
        groups: the group of each sample.
    """
    weights, columns = photo_weights(photos), _columns(first, second)
    parts = []
    for name in sorted(set(groups)):
        members = torch.tensor([place for place, group in enumerate(groups) if group == name])
        parts.append(_spearman(weights[:, members], *(column[members] for column in columns)))
    return _interval(torch.stack(parts).mean(0))


def photo_weights(photos: Sequence[str]) -> Weights:
    """Returns the weights of all samples, then those of DRAWS resamples of photos."""
    names = sorted(set(photos))
    place = torch.tensor([names.index(name) for name in photos])
    drawn = torch.cat(list(resamples(len(names), draws=DRAWS, seed=0)))
    counts = F.one_hot(drawn, len(names)).sum(1)[:, place]
    return torch.cat([torch.ones(1, len(photos)), counts]).double()


def _spearman(weights: Weights, first: Numbers, second: Numbers) -> Float[Tensor, " d"]:
    """Returns Spearman's correlation of samples that are there as often as their weights say; tied values share ranks.

    It is NaN where a column is constant.
    """
    ranks, others = (_centred_ranks(weights, values) for values in (first, second))
    spread = ((weights * ranks**2).sum(1) * (weights * others**2).sum(1)).sqrt()
    return (weights * ranks * others).sum(1) / spread


def _centred_ranks(weights: Weights, values: Numbers) -> Float[Tensor, "d n"]:
    """Returns twice the rank of each sample less the mean: the weight of what is below less that of what is above."""
    below = (values[None] < values[:, None]).double() - (values[None] > values[:, None]).double()
    return weights @ below.T


def _columns(*columns: Sequence[float]) -> list[Numbers]:
    return [torch.tensor(column, dtype=torch.float64) for column in columns]


def _interval(values: Float[Tensor, " d"]) -> Interval:
    """Returns the first value between the quantiles of the others; those that are not defined do not count."""
    resampled = values[1:][values[1:].isfinite()]
    if len(resampled) == 0:
        return Interval(float(values[0]), torch.nan, torch.nan)
    low, high = resampled.quantile(resampled.new_tensor([0.025, 0.975])).tolist()
    return Interval(float(values[0]), low, high)
