"""The colours are told apart by normal and colour-blind eyes, and contours show on every ground."""

import itertools

import numpy as np
import pytest

from inr_xai.figures.palette import COLOURS, DARK_EDGE, FAINT, INK, LIGHT_EDGE, NOTHING, colour_of
from tests.helpers.colours import VISION, ciede2000, contrast, lab, seen, smallest_difference, srgb

WHITE = np.ones(3)
SHARMA = """
50 2.6772 -79.7751 50 0 -82.7485 2.0425
50 3.1571 -77.2803 50 0 -82.7485 2.8615
50 2.8361 -74.0200 50 0 -82.7485 3.4412
50 -1.3802 -84.2814 50 0 -82.7485 1.0000
50 -1.1848 -84.8006 50 0 -82.7485 1.0000
50 -0.9009 -85.5211 50 0 -82.7485 1.0000
50 0 0 50 -1 2 2.3669
50 -1 2 50 0 0 2.3669
50 2.4900 -0.0010 50 -2.4900 0.0009 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0010 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0011 7.2195
50 2.4900 -0.0010 50 -2.4900 0.0012 7.2195
50 -0.0010 2.4900 50 0.0009 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0010 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0011 -2.4900 4.7461
50 2.5 0 50 0 -2.5 4.3065
50 2.5 0 73 25 -18 27.1492
50 2.5 0 61 -5 29 22.8977
50 2.5 0 56 -27 -3 31.9030
50 2.5 0 58 24 15 19.4535
50 2.5 0 50 3.1736 0.5854 1.0000
50 2.5 0 50 3.2972 0 1.0000
50 2.5 0 50 1.8634 0.5757 1.0000
50 2.5 0 50 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""
"""The pairs of L*a*b* colours, with their difference, of Sharma et al. 2005, table 1."""


def test_differences_of_colours_are_those_published() -> None:
    pairs = np.array([line.split() for line in SHARMA.strip().splitlines()], dtype=float)
    assert len(pairs) == 34
    for first, second in ((pairs[:, :3], pairs[:, 3:6]), (pairs[:, 3:6], pairs[:, :3])):
        assert ciede2000(first, second) == pytest.approx(pairs[:, 6], abs=5.1e-5)


def test_contrast_and_lightness_of_known_colours() -> None:
    assert contrast(WHITE, np.zeros(3)) == pytest.approx(21)
    assert contrast(srgb("#767676"), WHITE) == pytest.approx(4.54, abs=0.005)
    assert lab(srgb("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    for vision in VISION:
        assert seen(np.full(3, 0.5), vision) == pytest.approx(np.full(3, 0.5), abs=1e-4)  # greys stay grey


@pytest.mark.parametrize("vision", VISION)
def test_five_colours_are_told_apart_by_everyone(vision: str) -> None:
    colours = np.array([srgb(colour) for colour in COLOURS])
    assert len(colours) >= 5
    assert smallest_difference(colours, vision) >= 21.5
    grey = lab(seen(srgb(NOTHING), vision))
    assert ciede2000(lab(seen(colours, vision)), grey).min() >= 15


def test_one_edge_of_a_contour_shows_on_any_ground() -> None:
    steps = np.linspace(0, 1, 18)
    grounds = np.array(list(itertools.product(steps, repeat=3)))
    greys = np.repeat(np.linspace(0, 1, 1001)[:, None], 3, axis=1)
    for ground in (grounds, greys):
        best = np.maximum(contrast(ground, srgb(DARK_EDGE)), contrast(ground, srgb(LIGHT_EDGE)))
        assert best.min() >= 4.3


def test_lines_and_text_show_on_white() -> None:
    assert min(float(contrast(srgb(colour), WHITE)) for colour in (*COLOURS, NOTHING)) >= 3  # also beside a light edge
    assert min(float(contrast(srgb(colour), WHITE)) for colour in (INK, FAINT)) >= 7


def test_a_sixth_explanation_has_the_first_colour_again() -> None:
    assert [colour_of(place) for place in range(6)] == [*COLOURS, COLOURS[0]]
