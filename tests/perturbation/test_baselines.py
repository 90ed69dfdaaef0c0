"""Baselines that are bound: their statistics, donors against shifted photos, the pyramid of blurs against a loop."""

import pytest
import torch

from inr_xai.blur import gaussian_blur
from inr_xai.errors import UserError
from inr_xai.perturbation import (
    Blur,
    BlurPyramid,
    Constant,
    Donor,
    GivenImage,
    Mixture,
    Perturbation,
    PinkNoise,
    RandomColour,
    Surroundings,
)
from tests.helpers.perturbations import AROUND, IMAGES, baselines, masks, name_of, shown


def test_a_mask_of_zeros_returns_the_baseline() -> None:
    blurred = gaussian_blur(IMAGES, 20 * 24 / 224)
    for perturbation in (Blur(), BlurPyramid()):
        torch.testing.assert_close(baselines(perturbation)[0, :, 1], blurred)
    mean = baselines(Constant())[0, :, 0]
    torch.testing.assert_close(mean, AROUND.colour_mean[:, None, None].expand_as(IMAGES))
    assert (baselines(Constant(0.0)) == 0).all()


def test_a_given_image_replaces_the_pixels_of_every_image() -> None:
    given = IMAGES[2].flip(-1)
    assert torch.equal(baselines(GivenImage(given), IMAGES[:2])[0, :, 1], given.expand(2, -1, -1, -1))
    column = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    assert torch.equal(baselines(GivenImage(column), steps=2), column.expand(2, 3, 2, 3, 24, 24))
    with pytest.raises(UserError, match=r"an image of \(3, 8, 8\) cannot stand in .* inputs of \(3, 24, 24\)"):
        baselines(GivenImage(torch.zeros(3, 8, 8)))
    with pytest.raises(UserError, match=r"perturbation.image must be a floating-point tensor c x h x w; got list"):
        GivenImage([[[0.0]]])


def test_pyramid_interpolates_between_its_levels() -> None:
    kept = shown(BlurPyramid(levels=4)).draw(0, progress=0.0)(masks())
    levels = [gaussian_blur(IMAGES, 20 * 24 / 224 * (1 - i / 3)) for i in range(3)] + [IMAGES]
    for b, a, y, x in [(0, 0, 3, 5), (1, 1, 20, 2), (2, 0, 11, 23)]:
        level = float(masks()[b, a, y, x]) * 3
        low = min(int(level), 2)
        expected = levels[low][b, :, y, x] * (low + 1 - level) + levels[low + 1][b, :, y, x] * (level - low)
        torch.testing.assert_close(kept[b, a, :, y, x], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("perturbation", [RandomColour(), PinkNoise(), Donor()], ids=name_of)
def test_every_mask_has_a_baseline_of_its_own(perturbation: Perturbation) -> None:
    drawn = baselines(perturbation, steps=3).flatten(0, 2).flatten(1)
    assert len(drawn.unique(dim=0)) == len(drawn) == 18


def test_random_colours_have_the_mean_and_deviation_of_the_data() -> None:
    colours = baselines(RandomColour(), IMAGES[:1, :, :2, :2], slots=40, steps=100)[..., 0, 0].flatten(0, 2)
    torch.testing.assert_close(colours.mean(0), AROUND.colour_mean, atol=0.02, rtol=0)
    torch.testing.assert_close(colours.std(0), AROUND.colour_std, atol=0.01, rtol=0)


@pytest.mark.slow
def test_donors_are_photos_shifted_cyclically_and_half_of_them_mirrored() -> None:
    drawn = baselines(Donor(), IMAGES[:1], slots=4, steps=15).flatten(0, 2)
    photos = torch.cat([AROUND.donors, AROUND.donors.flip(-1)])
    shifted = torch.stack([photos.roll((y, x), (-2, -1)) for y in range(24) for x in range(24)])
    mirrored, offsets = [], set()
    for photo in drawn:
        ((offset, number),) = (shifted == photo).flatten(2).all(2).nonzero().tolist()
        mirrored.append(number >= 4)
        offsets.add(offset)
    assert 15 < sum(mirrored) < 45
    assert len(offsets) > 50


def test_a_photo_does_not_donate_to_itself() -> None:
    around = Surroundings(AROUND.colour_mean, AROUND.colour_std, torch.stack([IMAGES[0], torch.zeros_like(IMAGES[0])]))
    drawn = baselines(Donor(), around=around, steps=10)
    assert (drawn[:, 0] == 0).all()
    assert (drawn[:, 1] != 0).any()


def test_refusals_name_the_option() -> None:
    with pytest.raises(UserError, match=r"perturbation.sigma=-1 is out of range; it must be a positive number"):
        Blur(-1)
    with pytest.raises(
        UserError, match=r"perturbation.levels=1 is out of range; it must be a whole number, at least 2"
    ):
        BlurPyramid(levels=1)
    with pytest.raises(UserError, match=r"perturbation.colour must be .* got 'red'"):
        Constant("red")
    with pytest.raises(UserError, match=r"perturbation.parts must name at least one"):
        Mixture([])
    with pytest.raises(UserError, match=r"needs photos of other samples"):
        shown(Donor(), around=Surroundings(AROUND.colour_mean, AROUND.colour_std))
