"""Identities of every perturbation as masks keep the images, and what Reveal lets shine through."""

import pytest
import torch

from inr_xai.errors import UserError
from inr_xai.perturbation import Blur, Jitter, Perturbation, Reveal, Surroundings
from tests.helpers.perturbations import ALL, AROUND, IMAGES, SLOTS, STILL, masks, name_of, random_numbers, shown


@pytest.mark.parametrize("perturbation", ALL, ids=name_of)
def test_a_mask_of_ones_returns_the_image(perturbation: Perturbation) -> None:
    kept = shown(perturbation).draw(0, progress=0.0)
    torch.testing.assert_close(kept(torch.ones(3, SLOTS, 24, 24)), IMAGES[:, None].expand(3, SLOTS, -1, -1, -1))


@pytest.mark.parametrize("jitter", [STILL, Jitter(0.1), Jitter(0.1, per_mask=True)], ids=["still", "image", "mask"])
@pytest.mark.parametrize("perturbation", ALL, ids=name_of)
@pytest.mark.slow
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
