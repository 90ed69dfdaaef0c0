"""The jobs of a sweep side by side: bars with their intervals, and a line for each job through all options and scores.

Nothing is drawn of more than MOST_JOBS jobs: the caller gives the best ones.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from inr_xai.figures.palette import COLOURS, FAINT, INK
from inr_xai.figures.saving import new_figure
from inr_xai.figures.text import FAMILY, SMALL, TEXT, printable, write
from inr_xai.types import Cell

MOST_JOBS = 40
OTHERS = "#9aa7b1"
"""Of the jobs that are not the best one."""


def draw_bars(
    names: Sequence[str], values: Sequence[tuple[float, float, float]], *, metric: str, best: int | None
) -> Figure:
    """Returns a figure with a bar for each job, and its interval as a line where it has one.

    Args:
        values: for each job the value with the ends of its interval, which may be NaN.
        best: the place of the best job, which has another colour.
    """
    figure = new_figure(7.0, 0.9 + 0.32 * len(names))
    axes = figure.add_axes((0.36, 0.55 / (0.9 + 0.32 * len(names)), 0.58, 1 - 0.9 / (0.9 + 0.32 * len(names))))
    for place, (value, low, high) in enumerate(values):
        axes.barh(place, value, height=0.62, color=COLOURS[0] if place == best else OTHERS)
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [place, place], color=INK, linewidth=1.4, marker="|", markersize=6)
        end = max(value, high) if math.isfinite(high) else value
        axes.annotate(
            f"{value:.3g}", (end, place), xytext=(4, 0), textcoords="offset points", va="center", size=SMALL, color=INK
        )
    axes.set_yticks(range(len(names)), [printable(_short(name)) for name in names], parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    label = printable(f"{metric}, with 95 % bootstrap intervals over images")
    axes.set_xlabel(label, size=SMALL, family=FAMILY, color=FAINT, parse_math=False)
    _set_style(axes)
    return figure


def draw_parallel(columns: Mapping[str, Sequence[Cell]], *, colour_by: str | None, best: int | None) -> Figure:
    """Returns a figure with an upright axis for each column, and a line for each job.

    Args:
        columns: name -> the value of each job: numbers on a scale of their own, text in the order in which it appears.
        colour_by: the column whose numbers give the lines their colours.
        best: the place of the best job, whose line is thick.
    """
    figure = new_figure(max(5.0, 1.7 * len(columns) + 1.2), 4.2)
    axes = figure.add_axes((0.04, 0.1, 0.92, 0.72))
    heights = np.array([_draw_axis(axes, place, name, cells) for place, (name, cells) in enumerate(columns.items())])
    shades = _scaled(columns[colour_by]) if colour_by else np.full(heights.shape[1], np.nan)
    for job, along in enumerate(heights.T):
        look: dict[str, Any] = {"color": COLOURS[0], "linewidth": 2.6, "zorder": 4}
        if job != best:
            shade = shades[job]
            look = {"color": OTHERS if math.isnan(shade) else _shade(shade), "linewidth": 1.2, "zorder": 3}
        axes.plot(range(len(along)), along, marker="o", markersize=3.5, **look)
    axes.set_xlim(-0.3, len(columns) - 0.4)
    axes.set_ylim(-0.06, 1.06)
    axes.set_axis_off()
    if best is not None:
        figure.text(0.5, 0.03, "the thick line is the best job", ha="center", size=SMALL, family=FAMILY, color=FAINT)
    return figure


def _draw_axis(axes: Any, place: int, name: str, cells: Sequence[Cell]) -> np.ndarray:
    """Draws an upright axis with its ticks, and returns the height of each cell in [0, 1]."""
    heights = _scaled(cells)
    axes.axvline(place, color="#cccccc", linewidth=1, zorder=1)
    words = "\n".join(printable(line) for line in textwrap.wrap(name.replace("_", " "), 18))
    axes.text(place, 1.1, words, **(TEXT | {"ha": "center", "va": "bottom", "size": SMALL}))
    shown: list[float] = []
    ticks = {(float(height), cell) for height, cell in zip(heights, cells, strict=True)}
    for height, cell in sorted(ticks, key=lambda tick: tick[0]):
        if math.isfinite(height) and all(abs(height - other) > 0.05 for other in shown):
            shown.append(height)
            text = f"{cell:.3g}" if isinstance(cell, int | float) else _short(str(cell), 14)
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
            write(axes, place + 0.05, height, text, zorder=5, va="center", size=SMALL, bbox=box)
    return heights


def _scaled(cells: Sequence[Cell]) -> np.ndarray:
    """Returns the place of each cell between the smallest and the largest, in [0, 1]; NaN for an empty one.

    >>> _scaled([1, 3, None, 2]).tolist(), _scaled(["a", "b", "a"]).tolist()
    ([0.0, 1.0, nan, 0.5], [0.0, 1.0, 0.0])
    """
    texts = list(dict.fromkeys(str(cell) for cell in cells if isinstance(cell, str)))
    places = [texts.index(cell) if isinstance(cell, str) else cell for cell in cells]
    numbers = np.array([math.nan if place is None else float(place) for place in places])
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return numbers
    span = float(finite.max() - finite.min())
    return (numbers - finite.min()) / span if span > 0 else np.where(np.isfinite(numbers), 0.5, np.nan)


def _shade(height: float) -> tuple[float, float, float]:
    """Returns a colour between light and dark blue for a number in [0, 1]."""
    light, dark = np.array([0.70, 0.80, 0.90]), np.array([0.03, 0.27, 0.50])
    mixed = light + height * (dark - light)
    return (float(mixed[0]), float(mixed[1]), float(mixed[2]))


def _short(text: str, most: int = 38) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _set_style(axes: Any) -> None:
    axes.tick_params(length=2, width=0.6, pad=3, labelsize=SMALL, labelcolor=INK, labelfontfamily=FAMILY)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_linewidth(0.6)
