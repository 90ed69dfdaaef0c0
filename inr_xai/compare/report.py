"""The tables of a comparison as files: CSV with every column, and Markdown with the intervals in brackets."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from inr_xai.compare.figures import draw_curve
from inr_xai.compare.store import format_cell
from inr_xai.compare.tables import ScoredMethods, control_table, curve_table, methods_table, second_table
from inr_xai.metrics.statistics.bootstrap import Interval
from inr_xai.runs.files import all_columns, format_csv, markdown_table, write_bytes
from inr_xai.types import Row

OURS = "inr"
"""Begins the names of our methods."""
NOTES = {
    "methods": (
        "Maps made hard at the same areas; means over areas and the baselines blur, grey, noise and photo. "
        "preservation: probability of the class where only the mask is kept, over that of the photo (ratio of means; "
        "in brackets the 95 % bootstrap interval over photos); unseen: under noise and photo alone, which no fit uses. "
        "deletion: probability where the mask is taken out, lower is better. area error, grayness, nesting violation: "
        "of methods with a mask for each area. seconds and passes (forward and backward of one image): of one photo, "
        "all areas."
    ),
    "control": (
        "Fits for a class that the photo does not show: the probability that they reach for it, beside that of the "
        "true class on the same photos. excess: true less wrong, with the 95 % bootstrap interval; p_value: paired "
        "sign-flip test."
    ),
    "second": (
        "The second explanation, which shares no pixel with the first, beside Grad-CAM's map and random smooth masks "
        "in the same free region."
    ),
    "curve": "Our fits of different length.",
}
PARTS = {
    "methods": (
        r"method|photos|failed|preservation|preservation_unseen|deletion(_relative)?",
        r"method|preservation_(?!unseen).*",
        r"method|area_error|grayness|nesting_violation|components|perimeter|seed_iou.*|seconds|passes|layer",
    )
}
"""A table that is too wide to read is shown as several: a pattern of the columns of each."""
TABLES = {"methods": methods_table, "control": control_table, "second": second_table, "curve": curve_table}


def make_tables(methods: ScoredMethods) -> dict[str, list[Row]]:
    """Returns every table that has a row, by name."""
    return {name: rows for name, make in TABLES.items() if (rows := make(methods))}


def write_tables(tables: Mapping[str, Sequence[Row]], folder: Path) -> str:
    """Writes <name>.csv and <name>.md of each table, and returns the Markdown of all."""
    texts = []
    for name, rows in tables.items():
        parts = [format_markdown(rows, only=pattern) for pattern in PARTS.get(name, (".*",))]
        texts.append(write_table(name, rows, folder, parts=parts, note=NOTES[name]))
    return "\n".join(texts)


def write_table(name: str, rows: Sequence[Row], folder: Path, *, parts: Sequence[str], note: str) -> str:
    """Writes <name>.csv and <name>.md of one table, and returns its Markdown.

    Args:
        parts: the table as Markdown, in one part or several.
        note: explains the columns; it stands below the table.
    """
    columns = all_columns(rows)
    cells = [{key: format_cell(row.get(key)) for key in columns} for row in rows]
    text = "\n\n".join([f"## {name}", *parts, note]) + "\n"
    write_bytes(folder / f"{name}.csv", format_csv(cells, columns).encode())
    write_bytes(folder / f"{name}.md", text.encode())
    return text


def format_markdown(rows: Sequence[Row], *, only: str = ".*") -> str:
    """Returns a table as Markdown; the columns `x_low` and `x_high` are shown in brackets behind `x`.

    Args:
        only: a pattern of the columns that are shown.

    >>> rows = [{"method": "a", "kept": 0.5, "kept_low": 0.4, "kept_high": 0.61}, {"method": "b", "kept": 1}]
    >>> print(format_markdown(rows))
    | method | kept |
    |---|---|
    | a | 0.500 [0.400, 0.610] |
    | b | 1 |
    """
    columns = all_columns(rows)
    ends = {f"{column}{end}" for column in columns for end in ("_low", "_high")}
    shown = [column for column in columns if column not in ends and re.fullmatch(only, column)]
    head = [column.replace("_", " ") for column in shown]
    cells = [[_format_interval(row, column) for column in shown] for row in rows]
    return markdown_table(head, cells, tight_rules=True).rstrip("\n")


def _format_interval(row: Row, column: str) -> str:
    value = _format_number(row.get(column))
    low, high = (row.get(f"{column}{end}") for end in ("_low", "_high"))
    if low is None or high is None or math.isnan(low):
        return value
    return f"{value} [{_format_number(low)}, {_format_number(high)}]"


def _format_number(value: object) -> str:
    """Returns a number with three decimals, or fewer if it is large; a dash for None and NaN."""
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def write_curve(methods: ScoredMethods, folder: Path) -> list[Path]:
    """Draws quality against passes, with other methods as single points, and returns the file.

    No file is written if no fit of another length was compared.
    """
    ours = curve_table(methods)
    if not ours:
        return []
    others = [row for row in methods_table(methods) if not row["method"].startswith(OURS)]
    points = {OURS: [_point(row) for row in ours]} | {row["method"]: [_point(row)] for row in others}
    file = folder / "curve.png"
    draw_curve(points, file=file)
    return [file]


def _point(row: Row) -> tuple[float, Interval]:
    """Returns passes and quality of a method."""
    return row["passes"], Interval(row["preservation"], row["preservation_low"], row["preservation_high"])
