"""The default family: random Fourier features, then a small ReLU network, the area being one more input.

Features: Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains",
NeurIPS 2020, equation 5.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.errors import UserError
from inr_xai.inr.base import INR
from inr_xai.inr.stacked import StackedLinear, stacked_normal
from inr_xai.types import Areas


class FourierINR(INR):
    """gamma(u) = (sin 2 pi B u, cos 2 pi B u), B ~ N(0, sigma^2), then `depth` hidden layers of `width` units.

    Args:
        generators: one per image; they draw B and the weights.
        width: units of a hidden layer.
        depth: number of hidden layers.
        frequencies: rows of B.
        sigma: standard deviation of B's entries, in periods per half image side; larger draws finer detail.
        conditioning: "concat" makes the area an input of the first layer; "none" draws one field for all areas, so
            that the area acts through the threshold alone and a larger area contains the smaller.
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
    ):
        super().__init__()
        if min(width, depth, frequencies) < 1 or sigma <= 0:
            raise UserError(
                "inr.width, inr.depth and inr.frequencies must be at least 1 and inr.sigma positive; "
                f"got {width}, {depth}, {frequencies} and {sigma}"
            )
        if conditioning not in CONDITIONINGS:
            raise UserError(f"inr.conditioning must be one of {', '.join(CONDITIONINGS)}; got {conditioning!r}")
        self.register_buffer("frequencies", stacked_normal(generators, (2, frequencies), sigma))
        self.first = StackedLinear(generators, 2 * frequencies, width)
        self.area = CONDITIONINGS[conditioning](generators, width)
        self.hidden = nn.ModuleList(StackedLinear(generators, width, width) for _ in range(depth - 1))
        self.last = StackedLinear(generators, width, 1)

    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Float[Tensor, "b p e"]:
        angles = 2 * math.pi * torch.matmul(coordinates.to(self.frequencies), self.frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, encoded: Float[Tensor, "b p e"], areas: Areas) -> Float[Tensor, "b a p"]:
        b, p = encoded.shape[:2]
        # The first layer is linear in (gamma, area): gamma's part is computed once for all areas.
        x = torch.relu(self.first(encoded).unsqueeze(1) + self.area(areas))
        a = x.shape[1]
        x = x.flatten(1, 2)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.last(x).reshape(b, a, p).expand(b, len(areas), p)


class ConcatArea(nn.Module):
    """The area's share of the first layer's sum, as if its encoding stood beside gamma(u) in the input."""

    def __init__(self, generators: Sequence[torch.Generator], width: int):
        super().__init__()
        self.linear = StackedLinear(generators, 3, width)

    def forward(self, areas: Areas) -> Float[Tensor, "b a 1 width"]:
        b = len(self.linear.weight)
        return self.linear(encode_areas(areas).expand(b, -1, -1)).unsqueeze(2)


class NoArea(nn.Module):
    """One field for all areas."""

    def __init__(self, generators: Sequence[torch.Generator], width: int):
        super().__init__()

    def forward(self, areas: Areas) -> Float[Tensor, "1 1 1 1"]:
        return areas.new_zeros(1, 1, 1, 1)


CONDITIONINGS: dict[str, type[ConcatArea] | type[NoArea]] = {"concat": ConcatArea, "none": NoArea}


def encode_areas(areas: Areas) -> Float[Tensor, "a 3"]:
    """(z, sin pi z, cos pi z) of z = logit(a)/3, which spreads small areas; z runs over about [-1, 1].

    >>> encode_areas(torch.tensor([0.5])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    z = torch.logit(areas) / 3
    return torch.stack([z, (math.pi * z).sin(), (math.pi * z).cos()], dim=-1)
