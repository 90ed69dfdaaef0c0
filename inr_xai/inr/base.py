"""The interface of every INR family: a stack of independent coordinate networks, one per image of a batch.

Byra and Skibbe, "Generating visual explanations from deep networks using implicit neural representations", WACV 2025:
the mask is a network of the pixel's coordinates, conditioned on the area. A fit evaluates it at few positions along
each side, and a product with two small matrices interpolates its logits to the pixels. So does every drawing of a
family that is defined by its logits at the corners of a grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.types import Areas

START_STEPS, START_SIDE, START_AREAS = 100, 24, (0.05, 0.15, 0.4)
"""A network is fitted to a field by so many steps, on a grid of so many points a side, at these areas."""

Positions = Float[Tensor, " _n"]
"""Positions along a side of the image, from -1 to 1: increasing, at equal distances, in double precision."""
Encoded = TypeVar("Encoded")
"""What a family computes from coordinates without learned weights: features, or the cells of a grid."""


class INR(nn.Module, ABC, Generic[Encoded]):
    """b networks f(u, a) -> logit, evaluated together.

    Every entry of the state dict has a leading image axis, so that the network of one image can be stored by itself.
    The constructor of a family takes one generator per image, and keyword arguments.
    """

    finest: int | None = None
    """Cells per side of a grid: the field is the bilinear interpolation of the logits at its corners, in a fit and in
    every drawing. None if the field is the logit at each point."""

    @abstractmethod
    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Encoded:
        """Computes the part without learned weights, as a fit does once for its grid; `forward` takes the result."""

    @abstractmethod
    def forward(self, encoded: Encoded, areas: Areas) -> Float[Tensor, "b a p"]:
        """Returns the logits of every image at every area and point."""

    @torch.enable_grad()
    def start_from(self, field: Float[Tensor, "b h w"]) -> None:
        """Changes the initial weights so that the logits of every area are near this field.

        It is a regression by Adam on a coarse grid; a family that can be given a field directly overrides it.

        Args:
            field: the logits at the centres of h x w equal parts of the image.
        """
        side = side_positions(min(START_SIDE, max(field.shape[-2:])))
        values = interpolate(field, [side_positions(length) for length in field.shape[-2:]], side)
        encoded, areas = self.encode(grid_points([side, side], field)), field.new_tensor(START_AREAS)
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01, eps=1e-6)
        for _ in range(START_STEPS):
            optimizer.zero_grad()
            (self(encoded, areas) - values.flatten(1).unsqueeze(1)).square().mean((1, 2)).sum().backward()
            optimizer.step()
        optimizer.zero_grad()


def side_positions(pixels: int, stride: int = 1, finest: int | None = None) -> Positions:
    """Returns the positions along a side at which an INR is evaluated.

    They are the centres of pixels // stride equal parts, or the corners of a grid with `finest` cells, if there is one.

    >>> side_positions(8, 4).tolist(), side_positions(8, 4, finest=4).tolist()
    ([-0.5, 0.5], [-1.0, -0.5, 0.0, 0.5, 1.0])
    """
    if finest is not None:
        return torch.linspace(-1, 1, finest + 1, dtype=torch.float64)
    count = max(1, pixels // stride)
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count * 2 - 1


def grid_points(axes: Sequence[Positions], like: Tensor) -> Float[Tensor, "p 2"]:
    """Returns the points (x, y) of a grid row by row, given its positions (y, x), with `like`'s dtype and device."""
    y, x = [axis.to(like) for axis in axes]
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2)


def interpolation(source: Positions, target: Positions) -> Float[Tensor, "t s"]:
    """Returns the matrix of linear interpolation from values at `source` to `target`, constant beyond the ends.

    >>> interpolation(side_positions(2), side_positions(4)).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    distance = target.clamp(source[0], source[-1])[:, None] - source
    step = source[1] - source[0] if len(source) > 1 else 1.0
    return (1 - distance.abs() / step).clamp(min=0)


def interpolate(values: Float[Tensor, "b h w"], source: Sequence[Positions], target: Positions) -> Tensor:
    """Returns b x t x t values at `target` along both axes, from values at the positions `source`, (y, x)."""
    down, across = [interpolation(axis, target).to(values) for axis in source]
    return down @ values @ across.mT
