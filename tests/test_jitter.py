"""Jitter against shifting by hand, and its independence of the batch."""

import pytest
import torch

from inr_xai.errors import UserError
from inr_xai.perturbation import Jitter
from tests.conftest import pictures


def draws(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_every_result_is_a_shift_with_replicated_borders() -> None:
    image = pictures(1)[:, None]
    padded = torch.nn.functional.pad(image[0], (3, 3, 3, 3), mode="replicate")
    shifts = [padded[..., dy : dy + 24, dx : dx + 24] for dy in range(7) for dx in range(7)]
    for seed in range(20):
        moved = Jitter(3 / 24)(image, draws(seed))[0]
        assert any(torch.equal(moved, shifted) for shifted in shifts)


def test_all_areas_of_an_image_move_together_and_images_apart() -> None:
    images = pictures(1)[:, None].expand(4, 3, -1, -1, -1)
    moved = Jitter(0.2)(images, draws(0, 1, 2, 3))
    assert torch.equal(moved[:, 0], moved[:, 2])
    assert len({tuple(image.flatten().tolist()) for image in moved[:, 0]}) > 1
    alone = torch.cat([Jitter(0.2)(images[i : i + 1], draws(i)) for i in range(4)])
    assert torch.equal(moved, alone)


def test_flip_mirrors_half_of_the_time() -> None:
    image = pictures(1)[:, None]
    moved = [Jitter(0.0, flip=True)(image, draws(seed)) for seed in range(40)]
    mirrored = sum(torch.equal(one, image.flip(-1)) for one in moved)
    assert mirrored + sum(torch.equal(one, image) for one in moved) == 40
    assert 8 < mirrored < 32


def test_shift_must_be_a_fraction() -> None:
    with pytest.raises(UserError, match=r"jitter.shift .* got 3"):
        Jitter(3)
