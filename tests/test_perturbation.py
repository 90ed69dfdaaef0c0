"""Identities and statistics of every perturbation, the pyramid of blurs against a loop, and Reveal and Jitter."""

import pytest
import torch

from inr_xai.blur import gaussian_blur
from inr_xai.errors import UserError
from inr_xai.perturbation import (
    Blur,
    BlurPyramid,
    Constant,
    Donor,
    Jitter,
    Mixture,
    Perturbation,
    PinkNoise,
    RandomColour,
    Reveal,
    Surroundings,
)
from tests.conftest import pictures

IMAGES = pictures(3)
AROUND = Surroundings(torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3]), donors=pictures(4, seed=9))
ALL = [Blur(), BlurPyramid(), Constant(), Constant(0.0), RandomColour(), PinkNoise(), Donor(), Mixture()]


def draws(seed: int = 0, count: int = 3) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def masks(seed: int = 0) -> torch.Tensor:
    return torch.rand(3, 2, 24, 24, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("perturbation", ALL, ids=lambda p: type(p).__name__)
def test_a_mask_of_ones_returns_the_image(perturbation: Perturbation) -> None:
    kept = perturbation.bind(IMAGES, AROUND).draw(range(3), draws())
    torch.testing.assert_close(kept(torch.ones(3, 2, 24, 24)), IMAGES[:, None].expand(3, 2, -1, -1, -1))


@pytest.mark.parametrize("perturbation", ALL, ids=lambda p: type(p).__name__)
def test_no_image_depends_on_its_neighbours(perturbation: Perturbation) -> None:
    together = perturbation.bind(IMAGES, AROUND).draw(range(3), draws())(masks())
    for i in range(3):
        bound = perturbation.bind(IMAGES[i : i + 1], AROUND)
        assert torch.equal(bound.draw([0], draws(i, 1))(masks()[i : i + 1])[0], together[i])


@pytest.mark.parametrize("perturbation", ALL, ids=lambda p: type(p).__name__)
def test_gradient_to_the_mask_is_that_of_float64_differences(perturbation: Perturbation) -> None:
    images = IMAGES[:1, :, :6, :6].double()
    around = Surroundings(AROUND.colour_mean, AROUND.colour_std, AROUND.donors[:, :, :6, :6])
    kept = perturbation.bind(images, around).draw([0], draws(count=1))
    inside = (masks()[:1, :1, :6, :6].double() * 0.9 + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(kept, inside, eps=1e-7, atol=1e-5)


def test_a_mask_of_zeros_returns_the_baseline() -> None:
    zeros = torch.zeros(3, 1, 24, 24)
    blurred = gaussian_blur(IMAGES, 20 * 24 / 224)
    torch.testing.assert_close(Blur().bind(IMAGES, AROUND).draw(range(3), draws())(zeros)[:, 0], blurred)
    torch.testing.assert_close(BlurPyramid().bind(IMAGES, AROUND).draw(range(3), draws())(zeros)[:, 0], blurred)
    mean = Constant().bind(IMAGES, AROUND).draw(range(3), draws())(zeros)[:, 0]
    torch.testing.assert_close(mean, AROUND.colour_mean[:, None, None].expand_as(IMAGES))
    black = Constant(0.0).bind(IMAGES, AROUND).draw(range(3), draws())(zeros)[:, 0]
    assert (black == 0).all()


def test_pyramid_interpolates_between_its_levels() -> None:
    kept = BlurPyramid(levels=4).bind(IMAGES, AROUND).draw(range(3), draws())(masks())
    levels = [gaussian_blur(IMAGES, 20 * 24 / 224 * (1 - i / 3)) for i in range(3)] + [IMAGES]
    for b, a, y, x in [(0, 0, 3, 5), (1, 1, 20, 2), (2, 0, 11, 23)]:
        level = float(masks()[b, a, y, x]) * 3
        low = min(int(level), 2)
        expected = levels[low][b, :, y, x] * (low + 1 - level) + levels[low + 1][b, :, y, x] * (level - low)
        torch.testing.assert_close(kept[b, a, :, y, x], expected, atol=1e-5, rtol=0)


def test_random_colours_have_the_mean_and_deviation_of_the_data() -> None:
    bound = RandomColour().bind(IMAGES[:1, :, :2, :2], AROUND)
    colours = bound.draw([0] * 4000, draws(count=1) * 4000)(torch.zeros(4000, 1, 2, 2))[:, 0, :, 0, 0]
    torch.testing.assert_close(colours.mean(0), AROUND.colour_mean, atol=0.02, rtol=0)
    torch.testing.assert_close(colours.std(0), AROUND.colour_std, atol=0.01, rtol=0)


def test_pink_noise_falls_with_the_frequency_around_the_datas_colour() -> None:
    bound = PinkNoise().bind(IMAGES[:1], AROUND)
    noise = bound.draw([0] * 400, draws(count=1) * 400)(torch.zeros(400, 1, 24, 24))[:, 0].double()
    torch.testing.assert_close(noise.mean((0, 2, 3)), AROUND.colour_mean.double(), atol=0.03, rtol=0)
    amplitude = torch.fft.rfft(noise - noise.mean((-2, -1), keepdim=True), dim=-1).abs().mean((0, 1, 2))
    # Along a line through a field of amplitude k^-e, e in [1, 2], the amplitude falls by 2^-0.5 to 2^-1.5 an octave.
    for periods in (2, 4):
        assert 2**-1.5 < float(amplitude[2 * periods] / amplitude[periods]) < 2**-0.4


def test_mixture_leaves_donors_out_if_there_are_none() -> None:
    mixture, draw = Mixture([Constant(0.25), Donor()]), draws(count=1)
    assert mixture.needs_donors
    alone = Surroundings(AROUND.colour_mean, AROUND.colour_std)
    bound = mixture.bind(IMAGES[:1], alone)
    assert all((bound.draw([0], draw)(torch.zeros(1, 1, 24, 24)) == 0.25).all() for _ in range(20))
    with pytest.raises(UserError, match="needs photos of other samples"):
        Mixture([Donor()]).bind(IMAGES[:1], alone)


def test_mixture_draws_all_parts_equally_often() -> None:
    bound = Mixture([Constant(0.0), Constant(1.0), Constant(0.5)]).bind(IMAGES[:1, :, :2, :2], AROUND)
    values = bound.draw([0] * 600, draws(count=1) * 600)(torch.zeros(600, 1, 2, 2))[:, 0, 0, 0, 0].tolist()
    assert all(150 < values.count(value) < 250 for value in (0.0, 0.5, 1.0))


def test_a_photo_does_not_donate_to_itself() -> None:
    donors = torch.stack([IMAGES[0], torch.zeros_like(IMAGES[0])])
    bound = Donor().bind(IMAGES, Surroundings(AROUND.colour_mean, AROUND.colour_std, donors))
    draw = draws(count=1)
    assert all((bound.draw([0], draw)(torch.zeros(1, 1, 24, 24)) == 0).all() for _ in range(20))
    assert not all((bound.draw([1], draw)(torch.zeros(1, 1, 24, 24)) == 0).all() for _ in range(20))


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
        Donor().bind(IMAGES, Surroundings(AROUND.colour_mean, AROUND.colour_std))


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.6), (0.2, 0.3), (0.4, 0.0), (1.0, 0.0)])
def test_reveal_falls_linearly_to_nothing(progress: float, share: float) -> None:
    masks = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    revealed = Reveal(0.6, until=0.4)(masks, progress=progress)
    torch.testing.assert_close(revealed, 1 - (1 - masks) * (1 - share), rtol=0, atol=1e-15)


def test_reveal_changes_nothing_if_it_is_off_or_over() -> None:
    masks = torch.rand(1, 1, 4, 4)
    assert Reveal(0.0)(masks, progress=0.0) is masks
    assert Reveal()(masks, progress=1.0) is masks


@pytest.mark.parametrize("options", [{"start": 1.0}, {"start": -0.1}, {"until": 0.0}, {"until": 1.1}])
def test_a_reveal_that_is_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="reveal needs start in"):
        Reveal(**options)


def test_jitter_is_a_shift_with_replicated_borders() -> None:
    image = pictures(1)[:, None]
    padded = torch.nn.functional.pad(image[0], (3, 3, 3, 3), mode="replicate")
    shifts = [padded[..., dy : dy + 24, dx : dx + 24] for dy in range(7) for dx in range(7)]
    for seed in range(20):
        moved = Jitter(3 / 24)(image, draws(seed, 1))[0]
        assert any(torch.equal(moved, shifted) for shifted in shifts)


def test_jitter_moves_all_masks_of_an_image_together_and_images_independently() -> None:
    images = pictures(1)[:, None].expand(4, 3, -1, -1, -1)
    moved = Jitter(0.2)(images, draws(0, 4))
    assert torch.equal(moved[:, 0], moved[:, 2])
    assert len({tuple(image.flatten().tolist()) for image in moved[:, 0]}) > 1
    alone = torch.cat([Jitter(0.2)(images[i : i + 1], draws(i, 1)) for i in range(4)])
    assert torch.equal(moved, alone)


def test_jitter_flips_half_of_the_time() -> None:
    image = pictures(1)[:, None]
    results = [Jitter(0.0, flip=True)(image, draws(seed, 1)) for seed in range(40)]
    mirrored = sum(torch.equal(result, image.flip(-1)) for result in results)
    assert mirrored + sum(torch.equal(result, image) for result in results) == 40
    assert 8 < mirrored < 32


def test_the_shift_of_jitter_must_be_a_fraction() -> None:
    with pytest.raises(UserError, match=r"jitter.shift .* got 3"):
        Jitter(3)
