"""The means of a run's scores over its images, for each explanation and area; relative scores are ratios of means.

A mean of ratios would explode if p_full of one image is small (docs/method.md, "Metrics").
"""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum, isfinite, nan
from typing import Any

from inr_xai.columns import P_FULL, RELATIVE
from inr_xai.types import Row

KEYS = frozenset(
    {"sample_id", "image_id", "explanation", "area", "target", "target_name", "label", "predicted", "predicted_name"}
)
"""Columns that identify a row and are no scores."""
TABLE = {
    "area error": "area_error",
    "grayness": "grayness",
    "preservation": "preservation_hard_mean",
    "of p_full": "preservation_hard_mean_rel",
    "chance": "chance",
    "deletion": "deletion_hard_mean",
}
"""Heading of the printed table -> column of the summary."""
TABLE_OF_SEVERAL = {"union": "union_hard_mean", "remaining": "remaining_hard_mean"}
"""Headings that the printed table adds for several explanations."""


def summarise(rows: Iterable[Row]) -> dict[str, int | float]:
    """Returns the means of score rows: `<column>/k<k>/a<area>` over images, and `<column>/k<k>` over areas as well.

    `images` is the number of images. Images may have different numbers of explanations: means are over the
    `images/k<k>` images that have the k-th, and `explanations/mean` is the mean number of explanations.
    `<column>_rel` is the column's mean over images divided by that of p_full (NaN unless that is positive). Rows may
    come from a CSV: an empty cell does not enter a mean, and columns of text are left out.

    >>> rows = [{"sample_id": p, "explanation": 1, "area": 0.1, "p_full": p, "chance": 0.2} for p in (0.2, 0.6)]
    >>> round(summarise(rows)["chance_rel/k1/a0.1"], 6)
    0.5
    """
    summary = Summary()
    for row in rows:
        summary.add(row)
    return summary.means()


class Summary:
    """What `summarise` returns, of rows that come one by one: few of them are in memory at a time."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, float], _Group] = {}
        self._images: dict[int, set[object]] = {}
        self._ids: dict[object, int] = {}

    def add(self, row: Row) -> None:
        """Adds a row."""
        explanation = int(str(row["explanation"]))
        number = self._ids.setdefault(row["sample_id"], len(self._ids))
        self._images.setdefault(explanation, set()).add(number)
        self._groups.setdefault((explanation, float(str(row["area"]))), _Group()).add(row)

    def means(self) -> dict[str, int | float]:
        """Returns the means of the rows so far."""
        summary = _counts(self._images)
        over_areas: dict[str, list[float]] = {}
        names = _score_columns(self._groups.values())
        for (explanation, area), group in sorted(self._groups.items(), key=lambda item: item[0]):
            for name, value in group.means(names).items():
                summary[f"{name}/k{explanation}/a{area:g}"] = value
                over_areas.setdefault(f"{name}/k{explanation}", []).append(value)
        return summary | {key: _mean(values) for key, values in over_areas.items()}


class _Group:
    """The rows of one explanation and area, of which few are in memory at a time.

    Attributes:
        names: the columns that a row has, in the order in which they appear.
        text: the columns among them of which a cell is neither a number nor empty.
    """

    AT_ONCE = 512

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.text: set[str] = set()
        self._rows: list[Row] = []
        self._sums: dict[str, _Sum] = {}
        self._pairs: dict[str, tuple[_Sum, _Sum]] = {}

    def add(self, row: Row) -> None:
        """Adds a row."""
        self._rows.append(row)
        if len(self._rows) == self.AT_ONCE:
            self.take_in()

    def take_in(self) -> None:
        """Adds the rows that wait to the sums."""
        rows, self._rows = self._rows, []
        table = _columns(rows)
        self.names.update(dict.fromkeys(table))
        full = self._numbers(P_FULL, table.get(P_FULL, [None] * len(rows)))
        full_parts = _exact(full)
        for name, texts in table.items():
            if name in KEYS or name in self.text:
                continue
            cells = full if name == P_FULL else self._numbers(name, texts)
            parts = _exact(cells)
            self._sums.setdefault(name, _Sum()).add(parts, len(cells) - cells.count(None))
            if name in RELATIVE:
                both, count = (parts, full_parts), len(cells)
                if None in cells or None in full:
                    pairs = [pair for pair in zip(cells, full, strict=True) if None not in pair]
                    both, count = (_exact([pair[0] for pair in pairs]), _exact([pair[1] for pair in pairs])), len(pairs)
                for total, its_parts in zip(self._pairs.setdefault(name, (_Sum(), _Sum())), both, strict=True):
                    total.add(its_parts, count)

    def means(self, names: Sequence[str]) -> dict[str, float]:
        """Returns the means over the rows, with the relative columns."""
        means = {}
        for name in names:
            total = self._sums.get(name)
            if total is not None and total.count:
                means[name] = total.value() / total.count
            value, full = self._pairs.get(name, (_Sum(), _Sum()))
            if value.count:
                means[f"{name}_rel"] = value.value() / full.value() if full.value() > 0 else nan
        return means

    def _numbers(self, name: str, cells: Sequence[Any]) -> list[float | None]:
        """Returns the numbers in a column; None for an empty cell, and in a column of text."""
        kinds = set(map(type, cells))
        if kinds == {float}:
            return list(cells)
        try:
            if kinds == {str} and "" not in cells:
                return list(map(float, cells))
            return [_number(cell) for cell in cells]
        except ValueError:
            self.text.add(name)
            return [None] * len(cells)


def _columns(rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
    """Returns the values of each column, None where a row has none; columns in the order in which they appear."""
    different = dict.fromkeys(map(tuple, rows))
    names = list(dict.fromkeys(name for columns in different for name in columns))
    if len(different) == 1:
        return dict(zip(names, zip(*(row.values() for row in rows), strict=True), strict=True))
    return {name: [row.get(name) for row in rows] for name in names}


class _Sum:
    """The sum of numbers that come bit by bit, rounded once at the end, as `fsum` rounds that of all of them."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: list[float] = []

    def add(self, parts: Sequence[float], count: int) -> None:
        """Adds `count` numbers, for which the parts stand that `_exact` makes of them."""
        self._parts = _exact([*self._parts, *parts])
        self.count += count

    def value(self) -> float:
        """Returns the sum."""
        return _fsum(self._parts)


def _exact(numbers: Iterable[float | None]) -> list[float]:
    """Returns a few numbers whose sum is exactly that of the numbers that are there.

    >>> _exact([1e16, 1.0, None, 1.0, 1e-9])
    [1.0000000000000002e+16, 1e-09]
    """
    values, parts = [number for number in numbers if number is not None], list[float]()
    while (rest := _fsum(values)) != 0:  # NaN is not, either
        parts.append(rest)
        if not isfinite(rest):
            break
        values.append(-rest)
    return parts


def _fsum(values: Iterable[float]) -> float:
    """Returns the sum; NaN if infinities of both signs are among the numbers."""
    try:
        return fsum(values)
    except (ValueError, OverflowError):
        return nan


def format_table(summary: Mapping[str, int | float], areas: Sequence[float], explanations: int) -> str:
    """Returns the main means as aligned text: a line for each explanation and area, and one for the mean over areas.

    A value that the summary lacks, such as those of an explanation that no image has, is a dash. The numbers of images
    are shown if they differ between explanations.
    """
    columns = TABLE | TABLE_OF_SEVERAL if explanations > 1 else TABLE
    images = [summary.get(f"images/k{k}", 0) for k in range(1, explanations + 1)]
    counts_differ = len({count for count in images if count}) > 1
    lines = [["explanation", *(["images"] if counts_differ else []), "area", *columns]]
    for explanation in range(1, explanations + 1):
        ends = {f"{area:g}": f"/k{explanation}/a{area:g}" for area in sorted(areas)} | {"mean": f"/k{explanation}"}
        for area, end in ends.items():
            values = [summary.get(column + end) for column in columns.values()]
            first = [str(explanation), *([str(images[explanation - 1])] if counts_differ else []), area]
            lines.append(first + ["-" if value is None else f"{value:.3f}" for value in values])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _counts(images: Mapping[int, set[object]]) -> dict[str, int | float]:
    """Returns the number of images, of those that have a k-th explanation, and the mean number of explanations."""
    counts: dict[str, int | float] = {"images": len(set().union(*images.values()))}
    counts |= {f"images/k{k}": len(ids) for k, ids in sorted(images.items())}
    if images:
        counts["explanations/mean"] = sum(len(ids) for ids in images.values()) / counts["images"]
    return counts


def _score_columns(groups: Iterable[_Group]) -> list[str]:
    """Takes in all rows, and returns the columns of numbers in the order in which they appear."""
    names: dict[str, None] = {}
    text: set[str] = set()
    for group in groups:
        group.take_in()
        names.update(group.names)
        text |= group.text
    return [name for name in names if name not in KEYS and name not in text]


def _number(cell: object) -> float | None:
    """Returns the number in a cell; None for an empty cell. Raises ValueError for text."""
    return None if cell is None or cell == "" else float(str(cell))


def _mean(values: Sequence[float]) -> float:
    return _fsum(values) / len(values)
