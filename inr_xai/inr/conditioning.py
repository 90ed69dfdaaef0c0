"""How the area enters a network: as an input of the first layer, by scales and shifts of every layer, or not at all.

FiLM: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018, equation 2.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.errors import UserError
from inr_xai.inr.stacked import StackedLinear
from inr_xai.types import Areas


class Conditioning(nn.Module, ABC):
    """Changes the sums of a hidden layer, before their activation, by the area.

    The constructor of a subclass takes the generators, the number s of sums per layer, the number of hidden layers, and
    how fast FiLM learns, which only FiLM uses.
    """

    @abstractmethod
    def forward(self, sums: Float[Tensor, "b m p s"], areas: Areas, layer: int) -> Float[Tensor, "b n p s"]:
        """Returns the new sums of hidden layer `layer` (from 0). The second axis is 1 until the area enters, then a."""


class ConcatArea(Conditioning):
    """The area's encoding is an additional input of the first layer.

    That layer is linear, so the encoding's part of its sums is added here, and the rest is computed once for all areas.
    The layer's gain does not apply to this part, so that the fields of similar areas start similar.
    """

    def __init__(self, generators: Sequence[torch.Generator], sums: int, layers: int, speed: float = 1.0):
        super().__init__()
        self.linear = StackedLinear(generators, 3, sums)

    def forward(self, sums: Float[Tensor, "b m p s"], areas: Areas, layer: int) -> Float[Tensor, "b n p s"]:
        if layer > 0:
            return sums
        return sums + self.linear(encode_areas(areas).expand(len(sums), -1, -1)).unsqueeze(2)


class FiLMArea(Conditioning):
    """Every sum is multiplied by a scale and moved by a shift, both linear in the area's encoding.

    They start at exactly 1 and 0, so that the fields of all areas are equal before the first step.
    """

    def __init__(self, generators: Sequence[torch.Generator], sums: int, layers: int, speed: float = 1.0):
        super().__init__()
        self.linear = nn.ModuleList(StackedLinear(generators, 3, 2 * sums, speed=speed) for _ in range(layers))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, sums: Float[Tensor, "b m p s"], areas: Areas, layer: int) -> Float[Tensor, "b n p s"]:
        encoded = encode_areas(areas).expand(len(sums), -1, -1)
        scale, shift = self.linear[layer](encoded).unsqueeze(2).chunk(2, dim=-1)
        return sums * (1 + scale) + shift


class NoArea(Conditioning):
    """One field for all areas; the area only determines the threshold."""

    def __init__(self, generators: Sequence[torch.Generator], sums: int, layers: int, speed: float = 1.0):
        super().__init__()

    def forward(self, sums: Float[Tensor, "b m p s"], areas: Areas, layer: int) -> Float[Tensor, "b n p s"]:
        return sums


CONDITIONINGS: dict[str, type[ConcatArea] | type[FiLMArea] | type[NoArea]] = {
    "concat": ConcatArea,
    "film": FiLMArea,
    "none": NoArea,
}


def make_conditioning(
    name: str, generators: Sequence[torch.Generator], *, sums: int, layers: int, film_speed: float = 1.0
) -> Conditioning:
    """Returns the conditioning of this name. Raises UserError if there is none."""
    if name not in CONDITIONINGS:
        raise UserError(f"inr.conditioning={name} is not one of {', '.join(CONDITIONINGS)}; use inr.conditioning=film")
    return CONDITIONINGS[name](generators, sums, layers, film_speed)


def encode_areas(areas: Areas) -> Float[Tensor, "a 3"]:
    """Returns (z, sin pi z, cos pi z) with z = logit(a)/3, about in [-1, 1], which spreads small areas.

    >>> encode_areas(torch.tensor([0.5])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    z = torch.logit(areas) / 3
    angle = math.pi * z
    return torch.stack([z, angle.sin(), angle.cos()], dim=-1)
