"""A hole in an image filled by copies of what surrounds it, patch by patch from its border inwards.

Efros, Leung, "Texture Synthesis by Non-parametric Sampling", ICCV 1999, in patches: Criminisi, Perez, Toyama, "Region
Filling and Object Removal by Exemplar-Based Image Inpainting", IEEE TIP 2004, without its order along edges. Nothing
is drawn: the same image and hole give the same fill.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from inr_xai.errors import UserError

CELL = 4
"""Side of a cell in pixels. Patches are compared by the mean colours of cells, and copied in whole cells."""
WINDOW = 7
"""Side in cells of the window that is compared: what is known of it in the hole with all windows of the ground."""
CORE = 1
"""How many cells around the middle of a window are copied with it."""


def texture_fill(image: Float[Tensor, "c h w"], hole: Bool[Tensor, "h w"]) -> Float[Tensor, "c h w"]:
    """Returns the image with every pixel of the hole replaced by a copy of a pixel outside it.

    The next cell is always the one of whose window most is known (of several the first in reading order). It takes the
    cell, with its neighbours, in whose window the known colours differ least, as a mean of squares.

    Raises:
        UserError: no cell is free of the hole.
    """
    cells = F.max_pool2d(hole[None, None].float(), CELL, ceil_mode=True)[0, 0].numpy() > 0
    if cells.all():
        raise UserError(f"the hole leaves no square of {CELL} pixels of the image, from which it could be filled")
    colours = F.avg_pool2d(image[None].double(), CELL, ceil_mode=True)[0].permute(1, 2, 0).numpy().copy()
    source = _sources(colours, cells)
    height, width = hole.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cell = torch.from_numpy(source)[rows // CELL, columns // CELL]
    # A cell at the border may be narrower than the one that it is copied to.
    from_rows = (cell[..., 0] * CELL + rows % CELL).clamp_max(height - 1)
    from_columns = (cell[..., 1] * CELL + columns % CELL).clamp_max(width - 1)
    return torch.where(hole, image[:, from_rows, from_columns], image)


def _sources(colours: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Returns the row and column of the cell that each cell is copied from; a cell outside the hole is its own.

    Args:
        colours: the mean colour of each cell, rows x columns x channels.
        hole: the cells of the hole.
    """
    source = np.stack(np.indices(hole.shape), -1)
    window, places, bank = _windows(colours, hole)
    reach, core = window // 2, min(CORE, window // 2)
    colours, known = _padded(colours, reach), _padded(~hole, reach)
    counts = sliding_window_view(known, (window, window)).sum((2, 3))
    counts[~hole] = -1  # these are not to be filled
    while counts.max() >= 0:
        row, column = np.unravel_index(counts.argmax(), counts.shape)
        around = slice(row, row + window), slice(column, column + window)
        weight = known[around].reshape(-1, 1)
        distance = (((bank - colours[around].reshape(window**2, -1)) ** 2) * weight).sum((1, 2))
        best = places[distance.argmin()]
        for down in range(max(-core, -row), min(core, hole.shape[0] - 1 - row) + 1):
            for right in range(max(-core, -column), min(core, hole.shape[1] - 1 - column) + 1):
                at, copied = (row + down, column + right), (best[0] + down, best[1] + right)
                if counts[at] < 0:
                    continue
                source[at], counts[at] = copied, -1
                padded = at[0] + reach, at[1] + reach
                colours[padded], known[padded] = colours[copied[0] + reach, copied[1] + reach], True
                near = counts[max(0, at[0] - reach) : at[0] + reach + 1, max(0, at[1] - reach) : at[1] + reach + 1]
                near[near >= 0] += 1
    return source


def _windows(colours: np.ndarray, hole: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Returns the side of the windows, the cells in the middle of those without a hole, and these windows' colours.

    The side is WINDOW, or the next smaller odd number of which there is a window without a hole.
    """
    for window in range(WINDOW, 0, -2):
        if window > min(hole.shape):
            continue
        whole = ~sliding_window_view(hole, (window, window)).any((2, 3))
        if whole.any():
            break
    views = sliding_window_view(colours, (window, window), axis=(0, 1))[whole]
    places = np.argwhere(whole) + window // 2
    return window, places, views.transpose(0, 2, 3, 1).reshape(len(places), window**2, -1)


def _padded(values: np.ndarray, reach: int) -> np.ndarray:
    """Returns the values with a border of zeros in rows and columns."""
    return np.pad(values, [(reach, reach), (reach, reach), *[(0, 0)] * (values.ndim - 2)])
