"""Identities and statistics of every perturbation, the pyramid of blurs against a loop, and Reveal and Jitter."""

from typing import Any

import pytest
import torch

from inr_xai.blur import gaussian_blur
from inr_xai.draws import Draws, Rows
from inr_xai.errors import UserError
from inr_xai.perturbation import (
    Blur,
    BlurPyramid,
    Constant,
    Donor,
    Jitter,
    MaskedImages,
    Mixture,
    Perturbation,
    PinkNoise,
    RandomColour,
    Reveal,
    Shifts,
    Surroundings,
    deal,
)
from tests.conftest import pictures

IMAGES = pictures(3)
AROUND = Surroundings(torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3]), donors=pictures(4, seed=9))
ALL = [Blur(), BlurPyramid(), Constant(), Constant(0.0), RandomColour(), PinkNoise(), Donor(), Mixture()]
STILL = Jitter(0.0)


def name_of(perturbation: Perturbation) -> str:
    return type(perturbation).__name__


SLOTS = 2


def random_numbers(count: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32) -> Draws:
    return Draws([(seed + i,) for i in range(count)], dtype=dtype)


def shown(
    perturbation: Perturbation,
    images: torch.Tensor = IMAGES,
    around: Surroundings = AROUND,
    *,
    jitter: Jitter = STILL,
    draws: Draws | None = None,
    slots: int = SLOTS,
    steps: int = 1,
) -> MaskedImages:
    """The images as masks keep them, without jitter unless it is given."""
    numbers = random_numbers(len(images), dtype=images.dtype) if draws is None else draws
    return MaskedImages(
        images, around, perturbation=perturbation, jitter=jitter, draws=numbers, slots=slots, steps=steps
    )


def baselines(perturbation: Perturbation, images: torch.Tensor = IMAGES, **options: Any) -> torch.Tensor:
    """What a mask of zeros shows at every step: steps x images x slots x c x h x w."""
    masked = shown(perturbation, images, **options)
    zeros = torch.zeros(len(images), masked.slots, *images.shape[-2:], dtype=images.dtype)
    return torch.stack([masked.draw(step, progress=0.0)(zeros) for step in range(options.get("steps", 1))])


def masks(seed: int = 0) -> torch.Tensor:
    return torch.rand(3, SLOTS, 24, 24, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("perturbation", ALL, ids=name_of)
def test_a_mask_of_ones_returns_the_image(perturbation: Perturbation) -> None:
    kept = shown(perturbation).draw(0, progress=0.0)
    torch.testing.assert_close(kept(torch.ones(3, SLOTS, 24, 24)), IMAGES[:, None].expand(3, SLOTS, -1, -1, -1))


@pytest.mark.parametrize("jitter", [STILL, Jitter(0.1), Jitter(0.1, per_mask=True)], ids=["still", "image", "mask"])
@pytest.mark.parametrize("perturbation", ALL, ids=name_of)
def test_no_image_depends_on_its_neighbours(perturbation: Perturbation, jitter: Jitter) -> None:
    together = shown(perturbation, jitter=jitter, steps=20)
    alone = [
        shown(perturbation, IMAGES[i : i + 1], jitter=jitter, draws=random_numbers(1, i), steps=20) for i in range(3)
    ]
    for step in (0, 1, 19):
        expected = together.draw(step, progress=0.0)(masks())
        for i, image in enumerate(alone):
            assert torch.equal(image.draw(step, progress=0.0)(masks()[i : i + 1])[0], expected[i])


@pytest.mark.parametrize("perturbation", ALL, ids=name_of)
def test_gradient_to_the_mask_is_that_of_float64_differences(perturbation: Perturbation) -> None:
    images = IMAGES[:1, :, :6, :6].double()
    around = Surroundings(AROUND.colour_mean, AROUND.colour_std, AROUND.donors[:, :, :6, :6])
    masked = shown(perturbation, images, around, jitter=Jitter(0.3, flip=True), slots=1, steps=2)
    inside = (masks()[:1, :1, :6, :6].double() * 0.9 + 0.05).requires_grad_()
    for step in range(2):
        assert torch.autograd.gradcheck(masked.draw(step, progress=0.0), inside, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("perturbation", ALL, ids=name_of)
def test_a_game_of_fewer_masks_takes_the_first_ones(perturbation: Perturbation) -> None:
    for jitter in (Jitter(0.2), Jitter(0.2, per_mask=True)):
        kept = shown(perturbation, jitter=jitter).draw(0, progress=0.0)
        torch.testing.assert_close(kept(masks()[:, :1]), kept(masks())[:, :1], rtol=0, atol=0)


@pytest.mark.parametrize("perturbation", ALL, ids=name_of)
def test_masks_that_are_no_numbers_stop_no_other_image(perturbation: Perturbation) -> None:
    kept, broken = shown(perturbation, jitter=Jitter(0.2)).draw(0, progress=0.0), masks()
    broken[1] = torch.nan
    expected, found = kept(masks()), kept(broken)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


def test_a_game_may_ask_for_some_masks_of_several_images() -> None:
    three = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    kept = shown(Blur(), jitter=Jitter(0.2), slots=3).draw(0, progress=0.0)
    torch.testing.assert_close(kept(three[:, :2]), kept(three)[:, :2], rtol=0, atol=0)


def test_a_mask_of_zeros_returns_the_baseline() -> None:
    blurred = gaussian_blur(IMAGES, 20 * 24 / 224)
    for perturbation in (Blur(), BlurPyramid()):
        torch.testing.assert_close(baselines(perturbation)[0, :, 1], blurred)
    mean = baselines(Constant())[0, :, 0]
    torch.testing.assert_close(mean, AROUND.colour_mean[:, None, None].expand_as(IMAGES))
    assert (baselines(Constant(0.0)) == 0).all()


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


def test_pink_noise_falls_with_the_frequency_around_the_datas_colour() -> None:
    noise = baselines(PinkNoise(), IMAGES[:1], slots=40, steps=10).flatten(0, 2).double()
    torch.testing.assert_close(noise.mean((0, 2, 3)), AROUND.colour_mean.double(), atol=0.03, rtol=0)
    waves = torch.fft.fft2(noise - noise.mean((-2, -1), keepdim=True)).abs().mean((0, 1))
    # The amplitude is k^-e with e in [1, 2], so it falls by 2^-2 to 2^-1 an octave, downwards as to the right.
    for line in (waves[0], waves[:, 0]):
        for periods in (1, 2, 4, 6):
            assert 2**-1.9 < float(line[2 * periods] / line[periods]) < 2**-1.1
    torch.testing.assert_close(waves[0, 1:13], waves[1:13, 0], rtol=0.15, atol=0)
    torch.testing.assert_close(waves[3, 4], waves[3, -4], rtol=0.1, atol=0)


def test_noise_does_not_depend_on_how_many_steps_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = baselines(PinkNoise(), steps=20)
    monkeypatch.setattr("inr_xai.perturbation.CHUNK_STEPS", 3)
    torch.testing.assert_close(baselines(PinkNoise(), steps=20), expected, rtol=0, atol=1e-6)


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


def test_mixture_leaves_donors_out_if_there_are_none() -> None:
    mixture = Mixture([Constant(0.25), Donor()])
    assert mixture.needs_donors
    alone = Surroundings(AROUND.colour_mean, AROUND.colour_std)
    assert (baselines(mixture, IMAGES[:1], around=alone, steps=20) == 0.25).all()
    with pytest.raises(UserError, match="needs photos of other samples"):
        shown(Mixture([Donor()]), IMAGES[:1], alone)


@pytest.mark.parametrize("families", [2, 3, 5, 7])
@pytest.mark.parametrize("slots", [1, 3, 4])
def test_families_are_dealt_from_shuffled_decks(families: int, slots: int) -> None:
    steps = 60 * families
    dealt = deal(families, random_numbers(), steps=steps, slots=slots).reshape(steps, 3, slots)
    for image in range(3):
        cards = dealt[:, image]
        # Each deck has every family once, and a step has as many different ones as there can be.
        assert all(len(set(deck)) == families for deck in cards.reshape(-1, families).tolist())
        assert all(len(set(step)) == min(slots, families) for step in cards.tolist())
        # No mask of an image prefers a family.
        for slot in range(slots):
            counts = cards[:, slot].bincount(minlength=families)
            assert 30 < int(counts.min()) <= int(counts.max()) < 90
    assert not torch.equal(dealt[:, 0], dealt[:, 1])


def test_mixture_draws_what_its_parts_draw() -> None:
    parts = [Constant(0.0), Constant(1.0), BlurPyramid(), Mixture([Constant(0.5), Constant(0.25)])]
    blurred = gaussian_blur(IMAGES, 20 * 24 / 224)
    drawn = baselines(Mixture(parts), slots=4, steps=12)
    dealt = deal(4, random_numbers(), steps=12, slots=4).reshape(12, 3, 4)
    values = set()
    for step, image, slot in torch.cartesian_prod(*[torch.arange(count) for count in dealt.shape]).tolist():
        found, family = drawn[step, image, slot], int(dealt[step, image, slot])
        if family == 2:
            torch.testing.assert_close(found, blurred[image])
        else:
            values.add((family, found.unique().item()))
    assert values == {(0, 0.0), (1, 1.0), (3, 0.5), (3, 0.25)}


def test_a_mixture_with_a_pyramid_has_its_gradient() -> None:
    masked = shown(Mixture([BlurPyramid(levels=3), Constant(0.0)]), IMAGES[:1, :, :6, :6].double(), slots=2)
    inside = (masks()[:1, :, :6, :6].double() * 0.9 + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(masked.draw(0, progress=0.0), inside, eps=1e-7, atol=1e-5)


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


def jittered(jitter: Jitter, values: torch.Tensor, steps: int) -> torch.Tensor:
    """What jitter makes of the masks of images at every step."""
    images, slots = values.shape[:2]
    rows = Rows.where(torch.ones(steps, images * slots, dtype=torch.bool), slots)
    shifts = Shifts(jitter, (24, 24), random_numbers(images), rows)
    return torch.stack([shifts.at(step, progress=0.0).masks(values) for step in range(steps)])


@pytest.mark.parametrize("per_mask", [False, True])
def test_jitter_is_a_shift_with_replicated_borders(per_mask: bool) -> None:
    padded = torch.nn.functional.pad(masks()[:2], (3, 3, 3, 3), mode="replicate")
    shifted = torch.stack([padded[..., dy : dy + 24, dx : dx + 24] for dy in range(7) for dx in range(7)])
    moved = jittered(Jitter(3 / 24, per_mask=per_mask), masks()[:2], steps=60)
    same = (shifted[:, None] == moved).flatten(-2).all(-1)
    assert (same.sum(0) == 1).all()
    number = same.long().argmax(0)
    assert torch.equal(number[..., 0], number[..., 1]) != per_mask
    assert not torch.equal(number[:, 0], number[:, 1])
    assert len(number.unique()) > 40


def test_jitter_shifts_image_fixed_baseline_and_mask_together() -> None:
    """What is shifted before the blend is what shifting the blend gives."""
    masked, still = (shown(Blur(), jitter=jitter, steps=5) for jitter in (Jitter(0.2, flip=True), STILL))
    for step in range(5):
        blended = still.draw(step, progress=0.0)(masks())
        for mask in range(SLOTS):
            expected = masked.shifts.at(step, progress=0.0)(blended[:, mask], torch.arange(3) * SLOTS)
            torch.testing.assert_close(masked.draw(step, progress=0.0)(masks())[:, mask], expected)


def test_jitter_flips_half_of_the_time() -> None:
    results = jittered(Jitter(0.0, flip=True), masks()[:1], steps=40)[:, 0]
    mirrored = sum(torch.equal(result, masks()[0].flip(-1)) for result in results)
    assert mirrored + sum(torch.equal(result, masks()[0]) for result in results) == 40
    assert 8 < mirrored < 32


def test_jitter_ends_with_its_part_of_the_fit() -> None:
    shifts = shown(Blur(), jitter=Jitter(0.2, until=0.5), steps=9).shifts
    moved = [not torch.equal(shifts.at(step, progress=step / 8).masks(masks()), masks()) for step in range(9)]
    assert moved == [True] * 5 + [False] * 4
    with pytest.raises(UserError, match=r"jitter.until must lie in \(0, 1\].* got 0"):
        Jitter(until=0.0)


def test_the_shift_of_jitter_must_be_a_fraction() -> None:
    with pytest.raises(UserError, match=r"jitter.shift .* got 3"):
        Jitter(3)
