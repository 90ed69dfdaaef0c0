"""From rows of scores to the means of a run: per explanation and area, relative scores as ratios of means.

A ratio of means over images, since a mean of ratios explodes where p_full is small (METHOD, "Metrics", in
docs/method.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum, nan

from inr_xai.columns import RELATIVE, WHOLE

KEYS = frozenset({"sample_id", "image_id", "explanation", "area", "target", "label", "predicted"})
"""Columns that say which row it is and are no scores."""
TABLE = {
    "area error": "area_error",
    "grayness": "grayness",
    "preservation": "preservation_hard_mean",
    "of p_full": "preservation_hard_mean_rel",
    "chance": "chance",
    "deletion": "deletion_hard_mean",
}
TABLE_OF_SEVERAL = {"union": "union_hard_mean", "remaining": "remaining_hard_mean"}
"""What the printed table adds where there are several explanations."""

Row = Mapping[str, object]


def summarise(rows: Iterable[Row]) -> dict[str, int | float]:
    """`<column>/k<k>/a<area>`, a mean over images; `<column>/k<k>`, its mean over areas; and `images`, how many.

    Images may have different numbers of explanations: means are over the `images/k<k>` images that have the k-th, and
    `explanations/mean` is how many an image has. `<column>_rel` is the column's mean over images divided by that of
    p_full (NaN where that is 0). Rows may come from a CSV: an empty cell does not enter a mean, and columns of text
    are left out.

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
    """The main means as aligned plain text: a row per explanation and area, then the mean over areas.

    What the summary does not have (an explanation that no image has) is a dash. How many images have an explanation is
    said where these numbers differ.
    """
    columns = TABLE | TABLE_OF_SEVERAL if explanations > 1 else TABLE
    images = [summary.get(f"images/k{k}", 0) for k in range(1, explanations + 1)]
    ragged = len({count for count in images if count}) > 1
    lines = [["explanation", *(["images"] if ragged else []), "area", *columns]]
    for explanation in range(1, explanations + 1):
        ends = {f"{area:g}": f"/k{explanation}/a{area:g}" for area in sorted(areas)} | {"mean": f"/k{explanation}"}
        for area, end in ends.items():
            values = [summary.get(column + end) for column in columns.values()]
            first = [str(explanation), *([str(images[explanation - 1])] if ragged else []), area]
            lines.append(first + ["-" if value is None else f"{value:.3f}" for value in values])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _counts(images: Mapping[int, set[object]]) -> dict[str, int | float]:
    """How many images there are, how many have a k-th explanation, and how many explanations an image has."""
    counts: dict[str, int | float] = {"images": len(set().union(*images.values()))}
    counts |= {f"images/k{k}": len(have) for k, have in sorted(images.items())}
    if images:
        counts["explanations/mean"] = sum(len(have) for have in images.values()) / counts["images"]
    return counts


def _means(group: Sequence[Row], names: Sequence[str]) -> dict[str, float]:
    """Means over the images of one explanation and area, and the relative columns."""
    means = {}
    for name in names:
        values = [value for row in group if (value := _number(row.get(name))) is not None]
        if values:
            means[name] = _mean(values)
        if name in RELATIVE:
            pairs = [(_number(row.get(name)), _number(row.get(WHOLE))) for row in group]
            both = [(value, full) for value, full in pairs if value is not None and full is not None]
            full = fsum(full for _, full in both)
            if both:
                means[f"{name}_rel"] = fsum(value for value, _ in both) / full if full else nan
    return means


def _score_columns(rows: Sequence[Row]) -> list[str]:
    """Names of the columns of numbers, in the order in which they appear."""
    names = dict.fromkeys(name for row in rows for name in row if name not in KEYS)
    return [name for name in names if all(_is_number(row.get(name)) for row in rows)]


def _is_number(cell: object) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _number(cell: object) -> float | None:
    """The cell's value; None where it is empty. Raises ValueError where it is text."""
    return None if cell is None or cell == "" else float(str(cell))


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
