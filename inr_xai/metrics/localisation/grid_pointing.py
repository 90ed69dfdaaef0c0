"""The grid pointing game: the share of a mosaic's map in the cell that shows the class.

Boehle, Fritz, Schiele, "Convolutional Dynamic Alignment Networks for Interpretable Classifications", CVPR 2021; Rao,
Boehle, Schiele, "Towards Better Understanding Attribution Methods", CVPR 2022, equation 1.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.metrics.base import MeanMetric, set_apart
from inr_xai.metrics.inputs import Maps, OneChannel, finite_maps, without_channel


def grid_pointing_game(
    maps: Maps, cells: Int[Tensor, " b"], *, side: int, negligible: float = 1e-7
) -> Float[Tensor, " b"]:
    """Returns sum of s+ in the cell / sum of s+, s+ = max(s, 0), in [0, 1]; higher is better, chance is 1 / side^2.

    It is 0 if the whole sum is negligible. Raises ValueError for NaN, and for maps that `side` does not divide.

    Args:
        cells: the number of the cell of each map's class, counted row by row.
        side: the number of cells in a row and in a column.
        negligible: sum of s+ in the units of the map up to which the map counts as empty.

    >>> maps = torch.tensor([[[1.0, 3.0], [-9.0, 0.0]]])
    >>> grid_pointing_game(maps, torch.tensor([1]), side=2).item()
    0.75
    """
    positive = finite_maps(maps).clamp(min=0)
    height, width = positive.shape[1:]
    if side < 1 or height % side or width % side:
        raise ValueError(
            f"expected maps that can be cut into {side} x {side} cells, got {height} x {width} pixels; "
            "enlarge them to the size of their mosaic"
        )
    if not ((cells >= 0) & (cells < side**2)).all():
        raise ValueError(f"expected cells from 0 to {side**2 - 1}, row by row, got {cells.tolist()}")
    mass = positive.unflatten(2, (side, -1)).unflatten(1, (side, -1)).sum((2, 4)).flatten(1)
    total = mass.sum(1)
    inside = mass.gather(1, cells.to(mass.device).long().unsqueeze(1)).squeeze(1)
    return inside / total.where(total > negligible, torch.inf)


class GridPointingGame(MeanMetric):
    """Mean over maps of `grid_pointing_game`.

    Args:
        side: the number of cells in a row and in a column, if `update` gets none.
    """

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, *, side: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.side = side
        set_apart(self, side)

    def update(self, maps: OneChannel, cells: Int[Tensor, " b"], *, side: int | None = None) -> None:
        side = self.side if side is None else side
        if side is None:
            raise ValueError("expected side, the number of cells in a row; give it to GridPointingGame or to update")
        self.accumulate(grid_pointing_game(without_channel(maps), cells, side=side))
