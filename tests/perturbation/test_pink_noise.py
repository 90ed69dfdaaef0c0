"""The spectrum, mean and draws of coloured noise."""

import pytest
import torch

from inr_xai.perturbation import PinkNoise
from tests.helpers.perturbations import AROUND, IMAGES, baselines


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
    monkeypatch.setattr("inr_xai.perturbation.pink_noise.CHUNK_STEPS", 3)
    torch.testing.assert_close(baselines(PinkNoise(), steps=20), expected, rtol=0, atol=1e-6)
