"""SIREN: a network with sines as activations.

Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions", NeurIPS 2020, section 3.2.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.inr.base import INR
from inr_xai.inr.mlp import Coordinates, StackedMLP
from inr_xai.inr.stacked import StackedLinear
from inr_xai.limits import require_numbers
from inr_xai.types import Areas


class SirenINR(INR[Coordinates]):
    """Layers sin(omega (W x + c)) of n inputs; W is uniform in +-1/n in the first and in +-sqrt(6/n)/omega in others.

    Args:
        generators: one per image.
        width: units of a hidden layer.
        depth: number of hidden layers.
        first_omega: omega of the first layer, the frequency of the finest waves in radians per half image side.
        hidden_omega: omega of the others. It does not change the initial fields, but multiplies the effect of an
            optimiser's step.
        conditioning: "concat", "film" or "none": see `inr_xai.inr.conditioning`.
        speed, film_speed: how fast the layers and FiLM learn: see `StackedMLP`.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        *,
        width: int = 64,
        depth: int = 3,
        first_omega: float = 15.0,
        hidden_omega: float = 1.0,
        conditioning: str = "concat",
        speed: float = 1.0,
        film_speed: float = 1.0,
    ):
        super().__init__()
        require_numbers("inr", width=width, first_omega=first_omega, hidden_omega=hidden_omega, speed=speed)

        def layer(inputs: int, first: bool) -> StackedLinear:
            if first:
                return StackedLinear(generators, inputs, width, bound=1 / inputs, gain=first_omega, speed=speed)
            return StackedLinear(generators, inputs, width, bound=spread, gain=hidden_omega, speed=speed)

        spread = (6 / width) ** 0.5 / hidden_omega
        self.network = StackedMLP(
            generators,
            2,
            width=width,
            depth=depth,
            conditioning=conditioning,
            layer=layer,
            activation=torch.sin,
            last_bound=spread,
            speed=speed,
            film_speed=film_speed,
        )

    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Coordinates:
        return coordinates.expand(len(self.network), -1, -1)

    def forward(self, encoded: Coordinates, areas: Areas) -> Float[Tensor, "b a p"]:
        return self.network(encoded, areas)
