"""The figure says what a stranger asks, at sizes that print, and nothing of it lies on anything else."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from inr_xai.figures import FigureContent, draw_explanation, figure_bytes
from inr_xai.figures.palette import COLOURS, NOTHING
from tests.helpers.colours import srgb
from tests.helpers.figures import AREAS, content, pixels, texts

NAN = float("nan")
ODD = "price $\\x$ off _{a}^b \ud800\n日本 \u202e" + "x" * 300


def picture_of(axes: Any, drawn: np.ndarray) -> np.ndarray:
    """Returns the part of a drawn figure where the axes are."""
    box = axes.get_position()
    top, bottom = (round((1 - edge) * drawn.shape[0]) for edge in (box.y1, box.y0))
    left, right = (round(edge * drawn.shape[1]) for edge in (box.x0, box.x1))
    return drawn[top:bottom, left:right]


def count(drawn: np.ndarray, colour: str) -> int:
    return int((drawn == np.round(srgb(colour) * 255)).all(-1).sum())


def test_everything_known_is_said() -> None:
    known = {"predicted": "goldfish", "p_predicted": 0.41, "right": False, "title": "n01440764_tench"}
    written = texts(draw_explanation(content(carries=(True, False), **known)))
    for text in (
        "n01440764_tench",
        "explained: tench, p = 0.93 for the whole photo",
        "predicted: goldfish, p = 0.41",
        "wrong",
        "explanations at 10%",
        "explanation 1",
        "explanation 2: carries no more than chance",
        *("area 5%", "area 10%", "area 20%"),
        *("p = 0.20 (chance 0.05)", "p = 0.90 (chance 0.23)"),
    ):
        assert text in written


def test_what_is_unknown_is_not_said() -> None:
    unknown = np.full((2, 3), NAN)
    figure = draw_explanation(content(whole=NAN, kept=unknown, removed=unknown, chance=unknown))
    written = " ".join(texts(figure))
    assert "nan" not in written
    assert not any(word in written for word in ("predicted", "right", "wrong", "chance", "only this kept"))
    assert len(figure.axes) == 2 + 2 * 3  # no charts
    assert len(draw_explanation(content(removed=unknown)).axes) == 2 + 1 + 2 * 3


def test_scores_that_are_no_probabilities_have_their_name_and_a_chart_that_holds_them() -> None:
    figure = draw_explanation(content(kept=np.full((2, 3), -7.5), whole=12.0, score_name="logit"))
    assert "logit = -7.50 (chance 0.05)" in texts(figure)
    low, high = figure.axes[2].get_ylim()
    assert low < -7.5 < 12 < high


def test_charts_show_the_scores_of_each_explanation() -> None:
    shown = content(areas=(0.2, 0.05, 0.1))
    _, _, kept, removed = draw_explanation(shown).axes[:4]
    lines = [line for line in kept.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3]
    assert [line.get_ydata().tolist() for line in lines] == shown.kept.tolist()
    assert np.exp(lines[0].get_xdata()) == pytest.approx(shown.areas)
    assert [line.get_ydata().tolist() for line in removed.lines[1:]] == shown.removed.tolist()
    assert [line.get_color() for line in removed.lines[1:]] == list(COLOURS[:2])


def test_pictures_are_clear_where_the_mask_is_one() -> None:
    """The photo is white; so are the page and the contours' light edges, so the masks are counted on a red one."""
    shown = content(photo=np.ones((64, 64, 3)) * [1, 0, 0])
    figure = draw_explanation(shown)
    drawn = pixels(figure, dpi=200)
    heights = {}
    for axes, (k, a) in zip(figure.axes[4:], itertools.product(range(2), range(3)), strict=True):
        part = picture_of(axes, drawn)
        heights[k, a] = (part == (255, 0, 0)).all(-1).sum() / part[..., 0].size
        assert count(part, COLOURS[k]) > 100
        assert count(part, COLOURS[1 - k]) == 0
    for (_, a), share in heights.items():
        assert share == pytest.approx(AREAS[a], abs=0.045)  # the contour covers the mask's edge
        assert share > 0.01


def test_an_explanation_that_carries_nothing_is_grey_and_hatched() -> None:
    red = np.ones((64, 64, 3)) * [1, 0, 0]
    for carries, colour, other in ((False, NOTHING, COLOURS[0]), (None, COLOURS[0], NOTHING)):
        figure = draw_explanation(content(1, (0.3,), photo=red, carries=(carries,)))
        drawn = pixels(figure, dpi=150)
        part = picture_of(figure.axes[-1], drawn)
        assert count(part, colour) > 100
        assert count(part, other) == 0
        assert (count(part, "#ff0000") == 0) == (carries is False)
        (name,) = [text for text in figure.texts if text.get_text().startswith(("explanation 1", "1:"))]
        assert name.get_color() == colour


@pytest.mark.parametrize(
    "shown",
    [
        content(1, (0.1,)),
        content(5, (0.1,)),
        content(3, (0.1, 0.2)),
        content(5, (0.02, 0.05, 0.1, 0.2, 0.3, 0.4), carries=(True, False, None, True, False)),
        content(2, size=(48, 120), carries=(False, False)),
        content(2, size=(160, 40)),
        content(1, (0.3,), size=(1, 1)),
        content(
            2, size=(32, 32), target=ODD, predicted=ODD, title=ODD, p_predicted=0.2, right=True, score_name="logit"
        ),
    ],
    ids=["1x1", "5x1", "3x2", "5x6", "wide", "tall", "pixel", "odd"],
)
@pytest.mark.slow
def test_nothing_overlaps_or_leaves_the_figure_and_all_text_prints(shown: FigureContent) -> None:
    figure = draw_explanation(shown)
    figure.draw_without_rendering()
    whole = figure.bbox
    written = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert min(text.get_size() for text in written) >= 7
    boxes = [text.get_window_extent() for text in figure.texts]
    labels = [text.get_window_extent() for text in written if text not in figure.texts]
    pictures = [axes.get_window_extent() for axes in figure.axes]
    for box in (*boxes, *labels, *pictures):
        assert whole.x0 <= box.x0
        assert box.x1 <= whole.x1
        assert whole.y0 <= box.y0
        assert box.y1 <= whole.y1
    for first, second in itertools.combinations([*boxes, *pictures], 2):
        assert not overlap(first, second)
    for label, box in itertools.product(labels, boxes):
        assert not overlap(label, box)


def overlap(first: Bbox, second: Bbox) -> bool:
    """Returns whether two boxes share more than a seam; the box of a line of text is taller than its letters."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return width > 1 and height > 3


@pytest.mark.parametrize("mask", [np.nan, 0.0, 1.0])
def test_masks_that_keep_nothing_or_everything_have_no_contour(mask: float) -> None:
    shown = content(1, (0.1,))
    figure = draw_explanation(dataclasses.replace(shown, masks=np.full_like(shown.masks, mask)))
    assert not any(axes.collections for axes in figure.axes)
    assert figure_bytes(figure).startswith(b"\x89PNG")


def test_a_large_photo_is_drawn_with_fewer_pixels() -> None:
    figure = draw_explanation(content(1, (0.1,), size=(2200, 1500)))
    assert {image.get_array().shape for axes in figure.axes for image in axes.images} == {(733, 500, 3)}


def test_given_axes_get_the_overlay_alone() -> None:
    figure = Figure(figsize=(3, 3))
    axes = figure.subplots()
    assert draw_explanation(content(3), axes=axes) is figure
    assert figure.axes == [axes]
    assert axes.get_title() == "tench, p = 0.93"
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
    assert axes.axis() == (-0.5, 63.5, 63.5, -0.5)
    drawn = pixels(figure)
    assert all(count(drawn, colour) > 20 for colour in COLOURS[:3])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"photo": np.ones((64, 64))}, "photo must be h x w x 3"),
        ({"masks": np.ones((2, 3, 64, 63))}, "masks must be k x a x h x w"),
        ({"masks": np.ones((0, 3, 64, 64))}, "masks must be k x a x h x w"),
        ({"areas": (0.1,), "masks": np.ones((2, 3, 64, 64))}, "areas must have an entry for each of the 3 masks"),
        ({"chance": np.ones((3, 2))}, r"chance must have the shape \(2, 3\)"),
        ({"carries": (True,)}, "carries must have an entry for each of the 2 explanations"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        content(**{"areas": AREAS} | fields)
