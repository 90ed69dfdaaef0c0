"""Fills and pastes: what stays as it was, what is filled with what, and that no fill knows the object."""

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from inr_xai.errors import UserError
from tests.conftest import pictures
from tests.helpers.scripts import script_module

SIDE = 48


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_module("photo_cut")


@pytest.fixture(scope="module")
def fill() -> ModuleType:
    return script_module("texture_fill")


def box(top: int, left: int, bottom: int, right: int) -> Tensor:
    """Returns a mask of a rectangle."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def stripes() -> Tensor:
    """Returns stripes of period 8, every row and channel another colour of them."""
    wave = torch.tensor([0.1, 0.9, 0.4, 0.7, 0.2, 0.6, 0.3, 0.5]).repeat(SIDE // 8)
    return torch.stack([wave, wave.flip(0), 1 - wave])[:, None, :].expand(3, SIDE, SIDE).clone()


def test_a_periodic_texture_goes_on_through_the_hole(fill: ModuleType) -> None:
    hole = box(14, 17, 33, 35)
    broken = stripes()
    broken[:, hole] = 0.5
    assert torch.equal(fill.texture_fill(broken, hole), stripes())


@pytest.mark.parametrize("hole", [box(0, 0, 20, 48), box(3, 5, 44, 47), box(47, 47, 48, 48)])
def test_a_fill_copies_pixels_of_the_ground_and_leaves_the_ground_alone(fill: ModuleType, hole: Tensor) -> None:
    image = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    filled = fill.texture_fill(image, hole)
    assert torch.equal(filled[:, ~hole], image[:, ~hole])
    ground = {tuple(colour) for colour in image[:, ~hole].T.tolist()}
    assert all(tuple(colour) in ground for colour in filled[:, hole].T.tolist())
    other = image.clone()
    other[:, hole] = torch.rand(3, int(hole.sum()))
    assert torch.equal(fill.texture_fill(other, hole), filled)


def test_a_frame_that_is_no_whole_number_of_cells_is_filled(fill: ModuleType) -> None:
    image = torch.rand(3, 30, 41, generator=torch.Generator().manual_seed(1))
    hole = torch.zeros(30, 41, dtype=torch.bool)
    hole[20:, 30:] = hole[3:7, 11:13] = True
    filled = fill.texture_fill(image, hole)
    ground = {tuple(colour) for colour in image[:, ~hole].T.tolist()}
    assert all(tuple(colour) in ground for colour in filled[:, hole].T.tolist())


def test_an_image_without_ground_is_refused(fill: ModuleType) -> None:
    with pytest.raises(UserError, match="the hole leaves no square of 4 pixels"):
        fill.texture_fill(stripes(), torch.ones(SIDE, SIDE, dtype=torch.bool))


def test_a_paste_has_the_part_inside_and_the_ground_outside(script: ModuleType) -> None:
    image, ground = pictures(2, side=SIDE)
    part = box(10, 10, 30, 25)
    pasted = script.Cut(image, part, 3).on(ground)
    assert torch.equal(pasted[:, part], image[:, part])
    assert torch.equal(pasted[:, ~part], ground[:, ~part])


def test_the_hole_is_the_part_with_its_rim(script: ModuleType) -> None:
    assert torch.equal(script.grown(box(10, 10, 30, 25), 3), box(7, 7, 33, 28))
    assert torch.equal(script.Cut(stripes(), box(0, 40, 5, 48), 2).hole, box(0, 38, 7, 48))


def test_fills_know_nothing_of_the_hole_and_change_nothing_else(script: ModuleType) -> None:
    image = pictures(1, side=SIDE)[0]
    part = box(10, 10, 30, 25)
    fills = script.Cut(image, part, 3).fills()
    hole = box(7, 7, 33, 28)
    other = image.clone()
    other[:, hole] = 0.0
    others = script.Cut(other, part, 3).fills()
    assert list(fills) == ["mean", "blur", "texture"]
    for name, filled in fills.items():
        assert torch.equal(filled[:, ~hole], image[:, ~hole])
        assert torch.allclose(filled[:, hole], others[name][:, hole], atol=1e-6), name
    mean = image.numpy()[:, ~hole.numpy()].mean(1, dtype=np.float64)
    assert fills["mean"][:, 8, 8].tolist() == pytest.approx(mean.tolist(), abs=1e-6)


def test_the_blur_is_the_weighted_mean_of_the_ground(script: ModuleType) -> None:
    """Compared with a slow sum over all pixels, whose kernel is mirrored at the borders."""
    image = pictures(1, side=SIDE)[0].double()
    part = box(20, 20, 28, 30)
    cut = script.Cut(image, part, 2)
    sigma = script.SIGMA * SIDE
    offsets = np.arange(-round(4 * sigma), round(4 * sigma) + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    ground = (~cut.hole).numpy()
    total, weight = np.zeros(3), 0.0
    row, column = 24, 22
    for down, first in zip(offsets, kernel, strict=True):
        for right, second in zip(offsets, kernel, strict=True):
            y, x = ((place % (2 * SIDE)) for place in (row + down, column + right))
            y, x = (min(place, 2 * SIDE - 1 - place) for place in (y, x))
            if ground[y, x]:
                total += first * second * image.numpy()[:, y, x]
                weight += first * second
    mean = image.numpy()[:, ground].mean(1)
    expected = (total + script.FAINT * mean) / (weight + script.FAINT)
    assert cut.blurred[:, row, column].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_without_a_rim_an_object_back_on_its_ground_is_the_photo(script: ModuleType) -> None:
    """So the floor is that of the rim alone; on the ground that was not filled it is none."""
    image, part = pictures(1, side=SIDE)[0], box(10, 10, 30, 25)
    for filled in script.Cut(image, part, 0).fills().values():
        assert torch.equal(script.Cut(image, part, 0).on(filled), image)
    assert torch.equal(script.Cut(image, part, 3).on(image), image)
    ring = box(7, 7, 33, 28) & ~part
    changed = (script.Cut(image, part, 3).on(script.Cut(image, part, 3).fills()["mean"]) != image).any(0)
    assert torch.equal(changed, ring)


def test_a_part_at_its_own_place_stays_as_it_is(script: ModuleType) -> None:
    cut = script.Cut(pictures(1, side=SIDE)[0], box(10, 10, 30, 25) | box(12, 25, 20, 29), 3)
    front, where = script.put_in_place(cut, cut.part)
    assert torch.equal(where, cut.part)
    assert torch.allclose(front[:, where], cut.image[:, where], atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "placed"),
    [
        (box(4, 6, 24, 36), box(4, 6, 24, 36)),  # 20 x 30 from 10 x 15: twice as large
        (box(30, 30, 35, 37), box(30, 30, 35, 37)),  # smaller; 4.8 x 7.2 pixels are rounded
        (box(0, 41, 40, 48), box(13, 28, 27, 48)),  # at the border: its box is shifted into the frame
    ],
)
def test_a_part_takes_the_size_and_the_place_of_a_mask(script: ModuleType, mask: Tensor, placed: Tensor) -> None:
    donor = script.Cut(pictures(1, side=SIDE)[0], box(20, 10, 30, 25), 3)
    _, where = script.put_in_place(donor, mask)
    assert torch.equal(where, placed)


def test_a_part_larger_than_the_frame_is_cut_off(script: ModuleType) -> None:
    donor = script.Cut(pictures(1, side=SIDE)[0], box(20, 0, 22, 40), 3)  # 2 x 40
    _, where = script.put_in_place(donor, box(8, 8, 24, 28))  # 320 pixels: 4 x 80, twice as long as the frame
    assert torch.equal(where, box(14, 0, 18, 48))
