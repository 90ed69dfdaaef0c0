"""The means of a run's scores over its images, for each explanation and area; relative scores are ratios of means.

A mean of ratios would explode if p_full of one image is small (docs/method.md, "Metrics").
"""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum, nan

from inr_xai.columns import P_FULL, RELATIVE
from inr_xai.types import Row

KEYS = frozenset({"sample_id", "image_id", "explanation", "area", "target", "label", "predicted"})
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
    `<column>_rel` is the column's mean over images divided by that of p_full (NaN if that is 0). Rows may come from a
    CSV: an empty cell does not enter a mean, and columns of text are left out.

    >>> rows = [{"sample_id": p, "explanation": 1, "area": 0.1, "p_full": p, "chance": 0.2} for p in (0.2, 0.6)]
    >>> round(summarise(rows)["chance_rel/k1/a0.1"], 6)
    0.5
    """
    groups: dict[tuple[int, float], list[Row]] = {}
    images: dict[int, set[object]] = {}
    for row in rows:
        explanation = int(str(row["explanation"]))
        images.setdefault(explanation, set()).add(row["sample_id"])
        groups.setdefault((explanation, float(str(row["area"]))), []).append(row)
    summary = _counts(images)
    over_areas: dict[str, list[float]] = {}
    names = _score_columns([row for group in groups.values() for row in group])
    for (explanation, area), group in sorted(groups.items()):
        for name, value in _means(group, names).items():
            summary[f"{name}/k{explanation}/a{area:g}"] = value
            over_areas.setdefault(f"{name}/k{explanation}", []).append(value)
    return summary | {key: _mean(values) for key, values in over_areas.items()}


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


def _means(group: Sequence[Row], names: Sequence[str]) -> dict[str, float]:
    """Returns the means over the images of one explanation and area, with the relative columns."""
    means = {}
    for name in names:
        values = [value for row in group if (value := _number(row.get(name))) is not None]
        if values:
            means[name] = _mean(values)
        if name in RELATIVE:
            pairs = [(_number(row.get(name)), _number(row.get(P_FULL))) for row in group]
            both = [(value, full) for value, full in pairs if value is not None and full is not None]
            full = fsum(full for _, full in both)
            if both:
                means[f"{name}_rel"] = fsum(value for value, _ in both) / full if full else nan
    return means


def _score_columns(rows: Sequence[Row]) -> list[str]:
    """Returns the names of the columns of numbers, in the order in which they appear."""
    names = dict.fromkeys(name for row in rows for name in row if name not in KEYS)
    return [name for name in names if all(_is_number(row.get(name)) for row in rows)]


def _is_number(cell: object) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _number(cell: object) -> float | None:
    """Returns the number in a cell; None for an empty cell. Raises ValueError for text."""
    return None if cell is None or cell == "" else float(str(cell))


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
