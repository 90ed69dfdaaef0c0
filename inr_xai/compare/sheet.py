"""Pictures of a comparison: a sheet of what each method keeps of each photo, and quality against passes.

A sheet is drawn on one matplotlib axes whose unit is an inch, so that its layout is plain arithmetic.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from inr_xai.metrics.statistics.bootstrap import Interval
from inr_xai.runs.files import write_bytes
from inr_xai.types import Image

DOTS = 120  # an inch
FADED, VEIL = 0.8, 0.82  # the grey that covers what is not kept, and its weight against the photo in grey
GAP, BETWEEN = 0.04, 0.14  # inches between two pictures, and between two methods
HEAD, LINES, FOOT = 0.55, 0.34, 0.4  # inches above all pictures, below each picture, and below all
SIDE = "#555555"  # colour of what is said by the way
# Okabe and Ito's colours, which the colour-blind can tell apart; then again from the first, with another marker.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "osD^v"


@dataclass(frozen=True)
class Photo:
    """A photo in the classifier's input frame, values in [0, 1], the class explained, and its probability."""

    image: Image
    class_name: str
    p_full: float


@dataclass(frozen=True)
class KeptRegion:
    """What a method keeps of a photo at each area, and the score of each: hard preservation, mean over baselines."""

    hard: Bool[Tensor, "a h w"]
    scores: Sequence[float]


def draw_photos(
    photos: Sequence[Photo],
    names: Sequence[str],
    rows: Sequence[Mapping[str, KeptRegion]],
    *,
    areas: Sequence[float],
    file: Path,
    cell: float = 1.25,
) -> None:
    """Writes a PNG with a row per photo: the photo, then what each method keeps at each area with its score below.

    What is not kept is faded to grey. The best score at each area of a photo is bold, ties (as written) included.

    Args:
        photos: of one size.
        names: of the methods, from left to right.
        rows: per photo, by name of method; where one is missing (it failed, say) its place says so.
        areas: in (0, 1), in the order of the masks.
        file: written whole or not at all.
        cell: width of one picture in inches, at 120 dots an inch.

    Raises:
        ValueError: where photos, rows, masks and areas do not fit together.
    """
    _check(photos, rows, areas)
    grid = _Grid(list(names), list(areas), cell, cell * photos[0].image.shape[-2] / photos[0].image.shape[-1])
    width, end = grid.left(len(names)), HEAD + len(photos) * (grid.tall + LINES)
    axis = _canvas(width, end + FOOT)
    _draw_heads(axis, grid)
    for place, (photo, row) in enumerate(zip(photos, rows, strict=True)):
        _draw_row(axis, grid, photo, row, top=HEAD + place * (grid.tall + LINES))
    note = "below each picture: mean probability of the class when only the coloured part is kept; bold: the best"
    lines = textwrap.fill(note, round(width * 18))  # so many letters of this size fill an inch
    _write(axis, GAP, end + 0.04, lines, ha="left", va="top", size=7, color=SIDE)
    _save(axis.figure, file)


def faded(photo: np.ndarray, hard: np.ndarray) -> np.ndarray:
    """The photo where the mask is True, its trace under a light grey elsewhere; h x w x 3 in [0, 1].

    >>> bool(faded(np.zeros((1, 1, 3)), np.zeros((1, 1), dtype=bool))[0, 0, 0] == FADED * VEIL)
    True
    """
    trace = VEIL * FADED + (1 - VEIL) * photo.mean(-1, keepdims=True)
    return np.where(hard[..., None], photo, trace)


def curve(
    lines: Mapping[str, Sequence[tuple[float, Interval]]],
    *,
    file: Path,
    quality: str = "hard preservation / p of the photo",
) -> None:
    """Writes a PNG of quality against passes per photo (logarithmic), a line per method with bars for the intervals.

    A method with one point is a marker; one that asks the classifier for nothing (0 passes) is a dotted level.

    Args:
        lines: per method, (passes, quality) in any order. An interval with NaN ends has no bar.
        file: written whole or not at all.
        quality: what the vertical axis is called.
    """
    figure = _figure(6.4, 4.2)
    figure.set_layout_engine("constrained")
    axis = figure.subplots()
    handles = {name: _draw_line(axis, place, points) for place, (name, points) in enumerate(lines.items())}
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("forward and backward passes per photo")
    axis.set_ylabel(quality, parse_math=False)
    axis.grid(color="#e5e5e5", linewidth=0.6)
    axis.set_axisbelow(True)
    legend = axis.legend(
        list(handles.values()), list(handles), loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    _save(figure, file)


@dataclass(frozen=True)
class _Grid:
    """Where the pictures of a sheet lie, in inches."""

    names: list[str]
    areas: list[float]
    cell: float
    tall: float

    @property
    def group(self) -> float:
        """Width of one method."""
        return len(self.areas) * (self.cell + GAP) - GAP

    def left(self, method: int, area: int = 0) -> float:
        """Left edge of a picture; of the method after the last, the right end of the sheet."""
        return GAP + self.cell + BETWEEN + method * (self.group + BETWEEN) + area * (self.cell + GAP)


def _check(photos: Sequence[Photo], rows: Sequence[Mapping[str, KeptRegion]], areas: Sequence[float]) -> None:
    """Raises ValueError where photos, rows, masks and areas do not fit together."""
    if not photos or len(rows) != len(photos) or not areas:
        raise ValueError(
            f"expected a row per photo and at least one photo and area, got {len(photos)} photos, {len(rows)} rows "
            f"and {len(areas)} areas"
        )
    size = tuple(photos[0].image.shape[-2:])
    if any(tuple(photo.image.shape[-2:]) != size for photo in photos):
        raise ValueError("expected photos of one size, got several; give them in the classifier's input frame")
    for row in rows:
        for name, kept in row.items():
            if tuple(kept.hard.shape) != (len(areas), *size) or len(kept.scores) != len(areas):
                raise ValueError(
                    f"expected {len(areas)} masks of {size} and as many scores, got masks {tuple(kept.hard.shape)} "
                    f"and {len(kept.scores)} scores of {name!r}"
                )


def _draw_heads(axis: Any, grid: _Grid) -> None:
    for method, name in enumerate(grid.names):
        # A bold letter is about 0.62 of its size wide; an inch has 72 points.
        size = min(10.0, grid.group * 72 / (0.62 * max(1, len(name))))
        _write(axis, grid.left(method) + grid.group / 2, 0.16, name, size=size, weight="bold")
        for place, area in enumerate(grid.areas):
            _write(axis, grid.left(method, place) + grid.cell / 2, HEAD - 0.12, f"area {area:.3g}", color=SIDE)


def _draw_row(axis: Any, grid: _Grid, photo: Photo, row: Mapping[str, KeptRegion], *, top: float) -> None:
    pixels = _pixels(photo.image)
    label = f"{_shortened(photo.class_name, round(grid.cell * 16))}\np = {photo.p_full:.2f}"
    _draw_picture(axis, grid, pixels, label, left=GAP, top=top)
    scores = [row[name].scores for name in grid.names if name in row]
    best = [_best([some[area] for some in scores]) for area in range(len(grid.areas))]
    for method, name in enumerate(grid.names):
        if name not in row:
            _write(axis, grid.left(method) + grid.group / 2, top + grid.tall / 2, "no map", color=SIDE)
            continue
        for area, mask in enumerate(row[name].hard):
            score = f"{row[name].scores[area]:.2f}"
            weight = "bold" if score == best[area] else "normal"
            shown = faded(pixels, mask.cpu().numpy())
            _draw_picture(axis, grid, shown, score, left=grid.left(method, area), top=top, weight=weight)


def _best(scores: Sequence[float]) -> str | None:
    """The highest score as it is written; None where there is none."""
    known = [score for score in scores if not np.isnan(score)]
    return f"{max(known):.2f}" if known else None


def _shortened(name: str, letters: int) -> str:
    return name if len(name) <= letters else name[: letters - 1].rstrip(" ,_-") + "…"


def _pixels(image: Image) -> np.ndarray:
    """h x w x 3; a single channel is shown as grey."""
    photo = image.permute(1, 2, 0).clamp(0, 1).float().cpu().numpy()
    return np.broadcast_to(photo, (*photo.shape[:2], 3))


def _draw_picture(
    axis: Any, grid: _Grid, pixels: np.ndarray, label: str, *, left: float, top: float, **style: Any
) -> None:
    """A picture with its label below."""
    axis.imshow(pixels, extent=(left, left + grid.cell, top + grid.tall, top), aspect="auto")
    _write(axis, left + grid.cell / 2, top + grid.tall + 0.03, label, va="top", **style)


def _write(axis: Any, x: float, y: float, text: str, **style: Any) -> None:
    centred = {"ha": "center", "va": "center", "size": 8}
    axis.text(x, y, text, parse_math=False, **(centred | style))  # names may hold dollar signs


def _draw_line(axis: Any, place: int, points: Sequence[tuple[float, Interval]]) -> Any:
    """Draws one method of a curve and returns what stands for it in the legend."""
    style = {"color": COLOURS[place % len(COLOURS)], "label": "_"}
    asked = sorted(point for point in points if point[0] > 0)
    levels = [axis.axhline(value.value, linestyle=":", **style) for passes, value in points if passes <= 0]
    if levels and not asked:
        return levels[0]
    marker = MARKERS[place // len(COLOURS) % len(MARKERS)]
    values = [value for _, value in asked]
    # Of few photos the value may lie outside its interval, and no bar is shorter than nothing.
    bars = np.maximum([[v.value - v.low for v in values], [v.high - v.value for v in values]], 0)
    passes = [passes for passes, _ in asked]
    return axis.errorbar(passes, [v.value for v in values], bars, marker=marker, markersize=5, capsize=2.5, **style)


def _figure(width: float, height: float) -> Figure:
    """A figure of so many inches, outside pyplot's global state."""
    figure = Figure(figsize=(width, height), dpi=DOTS)
    FigureCanvasAgg(figure)
    return figure


def _canvas(width: float, height: float) -> Any:
    """One axes over a whole figure, in inches from the top left."""
    axis = _figure(width, height).add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set_autoscale_on(False)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    return axis


def _save(figure: Figure, file: Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    write_bytes(file, stream.getvalue())
