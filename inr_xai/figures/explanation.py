"""The figure of one photo's explanations: the photo, all of them together, each at each area, and their curves."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from inr_xai.figures.content import FigureContent
from inr_xai.figures.contours import draw_contour, draw_number, draw_picture
from inr_xai.figures.curves import charts_of, draw_chart, percent
from inr_xai.figures.layout import LINE, MARGIN, PAGE_WIDTH, Layout, Rectangle, lay_out
from inr_xai.figures.palette import FAINT, INK, NOTHING, colour_of
from inr_xai.figures.pixels import enlarged, hatched, overlay, reduced
from inr_xai.figures.saving import new_figure
from inr_xai.figures.text import (
    FAMILY,
    LARGE_TEXT,
    NORMAL,
    SMALL,
    first_that_fits,
    printable,
    shortened,
    width_of,
    wrapped,
    write,
)

RIGHT, WRONG = "#005500", "#b00020"


def draw_explanation(content: FigureContent, *, axes: Any = None, cell: float | None = None) -> Figure:
    """Returns the figure of a photo's explanations.

    It has the photo with its class and prediction, an overlay of all explanations at the middle area, the curves of the
    scores, and a row for each explanation with a column for each area; with one or two areas, several explanations
    share a row. An explanation that carries no more than chance is grey and hatched.

    Args:
        axes: matplotlib axes, which then get the overlay alone with a short title; None makes a new figure.
        cell: the width of a column of areas in inches; None fits the figure on a page.

    Returns:
        The figure, or that of the axes.
    """
    content = _in_print(content)
    if axes is not None:
        _draw_all(axes, content)
        title = _around(printable(content.target), "", f", {_whole(content)}", 3.0)
        axes.set_title(title, size=NORMAL, family=FAMILY, parse_math=False, usetex=False)
        return axes.get_figure(root=True)
    note = wrapped(_note(content), PAGE_WIDTH - 2 * MARGIN, SMALL)
    k, a, height, width = content.masks.shape
    head = 1 + bool(content.title) + (content.predicted is not None)
    captions = [_in_one_line(_caption(content, *place)) for place in np.ndindex(k, a)]
    caption = max(width_of(text, SMALL) for text in captions) + 0.05
    layout = lay_out(k, a, height / width, head=head, foot=len(note), caption=caption, cell=cell)
    page = _Page(new_figure(layout.width, layout.height), layout)
    _draw_head(page, content)
    _draw_band(page, content)
    _draw_grid(page, content)
    for place, line in enumerate(note):
        page.write(MARGIN, layout.foot_top + place * LINE, line, size=SMALL, color=FAINT)
    return page.figure


@dataclass(frozen=True)
class _Page:
    """A figure whose unit is an inch from the top left corner."""

    figure: Figure
    layout: Layout

    def axes(self, box: Rectangle) -> Any:
        left, top, width, height = box
        across, down = self.layout.width, self.layout.height
        return self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        write(self.figure, x / self.layout.width, 1 - y / self.layout.height, text, **style)


def _draw_head(page: _Page, content: FigureContent) -> None:
    """Writes the photo's name, the class that is explained and the prediction, a line for each."""
    wide, top = page.layout.width - 2 * MARGIN, MARGIN
    if content.title:
        page.write(MARGIN, top, shortened(content.title, wide, LARGE_TEXT, bold=True), size=LARGE_TEXT, weight="bold")
        top += LINE + 0.02
    page.write(MARGIN, top, _around(content.target, "explained: ", f", {_whole(content)} for the whole photo", wide))
    if content.predicted is None:
        return
    top += LINE + 0.02
    probability = "" if content.p_predicted is None else f", p = {content.p_predicted:.2f}"
    text = _around(content.predicted, "predicted: ", probability, wide - 0.6)
    page.write(MARGIN, top, text)
    if content.right is not None:
        verdict, colour = ("right", RIGHT) if content.right else ("wrong", WRONG)
        page.write(MARGIN + width_of(text, NORMAL) + 0.1, top, verdict, weight="bold", color=colour)


def _draw_band(page: _Page, content: FigureContent) -> None:
    """Draws the photo, all explanations in one picture, and the charts."""
    size = content.photo.shape[:2]
    boxes = [page.layout.band(place) for place in (0, 1)]
    photo, together = (page.axes(box) for box in boxes)
    draw_picture(photo, content.photo, size)
    _draw_all(together, content)
    area = percent(content.areas[content.middle])
    for box, text in zip(boxes, ("photo", f"explanations at {area}"), strict=True):
        page.write(box[0], box[1] - 0.17, text, size=NORMAL)
    charts = charts_of(content)
    for place, (title, scores, chance) in enumerate(charts):
        box = page.layout.charts(len(charts))[place]
        axes = page.axes(box)
        draw_chart(axes, content, scores, chance)
        axes.tick_params(labelleft=place == 0)
        page.write(box[0], box[1] - 0.17, title, size=NORMAL)


def _draw_all(axes: Any, content: FigureContent) -> None:
    """Draws the overlay of all explanations at the middle area, each in its colour with its number."""
    masks = np.nan_to_num(content.masks[:, content.middle])
    picture = overlay(content.photo, masks.max(0))
    for mask, carries in zip(masks, content.carries, strict=True):
        picture = hatched(enlarged(picture), enlarged(mask)) if carries is False else picture
    draw_picture(axes, picture, content.photo.shape[:2])
    for k, mask in enumerate(masks):
        draw_contour(axes, mask, _colour(content, k))
    for k, mask in enumerate(masks):
        draw_number(axes, mask, k + 1, _colour(content, k))


def _draw_grid(page: _Page, content: FigureContent) -> None:
    """Draws each explanation at each area, with its name above and the scores below."""
    layout = page.layout
    for k in range(layout.explanations):
        left, top = layout.block(k)
        name = first_that_fits(_names(content, k), layout.block_width, NORMAL, bold=True)
        page.write(left, top + 0.02, name, weight="bold", color=_colour(content, k))
        for a, area in enumerate(content.areas):
            left, top, width, height = box = layout.picture(k, a)
            if k < layout.side_by_side:
                page.write(
                    left + width / 2, layout.block(k)[1] - 0.15, f"area {percent(area)}", ha="center", color=FAINT
                )
            axes, mask = page.axes(box), content.masks[k, a]
            picture = overlay(content.photo, mask)
            if content.carries[k] is False:
                picture = hatched(enlarged(picture), enlarged(mask))
            draw_picture(axes, picture, content.photo.shape[:2])
            draw_contour(axes, mask, _colour(content, k))
            lines = _caption(content, k, a)
            if layout.caption_lines == 1:
                lines = [(_in_one_line(lines), INK)]
            for place, (text, colour) in enumerate(lines):
                style = {"size": SMALL, "ha": "center", "color": colour}
                page.write(left + width / 2, top + height + 0.04 + place * (LINE - 0.02), text, **style)


def _names(content: FigureContent, k: int) -> list[str]:
    """Returns what may stand above an explanation's pictures, from the longest to the shortest."""
    if content.carries[k] is not False:
        return [f"explanation {k + 1}"]
    return [f"explanation {k + 1}: carries no more than chance", f"{k + 1}: no more than chance", f"{k + 1}: chance"]


def _caption(content: FigureContent, k: int, a: int) -> list[tuple[str, str]]:
    """Returns the lines below a picture with their colours."""
    lines = [(_score(content.score_name, content.kept[k, a]), INK), (f"chance {content.chance[k, a]:.2f}", FAINT)]
    return [
        line for line, value in zip(lines, (content.kept[k, a], content.chance[k, a]), strict=True) if value == value
    ]


def _in_one_line(lines: list[tuple[str, str]]) -> str:
    first, *rest = [text for text, _ in lines] or [""]
    return f"{first} ({rest[0]})" if rest else first


def _colour(content: FigureContent, k: int) -> str:
    return NOTHING if content.carries[k] is False else colour_of(k)


def _score(name: str, value: float) -> str:
    return f"{name} = {value:.2f}" if math.isfinite(value) else f"{name} unknown"


def _whole(content: FigureContent) -> str:
    return _score(content.score_name, content.whole)


def _around(name: str, before: str, after: str, inches: float) -> str:
    """Returns a class's name between two texts, cut so that the line is no wider than that."""
    return before + shortened(name, inches - width_of(before + after, NORMAL), NORMAL) + after


def _note(content: FigureContent) -> str:
    """Returns the sentences at the figure's foot, which say what is drawn."""
    name = content.score_name
    below = f"Below each picture: {name} of the class where only the clear part is kept, and what is grey replaced."
    kept = below if np.isfinite(content.kept).any() else ""
    chance = "Chance (dotted): random masks of the same area." if np.isfinite(content.chance).any() else ""
    level = f"Grey line: {name} of the whole photo." if charts_of(content) else ""
    return " ".join(part for part in (content.note or kept, chance, level) if part)


def _in_print(content: FigureContent) -> FigureContent:
    """Returns the content with a photo and masks of no more pixels than print can show."""
    photo = reduced(np.asarray(content.photo, dtype=np.float32))
    masks = np.nan_to_num(np.asarray(content.masks, dtype=np.float32))
    if photo.shape == content.photo.shape:
        return replace(content, photo=photo, masks=masks)
    smaller = np.stack([np.stack([reduced(mask) for mask in of_explanation]) for of_explanation in masks])
    return replace(content, photo=photo, masks=smaller)
