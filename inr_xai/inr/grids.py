"""Grids of learned numbers, from coarse to fine: their sum, or the input of a ReLU network.

Mueller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", SIGGRAPH 2022, section 3.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inr_xai.errors import UserError
from inr_xai.inr.base import INR, interpolate, side_positions
from inr_xai.inr.mlp import StackedMLP
from inr_xai.limits import require_capacity, require_numbers
from inr_xai.seeding import stacked_normal, stacked_uniform
from inr_xai.types import Areas

PRIMES = (1, 2_654_435_761)  # the paper's pi_1 and pi_2
FINEST = 65_536  # cells a side; the largest input has fewer pixels
CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))


class Cells(NamedTuple):
    """For each point and level, the four corners of the cell around it: rows in the table and bilinear weights."""

    rows: Int[Tensor, "p l 4"]
    weights: Float[Tensor, "p l 4"]


class PyramidINR(INR[Cells]):
    """f(u) = gain * sum over levels l of the bilinear interpolation at u of grid l, one field for all areas.

    Args:
        generators: one per image; the initial values are drawn from it.
        sides: cells per side of each grid.
        gain: factor of the sum. With 5, the values change fast enough at the learning rate of the other families.
        scale: standard deviation of the initial values, before the gain; a few steps change them by more than that.
        conditioning: only "none": the area determines the threshold, so that larger masks contain the smaller ones.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        *,
        sides: Sequence[int] = (4, 7, 14, 28),
        gain: float = 5.0,
        scale: float = 0.02,
        conditioning: str = "none",
    ):
        super().__init__()
        if conditioning != "none":
            raise UserError(
                f"inr.conditioning={conditioning} is not available with inr=pyramid, which is one field for all areas; "
                "use inr.conditioning=none, or inr=feature_grid"
            )
        require_sides(sides)
        require_numbers("inr", gain=gain, scale=scale)
        self.sides, self.gain = list(sides), gain
        self.sizes = [(side + 1) ** 2 for side in sides]
        require_capacity(sum(self.sizes))
        self.table = nn.Parameter(stacked_normal(generators, (sum(self.sizes),), scale))

    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Cells:
        return find_cells(coordinates, self.sides, self.sizes)

    def forward(self, encoded: Cells, areas: Areas) -> Float[Tensor, "b a p"]:
        field = (self.table[:, encoded.rows] * encoded.weights).sum((-2, -1)) * self.gain
        return field.unsqueeze(1).expand(-1, len(areas), -1)

    def start_from(self, field: Float[Tensor, "b h w"]) -> None:
        values = torch.cat([values.flatten(1) for values in spread(field, self.sides)], dim=1)
        self.table.data.copy_(values / self.gain)


class GridINR(INR[Cells]):
    """Level l divides each side of the image into floor(base * growth^l) cells, with a feature vector at each corner.

    A point's features are interpolated bilinearly at every level; concatenated, they are the input of the network.

    Args:
        generators: one per image.
        levels: number of grids.
        features: learned numbers at a corner of one grid.
        base: cells per side of the coarsest grid.
        growth: factor from one level's resolution to the next one's, at least 1.
        table_size: the most rows of a level, a power of two; a level with more corners assigns them to rows by the
            paper's hash. None gives every corner a row of its own (a dense grid).
        feature_scale: initial features are uniform in +-feature_scale. The paper has 1e-4, for longer fits.
        width: units of a hidden layer of the network.
        depth: number of its hidden layers.
        conditioning: "concat", "film" or "none": see `inr_xai.inr.conditioning`.
        speed, film_speed: how fast the network's layers and FiLM learn, compared with the grids: see `StackedMLP`.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        *,
        levels: int = 5,
        features: int = 4,
        base: int = 3,
        growth: float = 1.6,
        table_size: int | None = None,
        feature_scale: float = 0.1,
        width: int = 64,
        depth: int = 2,
        conditioning: str = "concat",
        speed: float = 1.0,
        film_speed: float = 1.0,
    ):
        super().__init__()
        require_numbers("inr", levels=levels, features=features, base=base, growth=growth)
        require_numbers("inr", table_size=table_size, feature_scale=feature_scale)
        if table_size is not None and (table_size < 2 or table_size & (table_size - 1)):
            raise UserError(f"inr.table_size={table_size} is no power of two; use one such as 256, or null (dense)")
        if base * growth ** (levels - 1) > FINEST:
            raise UserError(
                f"inr would have {base * growth ** (levels - 1):.2g} cells a side at its finest level; give fewer "
                f"inr.levels or less inr.growth, for at most {FINEST}"
            )
        self.sides = [int(base * growth**level + 1e-9) for level in range(levels)]
        self.sizes = [min((side + 1) ** 2, table_size or (side + 1) ** 2) for side in self.sides]
        require_capacity(sum(self.sizes) * features)
        self.table = nn.Parameter(stacked_uniform(generators, (sum(self.sizes), features), feature_scale))
        self.network = StackedMLP(
            generators,
            levels * features,
            width=width,
            depth=depth,
            conditioning=conditioning,
            speed=speed,
            film_speed=film_speed,
        )

    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Cells:
        return find_cells(coordinates, self.sides, self.sizes)

    def forward(self, encoded: Cells, areas: Areas) -> Float[Tensor, "b a p"]:
        corners = self.table[:, encoded.rows]
        features = (corners * encoded.weights.unsqueeze(-1)).sum(-2)
        return self.network(features.flatten(2), areas)


def require_sides(sides: Sequence[int]) -> None:
    """Raises UserError unless grids with so many cells a side can be made, one or more."""
    if not sides:
        raise UserError("inr.sides names no grid; give the cells per side of each, such as inr.sides=[4,7,14,28]")
    for side in sides:
        require_numbers("inr", sides=side)


def find_cells(coordinates: Float[Tensor, "p 2"], sides: Sequence[int], sizes: Sequence[int]) -> Cells:
    """Returns the cells around points of [-1, 1]^2 in each of several grids that share one table.

    Args:
        sides: cells per side of each grid.
        sizes: rows of each grid in the table, where the grids follow one another.
    """
    rows, weights = [], []
    for level, (side, size) in enumerate(zip(sides, sizes, strict=True)):
        place = (coordinates + 1) / 2 * side
        low = place.floor().clamp(0, side - 1)
        part = place - low
        for corner in CORNERS:
            offset = torch.tensor(corner, device=coordinates.device)
            rows.append(sum(sizes[:level]) + corner_row(low.long() + offset, side, size))
            weights.append((1 - offset + (2 * offset - 1) * part).prod(-1))
    shape = (len(sides), len(CORNERS))
    return Cells(*[torch.stack(values, dim=-1).unflatten(-1, shape) for values in (rows, weights)])


def corner_row(corner: Int[Tensor, "p 2"], side: int, size: int) -> Int[Tensor, " p"]:
    """Returns the row of a corner (x, y): y (side + 1) + x if all have rows, otherwise (x pi_1 xor y pi_2) mod size.

    >>> corner_row(torch.tensor([[1, 2]]), 3, 16).tolist(), corner_row(torch.tensor([[1, 2]]), 3, 8).tolist()
    ([9], [3])
    """
    x, y = corner.unbind(-1)
    if size >= (side + 1) ** 2:
        return y * (side + 1) + x
    return torch.bitwise_xor(x * PRIMES[0], y * PRIMES[1]) % size


def spread(field: Float[Tensor, "b h w"], sides: Sequence[int]) -> list[Float[Tensor, "b s s"]]:
    """Returns values at the corners of grids whose interpolations add up to a field, each grid what coarser ones lack.

    Args:
        field: values at the centres of an h x w grid; the sum is exact at the corners of the last grid.
        sides: cells per side of each grid, from coarse to fine.
    """
    axes = [side_positions(side) for side in field.shape[-2:]]
    levels = [side_positions(side + 1, finest=side) for side in sides]
    values: list[Tensor] = []
    for corners in levels:
        coarser = [interpolate(grid, [axis, axis], corners) for grid, axis in zip(values, levels, strict=False)]
        values.append(interpolate(field, axes, corners) - sum(coarser))
    return values
