"""The scores of the explanations against their area: where only they are kept, and where they are taken out."""

from typing import Any

import numpy as np
from matplotlib.ticker import NullLocator

from inr_xai.figures.content import FigureContent
from inr_xai.figures.palette import FAINT, INK, NOTHING, colour_of
from inr_xai.figures.text import FAMILY, SMALL

MARKERS = "osD^v"
RULE = "#cccccc"


def charts_of(content: FigureContent) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    """Returns the charts that a figure has: the title, the scores (k x a), and those of chance if it shows them."""
    charts: list[tuple[str, np.ndarray, np.ndarray | None]] = []
    if np.isfinite(content.kept).any():
        charts.append((f"{content.score_name}, only this kept", content.kept, content.chance))
    if np.isfinite(content.removed).any():
        charts.append((f"{content.score_name}, this taken out", content.removed, None))
    return charts


def draw_chart(axes: Any, content: FigureContent, scores: np.ndarray, chance: np.ndarray | None) -> None:
    """Draws a line of scores against the area for each explanation, chance dotted, and the whole photo as a level.

    With one area the explanations lie side by side instead.
    """
    one = len(content.areas) == 1
    along = np.arange(1, len(scores) + 1) if one else np.log(content.areas)
    axes.axhline(content.whole, color=RULE, linewidth=1.0, zorder=1)
    for k, of_explanation in enumerate(scores):
        carries = content.carries[k] is not False
        at = along[k : k + 1] if one else along
        look = {"marker": MARKERS[k % len(MARKERS)], "markersize": 3.5, "color": colour_of(k) if carries else NOTHING}
        axes.plot(at, of_explanation, linewidth=1.3, linestyle="-" if carries else (0, (3, 1.5)), zorder=3, **look)
        if chance is not None:
            look = {"marker": "_", "markersize": 7} if one else {"linestyle": ":", "linewidth": 1.0}
            axes.plot(at, chance[k], color=FAINT, zorder=2, **look)
    labels = [str(place) for place in along] if one else [percent(area) for area in content.areas]
    _set_axes(axes, along, labels, "explanation" if one else "area kept" if chance is not None else "area taken out")
    _set_height(axes, content)


def percent(area: float) -> str:
    """Returns an area as it is written: 0.05 as 5%."""
    return f"{100 * area:.3g}%"


def _set_axes(axes: Any, along: np.ndarray, labels: list[str], name: str) -> None:
    low, high = float(along.min()), float(along.max())
    room = 0.08 * (high - low) or 0.5
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_minor_locator(NullLocator())
    nearest = 0.2 * (high - low)  # labels that are nearer would touch
    chosen: list[int] = []
    for place in np.argsort(along, kind="stable"):
        if not chosen or along[place] - along[chosen[-1]] >= nearest:
            chosen.append(int(place))
    axes.set_xticks(along[chosen], [labels[place] for place in chosen])
    axes.tick_params(length=2, width=0.6, pad=2, labelsize=SMALL, labelcolor=INK, labelfontfamily=FAMILY)
    axes.set_xlabel(name, size=SMALL, family=FAMILY, color=FAINT, labelpad=2)
    axes.set_facecolor("white")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_linewidth(0.6)


def _set_height(axes: Any, content: FigureContent) -> None:
    """Gives all charts of a figure the same heights, from 0 to 1 for probabilities."""
    values = np.concatenate([part.ravel() for part in (content.kept, content.removed, content.chance)])
    values = np.append(values, content.whole)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if low >= 0 and high <= 1:
        axes.set_ylim(-0.03, 1.05)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    else:
        room = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - room, high + room)
        axes.locator_params(axis="y", nbins=4)
