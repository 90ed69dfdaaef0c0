"""The table of a paper: methods by metrics, means with 95 % bootstrap intervals over images, and a paired test.

All methods are compared on the images that every one of them has. Intervals and test: `inr_xai.metrics.bootstrap`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from inr_xai.errors import UserError
from inr_xai.evaluation.rows import Results, metric_of
from inr_xai.metrics.bootstrap import Interval, mean_interval, resamples, sign_flip_p_value

CLASS_MEANS = ("pointing_game", "pointing_game_of_masks")
"""Metrics that are the mean over classes of each class's mean, as the pointing game's protocol has it."""
DIFFICULT = " (difficult)"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Cell:
    """A method's value of one metric.

    Args:
        images: how many it is the mean of.
        p: of the paired permutation test against the first method; None for the first itself.
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
        metrics: which ones, in this order; None for all. Columns by area gain their mean over areas.

    Raises:
        UserError: a metric that no method has.
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
        by_area = own != [name]
        found += [*own, f"{name}/mean"] if by_area and len(own) > 1 else own
        if name in CLASS_MEANS and any(results.difficult() for results in methods.values()):
            found.append(name + DIFFICULT)
    return found


def _cells(methods: Mapping[str, Results], column: str, higher: bool | None) -> dict[str, Cell | None]:
    """One column of the table."""
    values = {name: _values(results, column) for name, results in methods.items()}
    having = {name: own for name, own in values.items() if own}
    common = sorted(set.intersection(*(set(own) for own in having.values()))) if having else []
    if not common:
        return dict.fromkeys(methods)
    drawn = {name: torch.tensor([own[key] for key in common], dtype=torch.float64) for name, own in having.items()}
    targets = next(iter(methods.values())).targets()
    classes = [targets.get(key, "") for key in common] if column.removesuffix(DIFFICULT) in CLASS_MEANS else None
    intervals = {name: _interval(own, classes) for name, own in drawn.items()}
    goal = _best([interval.value for interval in intervals.values()], higher)
    first = next(iter(methods))
    cells: dict[str, Cell | None] = dict.fromkeys(methods)
    for name, interval in intervals.items():
        p = sign_flip_p_value(drawn[name], drawn[first]) if name != first and first in drawn else None
        cells[name] = Cell(interval, len(common), p, interval.value == goal)
    return cells


def _values(results: Results, column: str) -> dict[str, float]:
    """Sample -> value of a column of the table, be it one of the file, a mean over areas, or the difficult part."""
    if column.endswith(DIFFICULT):
        difficult = results.difficult()
        own = results.values(column.removesuffix(DIFFICULT))
        return {key: value for key, value in own.items() if key in difficult}
    if not column.endswith("/mean"):
        return results.values(column)
    metric = metric_of(column)
    parts = [results.values(name) for name in results.columns if metric_of(name) == metric]
    common = set.intersection(*(set(part) for part in parts)) if parts else set()
    return {key: sum(part[key] for part in parts) / len(parts) for key in common}


def _interval(values: torch.Tensor, classes: Sequence[str] | None) -> Interval:
    """The mean over images, or over classes, between the ends of its interval."""
    if classes is None:
        return mean_interval(values)
    kinds = {kind: place for place, kind in enumerate(sorted(set(classes)))}
    member = torch.nn.functional.one_hot(torch.tensor([kinds[kind] for kind in classes]), len(kinds)).double()

    def over_classes(photos: torch.Tensor) -> torch.Tensor:
        counts = member[photos].sum(1)
        means = (member[photos] * values[photos].unsqueeze(2)).sum(1) / counts.clamp(min=1)
        return means.sum(1) / (counts > 0).sum(1)

    value = float(over_classes(torch.arange(len(values)).unsqueeze(0)))
    if len(values) == 1:
        return Interval(value, torch.nan, torch.nan)
    found = torch.cat([over_classes(photos) for photos in resamples(len(values), draws=2000, seed=0)])
    low, high = found.quantile(found.new_tensor([0.025, 0.975])).tolist()
    return Interval(value, low, high)


def _best(values: Sequence[float], higher: bool | None) -> float | None:
    if higher is None or len(values) < 2:
        return None
    return max(values) if higher else min(values)
