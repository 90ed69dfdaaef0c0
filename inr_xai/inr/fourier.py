"""Random Fourier features, then a small ReLU network.

Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains", NeurIPS
2020, equation 5.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.inr.base import INR
from inr_xai.inr.mlp import StackedMLP
from inr_xai.limits import require_numbers
from inr_xai.seeding import stacked_normal
from inr_xai.types import Areas

Features = Float[Tensor, "b p e"]


class FourierINR(INR[Features]):
    """gamma(u) = (sin 2 pi B u, cos 2 pi B u), B ~ N(0, sigma^2), then `depth` hidden layers of `width` units.

    With several octaves, as many rows of B have each of the standard deviations sigma, 2 sigma, 4 sigma, ...

    Args:
        generators: one per image; B and the weights are drawn from it.
        width: units of a hidden layer.
        depth: number of hidden layers.
        frequencies: rows of B.
        sigma: standard deviation of the entries of B, in periods per half image side; a larger one gives finer detail.
        conditioning: "concat", "film" or "none": see `inr_xai.inr.conditioning`.
        octaves: number of standard deviations.
        speed, film_speed: how fast the layers and FiLM learn: see `StackedMLP`.
    """

    frequencies: Tensor

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        *,
        width: int = 64,
        depth: int = 3,
        frequencies: int = 64,
        sigma: float = 1.0,
        conditioning: str = "concat",
        octaves: int = 1,
        speed: float = 1.0,
        film_speed: float = 1.0,
    ):
        super().__init__()
        require_numbers("inr", frequencies=frequencies, sigma=sigma, octaves=octaves)
        octave = torch.arange(frequencies) * octaves // frequencies
        self.register_buffer("frequencies", stacked_normal(generators, (2, frequencies), sigma) * 2.0**octave)
        self.network = StackedMLP(
            generators,
            2 * frequencies,
            width=width,
            depth=depth,
            conditioning=conditioning,
            speed=speed,
            film_speed=film_speed,
        )

    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Features:
        angles = 2 * math.pi * torch.matmul(coordinates.to(self.frequencies), self.frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, encoded: Features, areas: Areas) -> Float[Tensor, "b a p"]:
        return self.network(encoded, areas)
