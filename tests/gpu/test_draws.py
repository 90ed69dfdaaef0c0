"""The random numbers of a fit on a GPU and on a processor: equal to the bit, or up to rounding where computed on."""

import pytest
import torch

from inr_xai.draws import Draws, Rows
from inr_xai.perturbation import Frames, PinkNoise, Surroundings

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

CPU = torch.device("cpu")
SEEDS = [(0, "cat", 1), (0, "dog", 1), (7, "cat", 2)]
STEPS, SLOTS = 20, 2


def rows(device: torch.device) -> Rows:
    """All rows at every step."""
    return Rows.where(torch.ones(STEPS, len(SEEDS) * SLOTS, dtype=torch.bool), SLOTS, device)


def test_integers_and_uniform_numbers_are_equal_to_the_bit(device: torch.device) -> None:
    ends = torch.tensor([[2, 3, 224, 1, 2**31, 1000]])
    drawn = [
        (draws.integers("a", own, ends.to(place)), draws.uniform("a", own, 1001), draws.uniform("b", own, 3))
        for place in (CPU, device)
        for draws, own in [(Draws(SEEDS, device=place), rows(place))]
    ]
    for here, there in zip(*drawn, strict=True):
        assert there.device.type == device.type
        assert torch.equal(here, there.cpu())


def test_normal_numbers_agree(device: torch.device) -> None:
    here, there = (Draws(SEEDS, device=place).normal("a", rows(place), 5000).cpu() for place in (CPU, device))
    assert (here - there).abs().max() < 1e-5


def test_filtered_noise_agrees(device: torch.device) -> None:
    noise = []
    for place in (CPU, device):
        images = torch.zeros(len(SEEDS), 3, 48, 40, device=place)
        around = Surroundings(*(torch.full((3,), value, device=place) for value in (0.5, 0.25)))
        bound = PinkNoise().bind(images, around, Draws(SEEDS, device=place), rows(place))
        drawn = [bound.draw(step, Frames(SLOTS)) for step in range(STEPS)]
        assert all(isinstance(values, torch.Tensor) for values in drawn)
        noise.append(torch.stack([values.cpu() for values in drawn]))
    assert noise[0].std() > 0.1
    assert (noise[0] - noise[1]).abs().max() < 1e-5
