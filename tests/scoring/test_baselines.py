"""The baselines of scores: what they are, and the statistics of the noise."""

import math

import numpy as np
import pytest
import torch

from inr_xai.scoring import scoring_baselines
from tests.helpers import reference


def baselines_of(images: torch.Tensor, names: list[str], seed: int = 0) -> dict[str, torch.Tensor]:
    """Returns the baselines of images with random photos, and these photos as "given"."""
    photos = torch.rand(len(images), 3, *images.shape[1:], generator=torch.Generator().manual_seed(9)).to(images)
    colour = torch.tensor([0.5, 0.4, 0.3])
    return scoring_baselines(images, names, seed=seed, colour_mean=colour, photos=photos) | {"given": photos}


def test_baselines_are_what_they_are_called() -> None:
    images = torch.rand(2, 3, 28, 42, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    drawn = baselines_of(images, ["a", "b"])
    expected = reference.gaussian_blur(images[1, 2].numpy(), 20 * 28 / 224)
    np.testing.assert_allclose(drawn["blur"][1, 0, 2].numpy(), expected, atol=1e-12)
    colour = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float32).double()
    assert torch.equal(drawn["grey"], colour.reshape(1, 1, 3, 1, 1).expand(2, 1, 3, 28, 42))
    assert torch.equal(drawn["photo"], drawn["given"])


def test_noise_has_the_moments_of_a_clipped_gaussian() -> None:
    noise = baselines_of(torch.rand(2, 3, 96, 96), ["a", "b"])["noise"]
    assert noise.shape == (2, 4, 3, 96, 96)
    assert noise.min() == 0
    assert noise.max() == 1
    # Around 0.5 the clipping is at z = 2 on either side: variance = E[min(z^2, 4)] / 16.
    density, tail = math.exp(-2) / math.sqrt(2 * math.pi), math.erfc(2 / math.sqrt(2)) / 2
    variance = (1 - 2 * tail - 4 * density + 8 * tail) / 16
    red = noise[:, :, 0]
    assert float(red.mean()) == pytest.approx(0.5, abs=0.004)
    assert float(red.var()) == pytest.approx(variance, rel=0.02)
    # Four draws of two images: eight independent fields.
    assert torch.corrcoef(red.flatten(2).flatten(0, 1)).fill_diagonal_(0).abs().max() < 0.05


def test_noise_depends_on_seed_and_id_alone() -> None:
    images = torch.rand(3, 3, 8, 8)
    together = baselines_of(images, ["a", "b", "c"])["noise"]
    assert torch.equal(baselines_of(images[:1], ["c"])["noise"][0], together[2])
    assert not torch.equal(baselines_of(images, ["a", "b", "c"], seed=1)["noise"], together)


def test_baselines_refuse_an_empty_pool() -> None:
    with pytest.raises(ValueError, match="photo"):
        scoring_baselines(
            torch.rand(1, 3, 8, 8), ["a"], seed=0, colour_mean=torch.zeros(3), photos=torch.rand(1, 0, 3, 8, 8)
        )
