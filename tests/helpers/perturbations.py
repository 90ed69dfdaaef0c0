"""What the tests of perturbations share: pictures, and what a fit shows of them."""

from typing import Any

import torch

from inr_xai.draws import Draws
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
    Surroundings,
)
from tests.conftest import pictures

IMAGES = pictures(3)
AROUND = Surroundings(torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3]), donors=pictures(4, seed=9))
ALL = [Blur(), BlurPyramid(), Constant(), Constant(0.0), RandomColour(), PinkNoise(), Donor(), Mixture()]
STILL = Jitter(0.0)
SLOTS = 2


def name_of(perturbation: Perturbation) -> str:
    return type(perturbation).__name__


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
