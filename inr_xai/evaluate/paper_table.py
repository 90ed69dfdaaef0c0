"""The table of a paper: methods by metrics, means with 95 % bootstrap intervals over images, and a paired test.

All methods are compared on the images that every one of them has, and their mean over areas is of the areas that every
one of them has. Intervals and test: `inr_xai.metrics.statistics.bootstrap`.
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
"""Metrics that are the mean over classes of each class's mean, as the pointing game's protocol has it."""
DIFFICULT = " (difficult)"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Cell:
    """A method's value of one metric.

    Args:
        images: how many it is the mean of.
        p: of the paired permutation test of the value against the first method's; None for the first itself.
        best: whether no method is better.
    """

    value: Interval
    images: int
    p: float | None
    best: bool


@dataclass(frozen=True)
class PaperTable:
    """Cells by method and column; None where a method does not have the metric."""

    columns: list[str]
    higher_is_better: dict[str, bool | None]
    rows: dict[str, list[Cell | None]]


def make_table(
    methods: Mapping[str, Results], directions: Mapping[str, bool | None], metrics: Sequence[str] | None = None
) -> PaperTable:
    """Compares methods.

    Args:
        directions: metric -> whether more is better.
        metrics: which ones, in this order; None for all. Columns by area gain their mean over the areas of all methods,
            where these are two or more.

    Raises:
        UserError: a metric that no method has, or a mean over classes of methods that explain different ones.
    """
    columns = _columns(methods, metrics)
    better = {column: directions.get(metric_of(column.removesuffix(DIFFICULT))) for column in columns}
    rows: dict[str, list[Cell | None]] = {name: [] for name in methods}
    for column in columns:
        for name, cell in _cells(methods, column, better[column]).items():
            rows[name].append(cell)
    return PaperTable(columns, better, rows)


def _columns(methods: Mapping[str, Results], metrics: Sequence[str] | None) -> list[str]:
    """The columns of the table: areas of a metric beside each other, then their mean; difficult images apart."""
    known = list(dict.fromkeys(column for results in methods.values() for column in results.columns))
    names = list(dict.fromkeys(map(metric_of, known))) if metrics is None else list(metrics)
    found: list[str] = []
    for name in names:
        own = [column for column in known if metric_of(column) == name]
        if not own:
            raise UserError(f"no method has the metric {name!r}; they have {', '.join(map(metric_of, known))}")
        found += [*own, f"{name}/mean"] if len(_areas(methods, name)) > 1 else own
        if name in CLASS_MEANS and any(results.difficult() for results in methods.values()):
            found.append(name + DIFFICULT)
    return found


def _cells(methods: Mapping[str, Results], column: str, higher: bool | None) -> dict[str, Cell | None]:
    """One column of the table."""
    areas = _areas(methods, metric_of(column)) if column.endswith("/mean") else []
    values = {name: _values(results, column, areas) for name, results in methods.items()}
    having = {name: own for name, own in values.items() if own}
    common = sorted(set.intersection(*(set(own) for own in having.values()))) if having else []
    if not common:
        return dict.fromkeys(methods)
    drawn = {name: torch.tensor([own[key] for key in common], dtype=torch.float64) for name, own in having.items()}
    kinds = None
    if column.removesuffix(DIFFICULT) in CLASS_MEANS:
        kinds = _kinds({name: methods[name] for name in having}, common)
    intervals = {name: _interval(own, kinds) for name, own in drawn.items()}
    goal = _best([interval.value for interval in intervals.values()], higher)
    first = next(iter(methods))
    cells: dict[str, Cell | None] = dict.fromkeys(methods)
    for name, interval in intervals.items():
        p = _p_value(drawn[name], drawn[first], kinds) if name != first and first in drawn else None
        cells[name] = Cell(interval, len(common), p, interval.value == goal)
    return cells


def _areas(methods: Mapping[str, Results], metric: str) -> list[str]:
    """The columns by area of a metric that every method has which has the metric at all."""
    found = [[name for name in results.columns if metric_of(name) == metric] for results in methods.values()]
    having = [own for own in found if own and own != [metric]]
    return [name for name in having[0] if all(name in own for own in having)] if having else []


def _kinds(methods: Mapping[str, Results], common: Sequence[str]) -> Int[Tensor, " n"]:
    """The class that was explained of each image, as a place among all classes.

    Raises UserError where methods explained different ones, since a class's mean would then mix them.
    """
    targets = {name: results.targets() for name, results in methods.items()}
    first, known = next(iter(targets.items()))
    for name, own in targets.items():
        for key in common:
            if own[key] != known[key]:
                raise UserError(
                    f"{first!r} explains class {known[key]} of {key!r} and {name!r} class {own[key]}, and the pointing "
                    "game is a mean over classes; compare methods that explain the same classes"
                )
    place = {kind: place for place, kind in enumerate(sorted({known[key] for key in common}))}
    return torch.tensor([place[known[key]] for key in common])


def _values(results: Results, column: str, areas: Sequence[str] = ()) -> dict[str, float]:
    """Sample -> value of a column of the table, be it one of the file, the difficult part, or a mean over `areas`."""
    if column.endswith(DIFFICULT):
        difficult = results.difficult()
        own = results.values(column.removesuffix(DIFFICULT))
        return {key: value for key, value in own.items() if key in difficult}
    if not column.endswith("/mean"):
        return results.values(column)
    parts = [results.values(name) for name in areas]
    common = set.intersection(*(set(part) for part in parts)) if parts else set()
    return {key: sum(part[key] for part in parts) / len(parts) for key in common}


def _interval(values: Float[Tensor, " n"], kinds: Int[Tensor, " n"] | None) -> Interval:
    """The mean over images, or over classes, between the ends of its interval."""
    if kinds is None:
        return mean_interval(values)
    value = float(_over_classes(values, kinds, torch.arange(len(values)).unsqueeze(0)))
    if len(values) == 1:
        return Interval(value, torch.nan, torch.nan)
    chunks = resamples(len(values), draws=2000, seed=0)
    found = torch.cat([_over_classes(values, kinds, photos) for photos in chunks])
    low, high = found.quantile(found.new_tensor([0.025, 0.975])).tolist()
    return Interval(value, low, high)


def _over_classes(
    values: Float[Tensor, " n"], kinds: Int[Tensor, " n"], photos: Int[Tensor, "r n"]
) -> Float[Tensor, " r"]:
    """The mean over the classes that occur of each class's mean, of every row of photos."""
    own, drawn = kinds[photos], values[photos]
    empty = values.new_zeros(len(photos), int(kinds.max()) + 1)
    counts = empty.scatter_add(1, own, torch.ones_like(drawn))
    means = empty.scatter_add(1, own, drawn) / counts.clamp(min=1)
    return means.sum(1) / (counts > 0).sum(1)


def _p_value(one: Float[Tensor, " n"], other: Float[Tensor, " n"], kinds: Int[Tensor, " n"] | None) -> float:
    """Of the difference of the means over images, or over classes; signs are flipped image by image."""
    if kinds is None:
        return sign_flip_p_value(one, other)
    # Flips leave the classes' sizes as they are, so the mean over classes is a weighted sum over images.
    weights = 1 / kinds.bincount()[kinds].double()
    return sign_flip_p_value(one * weights, other * weights)


def _best(values: Sequence[float], higher: bool | None) -> float | None:
    if higher is None or len(values) < 2:
        return None
    return max(values) if higher else min(values)
