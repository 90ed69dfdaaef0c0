"""From rows of scores to the means of a run: per explanation and area, relative scores as ratios of means.

A ratio of means over images, since a mean of ratios explodes where p_full is small (METHOD, "Metrics", in
docs/method.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import fsum, nan

KEYS = frozenset({"sample_id", "image_id", "explanation", "area", "target", "label", "predicted"})
"""Columns that say which row it is and are no scores."""
ABSOLUTE = "p_full"
RELATIVE = (
    *(
        f"{game}_{kind}_{baseline}"
        for game, kind, baseline in product(
            ("preservation", "deletion"), ("hard", "soft"), ("blur", "grey", "noise", "photo", "mean")
        )
    ),
    "chance",
)
"""Columns that have a relative column `<column>_rel` in the summary."""
TABLE = {
    "area error": "area_error",
    "grayness": "grayness",
    "preservation": "preservation_hard_mean",
    "of p_full": "preservation_hard_mean_rel",
    "chance": "chance",
    "deletion": "deletion_hard_mean",
}

Row = Mapping[str, object]


def summarise(rows: Iterable[Row]) -> dict[str, int | float]:
    """`<column>/k<k>/a<area>`, a mean over images; `<column>/k<k>`, its mean over areas; and `images`, how many.

    `<column>_rel` is the column's mean over images divided by that of p_full (NaN where that is 0). Rows may come
    from a CSV: an empty cell does not enter a mean, and columns of text are left out.

    >>> rows = [{"sample_id": p, "explanation": 1, "area": 0.1, "p_full": p, "chance": 0.2} for p in (0.2, 0.6)]
    >>> round(summarise(rows)["chance_rel/k1/a0.1"], 6)
    0.5
    """
    groups: dict[tuple[int, float], list[Row]] = {}
    images = set()
    for row in rows:
        images.add(row["sample_id"])
        groups.setdefault((int(str(row["explanation"])), float(str(row["area"]))), []).append(row)
    summary: dict[str, int | float] = {"images": len(images)}
    over_areas: dict[str, list[float]] = {}
    names = _score_columns([row for group in groups.values() for row in group])
    for (explanation, area), group in sorted(groups.items()):
        for name, value in _means(group, names).items():
            summary[f"{name}/k{explanation}/a{area:g}"] = value
            over_areas.setdefault(f"{name}/k{explanation}", []).append(value)
    return summary | {key: _mean(values) for key, values in over_areas.items()}


def format_table(summary: Mapping[str, int | float], areas: Sequence[float], explanations: int) -> str:
    """The main means as aligned plain text: a row per explanation and area, then the mean over areas.

    What the summary does not have (an explanation that no image has) is a dash.
    """
    lines = [["explanation", "area", *TABLE]]
    for explanation in range(1, explanations + 1):
        ends = {f"{area:g}": f"/k{explanation}/a{area:g}" for area in sorted(areas)} | {"mean": f"/k{explanation}"}
        for area, end in ends.items():
            values = [summary.get(column + end) for column in TABLE.values()]
            lines.append([str(explanation), area, *("-" if value is None else f"{value:.3f}" for value in values)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _means(group: Sequence[Row], names: Sequence[str]) -> dict[str, float]:
    """Means over the images of one explanation and area, and the relative columns."""
    means = {}
    for name in names:
        values = [value for row in group if (value := _number(row.get(name))) is not None]
        if values:
            means[name] = _mean(values)
        if name in RELATIVE:
            pairs = [(_number(row.get(name)), _number(row.get(ABSOLUTE))) for row in group]
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
