"""How the cards of a mixture are dealt, and that it draws what its parts draw."""

from typing import Any

import pytest
import torch

from inr_xai.blur import gaussian_blur
from inr_xai.errors import UserError
from inr_xai.perturbation import BlurPyramid, Constant, Donor, Mixture, Perturbation, Surroundings
from inr_xai.perturbation.mixture import deal
from tests.helpers.perturbations import AROUND, IMAGES, baselines, masks, random_numbers, shown


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
    dealt = deal(range(families), random_numbers(), steps=steps, slots=slots).reshape(steps, 3, slots)
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
    dealt = deal(range(4), random_numbers(), steps=12, slots=4).reshape(12, 3, 4)
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


def test_a_part_with_more_cards_is_dealt_more_often() -> None:
    parts: list[Perturbation] = [Constant(0.25), Constant(0.5), Constant(0.75)]
    drawn = baselines(Mixture(parts, [1, 1, 2]), slots=4, steps=10)[..., 0, 0, 0].sort(dim=2).values
    assert torch.equal(drawn, torch.tensor([0.25, 0.5, 0.75, 0.75]).to(drawn).expand_as(drawn))
    assert (Mixture().counts, Mixture(parts).counts) == ([1, 1, 1, 2, 2], [1, 1, 1])
    # Without other photos the deck has the cards of the parts that are left.
    alone = Surroundings(AROUND.colour_mean, AROUND.colour_std)
    left = baselines(Mixture([Constant(0.25), Donor(), Constant(0.5)], [1, 5, 2]), around=alone, slots=3, steps=4)
    expected = torch.tensor([0.25, 0.5, 0.5]).expand(4, 3, 3)
    assert torch.equal(left[..., 0, 0, 0].sort(dim=2).values, expected)


@pytest.mark.parametrize("counts", [[1], [1, 0], [True, 1], [1, 101]])
def test_counts_that_make_no_deck_are_refused(counts: list[Any]) -> None:
    with pytest.raises(UserError, match=r"perturbation.counts=.* whole number from 1 to 100 for each of the 2 parts"):
        Mixture([Constant(0.25), Constant(0.5)], counts)
