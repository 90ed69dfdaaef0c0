"""The charts of a sweep's jobs: what their bars, lines and labels say."""

import math

import numpy as np

from inr_xai.figures import figure_bytes
from inr_xai.figures.jobs import OTHERS, draw_bars, draw_parallel
from inr_xai.figures.palette import COLOURS


def test_a_bar_is_as_long_as_its_value_and_has_its_interval() -> None:
    figure = draw_bars(["a=1", "a=2"], [(0.5, 0.4, 0.7), (0.25, math.nan, math.nan)], metric="kept", best=0)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.25]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0.4, 0.7]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a=1", "a=2"]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
    assert figure_bytes(figure, dpi=50).startswith(b"\x89PNG")


def test_a_line_goes_through_the_values_of_its_job() -> None:
    columns = {"inr": ["siren", "fourier", "siren"], "steps": [10, 20, None], "kept": [0.5, 0.25, 1.0]}
    figure = draw_parallel(columns, colour_by="kept", best=2)
    (axes,) = figure.axes
    jobs = [line for line in axes.lines if line.get_marker() == "o"]
    heights = [np.asarray(line.get_ydata(), float) for line in jobs]
    assert np.array_equal(heights, [[0, 0, 1 / 3], [1, 1, 0], [0, math.nan, 1]], equal_nan=True)
    assert jobs[2].get_color() == COLOURS[0]
    assert OTHERS not in {line.get_color() for line in jobs}
    texts = {text.get_text() for text in axes.texts}
    assert {"inr", "steps", "kept", "siren", "fourier", "10", "20", "0.25", "1"} <= texts
    assert figure_bytes(figure, dpi=50).startswith(b"\x89PNG")


def test_text_of_options_is_drawn_as_it_is_written() -> None:
    odd = "$x_{1$\u4e00"  # no formula, and a letter that the font lacks
    bars = draw_bars([odd], [(0.5, 0.4, 0.7)], metric=odd, best=None)
    lines = draw_parallel({odd: [odd, "b"], "kept": [0.1, 0.5]}, colour_by="kept", best=None)
    shown = "$x_{1$\N{REPLACEMENT CHARACTER}"
    for figure in (bars, lines):
        figure_bytes(figure)  # it would fail, or warn
    assert [label.get_text() for label in bars.axes[0].get_yticklabels()] == [shown]
    assert shown in [text.get_text() for text in lines.axes[0].texts]
