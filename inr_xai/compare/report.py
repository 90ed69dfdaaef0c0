"""The tables as files: CSV with every column, and Markdown to read, intervals in brackets behind their value."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from inr_xai.compare.sheet import curve
from inr_xai.compare.store import cell
from inr_xai.compare.tables import Line, Results, control_table, curve_table, methods_table, second_table
from inr_xai.metrics.statistics.bootstrap import Interval
from inr_xai.runs.files import format_csv, write_bytes

OURS = "inr"
"""Names of our methods begin so."""
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
"""Tables too wide to read, as several: the columns of each."""
TABLES = {"methods": methods_table, "control": control_table, "second": second_table, "curve": curve_table}


def tables(results: Results) -> dict[str, list[Line]]:
    """Every table that has a line."""
    return {name: lines for name, make in TABLES.items() if (lines := make(results))}


def write_tables(made: Mapping[str, Sequence[Line]], folder: Path) -> str:
    """Writes <name>.csv and <name>.md of each table, and returns the Markdown of all."""
    texts = []
    for name, lines in made.items():
        columns = list(dict.fromkeys(key for line in lines for key in line))
        rows = [{key: cell(line.get(key)) for key in columns} for line in lines]
        write_bytes(folder / f"{name}.csv", format_csv(rows, columns).encode())
        parts = [markdown(lines, only=only) for only in PARTS.get(name, (".*",))]
        texts.append("\n\n".join([f"## {name}", *parts, NOTES[name]]) + "\n")
        write_bytes(folder / f"{name}.md", texts[-1].encode())
    return "\n".join(texts)


def markdown(lines: Sequence[Line], *, only: str = ".*") -> str:
    """A table; a column with `_low` and `_high` beside it takes them in.

    Args:
        only: pattern of the columns that are shown.

    >>> print(markdown([{"method": "a", "kept": 0.5, "kept_low": 0.4, "kept_high": 0.61}, {"method": "b", "kept": 1}]))
    | method | kept |
    |---|---|
    | a | 0.500 [0.400, 0.610] |
    | b | 1 |
    """
    columns = dict.fromkeys(key for line in lines for key in line)
    ends = {f"{column}{end}" for column in columns for end in ("_low", "_high")}
    shown = [column for column in columns if column not in ends and re.fullmatch(only, column)]
    heads = [column.replace("_", " ") for column in shown]
    body = [[_shown(line, column) for column in shown] for line in lines]
    return "\n".join(["| " + " | ".join(row) + " |" for row in [heads, *body]]).replace(
        "\n", "\n|" + "---|" * len(heads) + "\n", 1
    )


def _shown(line: Line, column: str) -> str:
    value = _figure(line.get(column))
    low, high = (line.get(f"{column}{end}") for end in ("_low", "_high"))
    if low is None or high is None or math.isnan(low):
        return value
    return f"{value} [{_figure(low)}, {_figure(high)}]"


def _figure(value: object) -> str:
    """Three decimals, fewer of large numbers; a dash for what is not there."""
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def write_curve(results: Results, folder: Path) -> list[Path]:
    """Draws quality against passes, other methods as single points; no file where there is no curve."""
    ours = curve_table(results)
    if not ours:
        return []
    others = [line for line in methods_table(results) if not line["method"].startswith(OURS)]
    lines = {"inr": [_point(line) for line in ours]} | {line["method"]: [_point(line)] for line in others}
    file = folder / "curve.png"
    curve(lines, file=file)
    return [file]


def _point(line: Line) -> tuple[float, Interval]:
    value = Interval(line["preservation"], line["preservation_low"], line["preservation_high"])
    return line["passes"], value
