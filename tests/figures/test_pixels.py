"""What a mask leaves out is told from what it keeps on every ground, and pictures keep their pixels."""

import numpy as np
import pytest
import torch

from inr_xai.figures.pixels import CONTRAST, DARK, LIGHT, enlarged, hatched, left_out, overlay, pixels_of, reduced
from tests.helpers.colours import ciede2000, lab

BUSY = np.random.default_rng(0).random((64, 64, 3))


def difference(photo: np.ndarray) -> np.ndarray:
    """Returns how much each pixel differs from itself where a mask leaves it out."""
    return ciede2000(lab(photo), lab(left_out(photo)))


@pytest.mark.parametrize(
    ("photo", "least"),
    [
        (np.zeros((8, 8, 3)), 50),
        (np.ones((8, 8, 3)), 45),
        (np.full((8, 8, 3), 0.5), 20),
        (BUSY, 30),
        (BUSY * 0.15, 50),
        (1 - BUSY * 0.15, 40),
    ],
    ids=["black", "white", "grey", "busy", "dark", "bright"],
)
def test_kept_and_left_out_are_told_apart(photo: np.ndarray, least: float) -> None:
    assert difference(photo).mean() >= least


def test_no_plain_ground_of_any_brightness_or_colour_hides_what_is_left_out() -> None:
    values = np.linspace(0, 1, 12)
    grounds = np.stack(np.meshgrid(values, values, values), -1).reshape(-1, 1, 1, 3)
    assert min(float(difference(ground).mean()) for ground in grounds) >= 20
    greys = np.repeat(np.linspace(0, 1, 257)[:, None], 3, axis=1).reshape(-1, 1, 1, 3)
    assert min(float(difference(ground).mean()) for ground in greys) >= 21


def test_what_is_left_out_is_dark_on_bright_photos_and_light_on_dark_ones() -> None:
    for photo, start in ((1 - 0.3 * BUSY, DARK), (0.3 * BUSY, LIGHT)):
        drawn = left_out(photo)
        for y, x in [(0, 0), (5, 9), (63, 2)]:
            red, green, blue = photo[y, x]
            grey = start + CONTRAST * (0.2126 * red + 0.7152 * green + 0.0722 * blue)
            assert drawn[y, x] == pytest.approx([grey] * 3)


def test_an_overlay_keeps_the_photo_where_the_mask_is_one() -> None:
    photo, mask = BUSY[:4, :4], np.zeros((4, 4))
    mask[0], mask[1], mask[3] = 1, 0.25, np.nan
    drawn, veiled = overlay(photo, mask), left_out(photo)
    assert np.array_equal(drawn[0], photo[0])
    assert drawn[1] == pytest.approx(0.25 * photo[1] + 0.75 * veiled[1])
    assert np.array_equal(drawn[2:], veiled[2:])  # NaN keeps nothing


def test_hatching_has_no_colours_and_lines_that_show_on_black_and_on_white() -> None:
    mask = np.zeros((320, 320))
    mask[:160] = 1
    for ground in (0.0, 1.0):
        drawn = hatched(np.full((320, 320, 3), ground) * [1, 0.5, 0.2], mask)
        assert np.array_equal(drawn[:160, :, 0], drawn[:160, :, 2])
        assert np.array_equal(drawn[160:], np.full((160, 320, 3), ground) * [1, 0.5, 0.2])
        assert np.isclose(drawn[:160, :, 0], 0.1).mean() == pytest.approx(0.1, abs=0.01)
        assert np.isclose(drawn[:160, :, 0], 0.95).mean() == pytest.approx(0.1, abs=0.01)


def test_a_small_picture_becomes_squares_and_a_large_one_means() -> None:
    large = enlarged(BUSY[:32, :20])
    assert min(large.shape[:2]) >= 400
    side = large.shape[0] // 32
    assert np.array_equal(large[::side, ::side], BUSY[:32, :20])
    assert np.array_equal(large[side - 1 :: side, side - 1 :: side], BUSY[:32, :20])
    assert reduced(BUSY) is BUSY
    picture = np.random.default_rng(1).random((7, 2051))
    small = reduced(picture)
    assert small.shape == (2, 683)
    assert small[1, 682] == pytest.approx(picture[3:6, 2046:2049].mean())
    assert reduced(np.ones((1, 5000, 3))).shape == (1, 1000, 3)


def test_a_grey_image_is_shown_as_grey() -> None:
    shown = pixels_of(torch.tensor([[[0.25, 2.0]]]))
    assert shown.tolist() == [[[0.25] * 3, [1.0] * 3]]
