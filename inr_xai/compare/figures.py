"""The pictures of a comparison: a sheet of what each method keeps of each photo, and quality against passes.

The sheet is drawn on one matplotlib axes whose unit is an inch, so that its layout is plain arithmetic.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure
from torch import Tensor

from inr_xai.figures import figure_bytes
from inr_xai.figures.palette import COLOURS, FAINT, colour_of
from inr_xai.figures.pixels import overlay, pixels_of
from inr_xai.figures.saving import new_figure
from inr_xai.metrics.statistics.bootstrap import Interval
from inr_xai.runs.files import write_bytes
from inr_xai.types import Image

DOTS_PER_INCH = 120
GAP, METHOD_GAP = 0.04, 0.14  # inches between two pictures, and between two methods
HEAD, LABEL, FOOT = 0.55, 0.34, 0.4  # inches above all pictures, below each picture, and below all pictures
MARKERS = "osD^v"  # all colours have the first one, then all have the second


@dataclass(frozen=True)
class Photo:
    """A photo of the sheet.

    Args:
        image: the photo in the classifier's input frame, with values in [0, 1].
        class_name: the class that is explained.
        p_full: the probability of that class on the whole photo.
    """

    image: Image
    class_name: str
    p_full: float


@dataclass(frozen=True)
class KeptRegion:
    """What a method keeps of a photo.

    Args:
        hard: the hard mask of each area, True on the pixels that are kept.
        scores: the hard preservation of each area, as the mean over baselines.
    """

    hard: Bool[Tensor, "a h w"]
    scores: Sequence[float]


def draw_sheet(
    photos: Sequence[Photo],
    methods: Sequence[str],
    regions: Sequence[Mapping[str, KeptRegion]],
    *,
    areas: Sequence[float],
    file: Path,
    width: float = 1.25,
) -> None:
    """Writes a PNG with a row for each photo: the photo, then what each method keeps at each area, the score below.

    What is not kept is under grey. The best score of each photo and area is bold, also if several methods have it.

    Args:
        photos: the photos, all of one size.
        methods: names of the methods, from left to right.
        regions: for each photo, what each method keeps; a method without a region is shown as "no map".
        areas: the areas of the masks, in (0, 1) and in the masks' order.
        file: the PNG, which is written whole or not at all.
        width: width of one picture, in inches of 120 dots.

    Raises:
        ValueError: photos, regions, masks and areas do not fit together.
    """
    _check(photos, regions, areas)
    layout = _Layout(list(methods), list(areas), width, width * photos[0].image.shape[-2] / photos[0].image.shape[-1])
    right, bottom = layout.left(len(methods)), HEAD + len(photos) * (layout.height + LABEL)
    axis = _canvas(right, bottom + FOOT)
    _draw_heads(axis, layout)
    for place, (photo, of_photo) in enumerate(zip(photos, regions, strict=True)):
        _draw_row(axis, layout, photo, of_photo, top=HEAD + place * (layout.height + LABEL))
    note = "below each picture: mean probability of the class when only the clear part is kept; bold: the best"
    lines = textwrap.fill(note, round(right * 18))  # so many letters of this size fill an inch
    _write(axis, GAP, bottom + 0.04, lines, ha="left", va="top", size=7, color=FAINT)
    _save(axis.figure, file)


def draw_curve(
    points: Mapping[str, Sequence[tuple[float, Interval]]],
    *,
    file: Path,
    quality: str = "hard preservation / p of the photo",
) -> None:
    """Writes a PNG of quality against passes per photo (logarithmic): a line for each method, bars for the intervals.

    A method with one point is shown as a marker, and a method without passes as a dotted level.

    Args:
        points: for each method, (passes, quality) in any order. An interval with NaN ends has no bar.
        file: the PNG, which is written whole or not at all.
        quality: the label of the vertical axis.
    """
    figure = new_figure(6.4, 4.2)
    figure.set_layout_engine("constrained")
    axis = figure.subplots()
    handles = {name: _draw_line(axis, place, of_method) for place, (name, of_method) in enumerate(points.items())}
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
class _Layout:
    """The places of the pictures of a sheet, in inches."""

    methods: list[str]
    areas: list[float]
    width: float
    height: float

    @property
    def method_width(self) -> float:
        """The width of all pictures of one method."""
        return len(self.areas) * (self.width + GAP) - GAP

    def left(self, method: int, area: int = 0) -> float:
        """Returns the left edge of a picture; for the method after the last one, the right edge of the sheet."""
        return GAP + self.width + METHOD_GAP + method * (self.method_width + METHOD_GAP) + area * (self.width + GAP)


def _check(photos: Sequence[Photo], regions: Sequence[Mapping[str, KeptRegion]], areas: Sequence[float]) -> None:
    """Raises ValueError if photos, regions, masks and areas do not fit together."""
    if not photos or len(regions) != len(photos) or not areas:
        raise ValueError(
            f"expected a row per photo and at least one photo and area, got {len(photos)} photos, {len(regions)} rows "
            f"and {len(areas)} areas"
        )
    size = tuple(photos[0].image.shape[-2:])
    if any(tuple(photo.image.shape[-2:]) != size for photo in photos):
        raise ValueError("expected photos of one size, got several; give them in the classifier's input frame")
    for of_photo in regions:
        for name, region in of_photo.items():
            if tuple(region.hard.shape) != (len(areas), *size) or len(region.scores) != len(areas):
                raise ValueError(
                    f"expected {len(areas)} masks of {size} and as many scores, got masks {tuple(region.hard.shape)} "
                    f"and {len(region.scores)} scores of {name!r}"
                )


def _draw_heads(axis: Any, layout: _Layout) -> None:
    for method, name in enumerate(layout.methods):
        # A bold letter is about 0.62 of its size wide; an inch has 72 points.
        size = min(10.0, layout.method_width * 72 / (0.62 * max(1, len(name))))
        _write(axis, layout.left(method) + layout.method_width / 2, 0.16, name, size=size, weight="bold")
        for place, area in enumerate(layout.areas):
            centre = layout.left(method, place) + layout.width / 2
            _write(axis, centre, HEAD - 0.12, f"area {area:.3g}", color=FAINT)


def _draw_row(axis: Any, layout: _Layout, photo: Photo, regions: Mapping[str, KeptRegion], *, top: float) -> None:
    pixels = pixels_of(photo.image)
    label = f"{_shortened(photo.class_name, round(layout.width * 16))}\np = {photo.p_full:.2f}"
    _draw_picture(axis, layout, pixels, label, left=GAP, top=top)
    scores = [regions[name].scores for name in layout.methods if name in regions]
    best = [_best([of_method[area] for of_method in scores]) for area in range(len(layout.areas))]
    for method, name in enumerate(layout.methods):
        if name not in regions:
            centre = layout.left(method) + layout.method_width / 2
            _write(axis, centre, top + layout.height / 2, "no map", color=FAINT)
            continue
        for area, mask in enumerate(regions[name].hard):
            score = f"{regions[name].scores[area]:.2f}"
            weight = "bold" if score == best[area] else "normal"
            picture = overlay(pixels, mask.float().cpu().numpy())
            _draw_picture(axis, layout, picture, score, left=layout.left(method, area), top=top, weight=weight)


def _best(scores: Sequence[float]) -> str | None:
    """Returns the highest score as it is written; None if there is no score."""
    numbers = [score for score in scores if not np.isnan(score)]
    return f"{max(numbers):.2f}" if numbers else None


def _shortened(name: str, letters: int) -> str:
    return name if len(name) <= letters else name[: letters - 1].rstrip(" ,_-") + "…"


def _draw_picture(
    axis: Any, layout: _Layout, pixels: np.ndarray, label: str, *, left: float, top: float, **style: Any
) -> None:
    """Draws a picture with its label below."""
    axis.imshow(pixels, extent=(left, left + layout.width, top + layout.height, top), aspect="auto")
    _write(axis, left + layout.width / 2, top + layout.height + 0.03, label, va="top", **style)


def _write(axis: Any, x: float, y: float, text: str, **style: Any) -> None:
    centred = {"ha": "center", "va": "center", "size": 8}
    axis.text(x, y, text, parse_math=False, **(centred | style))  # names may hold dollar signs


def _draw_line(axis: Any, place: int, points: Sequence[tuple[float, Interval]]) -> Any:
    """Draws one method of a curve and returns what stands for it in the legend."""
    style = {"color": colour_of(place), "label": "_"}
    levels = [axis.axhline(value.value, linestyle=":", **style) for passes, value in points if passes <= 0]
    in_order = sorted(point for point in points if point[0] > 0)
    if levels and not in_order:
        return levels[0]
    marker = MARKERS[place // len(COLOURS) % len(MARKERS)]
    passes, values = [passes for passes, _ in in_order], [value for _, value in in_order]
    # With few photos the value may lie outside its interval; a bar of negative length is an error.
    bars = np.maximum([[v.value - v.low for v in values], [v.high - v.value for v in values]], 0)
    return axis.errorbar(passes, [v.value for v in values], bars, marker=marker, markersize=5, capsize=2.5, **style)


def _canvas(width: float, height: float) -> Any:
    """Returns one axes over a whole figure, in inches from the top left."""
    axis = new_figure(width, height).add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set_autoscale_on(False)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    return axis


def _save(figure: Figure, file: Path) -> None:
    write_bytes(file, figure_bytes(figure, dpi=DOTS_PER_INCH))
