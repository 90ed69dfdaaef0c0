"""The default family: grids of single numbers, from coarse to fine, whose interpolated values are added up.

The dense grids of Mueller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", SIGGRAPH
2022, section 3, with one feature at a corner and no network behind them. A gradient then moves every scale of the field
at once and all pixels of a region together, which is what the few steps of a fit need.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.errors import UserError
from inr_xai.inr.base import INR, require_positive, require_whole
from inr_xai.inr.grid import Cells, find_cells
from inr_xai.inr.stacked import stacked_normal
from inr_xai.types import Areas


class PyramidINR(INR[Cells]):
    """f(u) = gain * sum over levels l of the bilinear interpolation at u of grid l, one field for all areas.

    Args:
        generators: one per image; they draw the first values.
        sides: cells per side of each grid.
        gain: factor of the sum. At 5 the values move as fast under the other families' learning rate as they should.
        scale: standard deviation of a grid's first values, before the gain; a few steps outgrow it.
        conditioning: "none" alone: the area acts through the threshold, so that a larger area contains the smaller.
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
                f"inr.conditioning={conditioning} is not to be had with inr=pyramid, which is one field for all areas; "
                "use inr.conditioning=none, or inr=dense_grid"
            )
        if not sides:
            raise UserError("inr.sides names no grid; give the cells per side of each, such as inr.sides=[4,7,14,28]")
        for side in sides:
            require_whole(sides=side)
        require_positive(gain=gain, scale=scale)
        self.sides, self.gain = list(sides), gain
        self.sizes = [(side + 1) ** 2 for side in sides]
        self.table = nn.Parameter(stacked_normal(generators, (sum(self.sizes),), scale))

    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Cells:
        return find_cells(coordinates, self.sides, self.sizes)

    def forward(self, encoded: Cells, areas: Areas) -> Float[Tensor, "b a p"]:
        field = (self.table[:, encoded.rows] * encoded.weights).sum((-2, -1)) * self.gain
        return field.unsqueeze(1).expand(-1, len(areas), -1)
