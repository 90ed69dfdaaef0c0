"""The table of a paper: methods by metrics, means with 95 % bootstrap intervals over images, and a paired test.

Methods are compared on the images that all of them have, and means over areas are over the areas that all of them have.
Intervals and test are those of `inr_xai.metrics.statistics.bootstrap`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.evaluate.results import Results, metric_of
from inr_xai.metrics.statistics.bootstrap import Interval, mean_interval, resamples, sign_flip_p_value

CLASS_MEANS = ("pointing_game", "pointing_game_of_masks")
"""Metrics that are the mean over classes of each class's mean, as in the protocol of the pointing game."""
DIFFICULT = " (difficult)"
"""How the name of a column ends that is of the difficult part of the data set."""
SIGNIFICANT = 0.05
"""The p-value below which a difference is marked."""


@dataclass(frozen=True)
class TableCell:
    """A method's value of one metric.

    Args:
        images: the number of images that the value is the mean of.
        p: the p-value of the paired permutation test against the first method; None for the first method.
        best: whether no method is better.
    """

    value: Interval
    images: int
    p: float | None
    best: bool


@dataclass(frozen=True)
class PaperTable:
    """The cells of each method, in the order of the columns; None if the method does not have the metric."""

    columns: list[str]
    higher_is_better: dict[str, bool | None]
    rows: dict[str, list[TableCell | None]]


def make_table(
    methods: Mapping[str, Results], directions: Mapping[str, bool | None], metrics: Sequence[str] | None = None
) -> PaperTable:
    """Returns the table of some methods.

    Args:
        directions: metric -> whether higher is better; None if neither direction is.
        metrics: the metrics in the order of the columns; None for all. A metric with two or more areas that all methods
            have gains a column of their mean.

    Raises:
        UserError: no method has a metric, or methods explain different classes in a mean over classes.
    """
    columns = _columns(methods, metrics)
    better = {column: directions.get(metric_of(column.removesuffix(DIFFICULT))) for column in columns}
    rows: dict[str, list[TableCell | None]] = {name: [] for name in methods}
    for column in columns:
        for name, cell in _cells(methods, column, better[column]).items():
            rows[name].append(cell)
    return PaperTable(columns, better, rows)


def _columns(methods: Mapping[str, Results], metrics: Sequence[str] | None) -> list[str]:
    """Returns the columns: those of a metric's areas, their mean, and the one of difficult images."""
    known = list(dict.fromkeys(column for results in methods.values() for column in results.columns))
    names = list(dict.fromkeys(map(metric_of, known))) if metrics is None else list(metrics)
    columns: list[str] = []
    for name in names:
        of_metric = [column for column in known if metric_of(column) == name]
        if not of_metric:
            raise UserError(f"no method has the metric {name!r}; they have {', '.join(map(metric_of, known))}")
        columns += [*of_metric, f"{name}/mean"] if len(_areas(methods, name)) > 1 else of_metric
        if name in CLASS_MEANS and any(results.difficult() for results in methods.values()):
            columns.append(name + DIFFICULT)
    return columns


def _cells(methods: Mapping[str, Results], column: str, higher: bool | None) -> dict[str, TableCell | None]:
    """Returns the cell of each method in one column."""
    areas = _areas(methods, metric_of(column)) if column.endswith("/mean") else []
    values = {name: _values(results, column, areas) for name, results in methods.items()}
    measured = {name: by_image for name, by_image in values.items() if by_image}
    common = sorted(set.intersection(*map(set, measured.values()))) if measured else []
    if not common:
        return dict.fromkeys(methods)
    paired = {
        name: torch.tensor([by_image[key] for key in common], dtype=torch.float64)
        for name, by_image in measured.items()
    }
    classes = None
    if column.removesuffix(DIFFICULT) in CLASS_MEANS:
        classes = _classes({name: methods[name] for name in measured}, common)
    intervals = {name: _interval(method_values, classes) for name, method_values in paired.items()}
    best = None
    if higher is not None and len(intervals) > 1:
        best = (max if higher else min)(interval.value for interval in intervals.values())
    first = next(iter(methods))
    cells: dict[str, TableCell | None] = dict.fromkeys(methods)
    for name, interval in intervals.items():
        p = _p_value(paired[name], paired[first], classes) if name != first and first in paired else None
        cells[name] = TableCell(interval, len(common), p, interval.value == best)
    return cells


def _areas(methods: Mapping[str, Results], metric: str) -> list[str]:
    """Returns the columns of a metric's areas that are common to all methods which have the metric."""
    columns = [[name for name in results.columns if metric_of(name) == metric] for results in methods.values()]
    by_area = [names for names in columns if names and names != [metric]]
    return [name for name in by_area[0] if all(name in names for names in by_area)] if by_area else []


def _classes(methods: Mapping[str, Results], common: Sequence[str]) -> Int[Tensor, " n"]:
    """Returns the class that was explained in each image, numbered from 0.

    Raises UserError if methods explained different classes of an image, since a class's mean would then mix them.
    """
    targets = {name: results.targets() for name, results in methods.items()}
    first, expected = next(iter(targets.items()))
    for name, explained in targets.items():
        for key in common:
            if explained[key] != expected[key]:
                raise UserError(
                    f"{first!r} explains class {expected[key]} of {key!r} and {name!r} class {explained[key]}, and the "
                    "pointing game is a mean over classes; compare methods that explain the same classes"
                )
    numbers = {target: number for number, target in enumerate(sorted({expected[key] for key in common}))}
    return torch.tensor([numbers[expected[key]] for key in common])


def _values(results: Results, column: str, areas: Sequence[str] = ()) -> dict[str, float]:
    """Returns sample -> value in a column of the file, of its difficult samples, or in the mean over `areas`."""
    if column.endswith(DIFFICULT):
        difficult, values = results.difficult(), results.values(column.removesuffix(DIFFICULT))
        return {key: value for key, value in values.items() if key in difficult}
    if not column.endswith("/mean"):
        return results.values(column)
    parts = [results.values(name) for name in areas]
    common = set.intersection(*map(set, parts)) if parts else set()
    return {key: sum(part[key] for part in parts) / len(parts) for key in common}


def _interval(values: Float[Tensor, " n"], classes: Int[Tensor, " n"] | None) -> Interval:
    """Returns the mean over images, or over classes, with its interval."""
    if classes is None:
        return mean_interval(values)
    value = float(_mean_over_classes(values, classes, torch.arange(len(values)).unsqueeze(0)))
    if len(values) == 1:
        return Interval(value, torch.nan, torch.nan)
    chunks = resamples(len(values), draws=2000, seed=0)
    means = torch.cat([_mean_over_classes(values, classes, photos) for photos in chunks])
    low, high = means.quantile(means.new_tensor([0.025, 0.975])).tolist()
    return Interval(value, low, high)


def _mean_over_classes(
    values: Float[Tensor, " n"], classes: Int[Tensor, " n"], photos: Int[Tensor, "r n"]
) -> Float[Tensor, " r"]:
    """Returns for each row of photos the mean of the means of the classes that occur in it."""
    drawn_classes, drawn_values = classes[photos], values[photos]
    zeros = values.new_zeros(len(photos), int(classes.max()) + 1)
    counts = zeros.scatter_add(1, drawn_classes, torch.ones_like(drawn_values))
    means = zeros.scatter_add(1, drawn_classes, drawn_values) / counts.clamp(min=1)
    return means.sum(1) / (counts > 0).sum(1)


def _p_value(first: Float[Tensor, " n"], second: Float[Tensor, " n"], classes: Int[Tensor, " n"] | None) -> float:
    """Returns the p-value of the difference of means over images, or over classes; signs flip image by image."""
    if classes is None:
        return sign_flip_p_value(first, second)
    # Flips do not change the sizes of the classes, so the mean over classes is a weighted sum over images.
    weights = 1 / classes.bincount()[classes].double()
    return sign_flip_p_value(first * weights, second * weights)
