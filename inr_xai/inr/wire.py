"""WIRE: a network with real Gabor wavelets as activations.

Saragadam et al., "WIRE: Wavelet Implicit Neural Representations", CVPR 2023, section 3. The paper's networks are
complex, exp(j omega z - |s z|^2). The authors' real ones, used here, give each unit two real sums, one for the wave and
one for its envelope; complex weights would not work in half precision and in stored files.
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


class WireINR(INR[Coordinates]):
    """Layers cos(omega (W x + c)) exp(-(s (V x + d))^2), with the weights of torch.nn.Linear.

    Args:
        generators: one per image.
        width: units of a hidden layer.
        depth: number of hidden layers.
        omega: frequency of the waves; in the first layer the unit is radians per half image side.
        scale: s, the inverse width of their envelopes.
        conditioning: "concat", "film" or "none", for both sums of a unit: see `inr_xai.inr.conditioning`.
        speed, film_speed: how fast the layers and FiLM learn: see `StackedMLP`.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        *,
        width: int = 64,
        depth: int = 3,
        omega: float = 2.0,
        scale: float = 1.0,
        conditioning: str = "concat",
        speed: float = 1.0,
        film_speed: float = 1.0,
    ):
        super().__init__()
        require_numbers("inr", width=width, omega=omega, scale=scale, speed=speed)
        gain = [omega] * width + [scale] * width
        self.network = StackedMLP(
            generators,
            2,
            width=width,
            depth=depth,
            conditioning=conditioning,
            layer=lambda inputs, _: StackedLinear(generators, inputs, 2 * width, gain=gain, speed=speed),
            activation=gabor,
            speed=speed,
            film_speed=film_speed,
        )

    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Coordinates:
        return coordinates.expand(len(self.network), -1, -1)

    def forward(self, encoded: Coordinates, areas: Areas) -> Float[Tensor, "b a p"]:
        return self.network(encoded, areas)


def gabor(sums: Float[Tensor, "... s"]) -> Float[Tensor, "... w"]:
    """Returns cos(first half) * exp(-(second half)^2).

    >>> gabor(torch.tensor([0.0, 0.0])).tolist()
    [1.0]
    """
    wave, envelope = sums.chunk(2, dim=-1)
    return wave.cos() * (-envelope.square()).exp()
