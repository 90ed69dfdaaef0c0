"""How the area enters a network: beside the first layer's input, by scales and shifts of every layer, or not at all.

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
    """What the area does to the sums of a hidden layer, before their activation.

    A subclass is made from the generators, the number s of sums of a layer, and the number of hidden layers.
    """

    @abstractmethod
    def forward(self, sums: Float[Tensor, "b m p s"], areas: Areas, layer: int) -> Float[Tensor, "b n p s"]:
        """The sums of hidden layer `layer`, from 0. The second axis is 1 as long as no area has come in, else a."""


class ConcatArea(Conditioning):
    """The area's encoding stands beside the input of the first layer.

    That layer is linear, so the encoding's share of its sums is added here, and the rest is computed once for all
    areas. The share is not multiplied by the layer's gain: areas side by side are to begin with similar fields.
    """

    def __init__(self, generators: Sequence[torch.Generator], sums: int, layers: int):
        super().__init__()
        self.linear = StackedLinear(generators, 3, sums)

    def forward(self, sums: Float[Tensor, "b m p s"], areas: Areas, layer: int) -> Float[Tensor, "b n p s"]:
        if layer > 0:
            return sums
        return sums + self.linear(encode_areas(areas).expand(len(sums), -1, -1)).unsqueeze(2)


class FiLMArea(Conditioning):
    """Every sum is multiplied by a scale and moved by a shift, both linear in the area's encoding.

    They start at exactly 1 and 0: all areas begin with one and the same field and part as their losses do.
    """

    def __init__(self, generators: Sequence[torch.Generator], sums: int, layers: int):
        super().__init__()
        self.linear = nn.ModuleList(StackedLinear(generators, 3, 2 * sums) for _ in range(layers))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, sums: Float[Tensor, "b m p s"], areas: Areas, layer: int) -> Float[Tensor, "b n p s"]:
        encoded = encode_areas(areas).expand(len(sums), -1, -1)
        scale, shift = self.linear[layer](encoded).unsqueeze(2).chunk(2, dim=-1)
        return sums * (1 + scale) + shift


class NoArea(Conditioning):
    """One field for all areas: the area acts through the threshold alone."""

    def __init__(self, generators: Sequence[torch.Generator], sums: int, layers: int):
        super().__init__()

    def forward(self, sums: Float[Tensor, "b m p s"], areas: Areas, layer: int) -> Float[Tensor, "b n p s"]:
        return sums


CONDITIONINGS: dict[str, type[ConcatArea] | type[FiLMArea] | type[NoArea]] = {
    "concat": ConcatArea,
    "film": FiLMArea,
    "none": NoArea,
}


def make_conditioning(name: str, generators: Sequence[torch.Generator], *, sums: int, layers: int) -> Conditioning:
    """The conditioning of that name. Raises UserError where there is none."""
    if name not in CONDITIONINGS:
        raise UserError(f"inr.conditioning={name} is not one of {', '.join(CONDITIONINGS)}; use inr.conditioning=film")
    return CONDITIONINGS[name](generators, sums, layers)


def encode_areas(areas: Areas) -> Float[Tensor, "a 3"]:
    """(z, sin pi z, cos pi z) of z = logit(a)/3, which spreads small areas; z runs over about [-1, 1].

    >>> encode_areas(torch.tensor([0.5])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    z = torch.logit(areas) / 3
    return torch.stack([z, (math.pi * z).sin(), (math.pi * z).cos()], dim=-1)
