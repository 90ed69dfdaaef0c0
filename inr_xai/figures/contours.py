"""Pictures on matplotlib's axes: the photo, contours that show on every ground, and the numbers of explanations."""

from typing import Any

import numpy as np
from matplotlib.patheffects import Normal, Stroke

from inr_xai.figures.palette import DARK_EDGE, LIGHT_EDGE
from inr_xai.figures.pixels import eight_bits, enlarged
from inr_xai.figures.text import SMALL, TEXT

LINE, EDGE = 1.0, 0.45
"""Widths in points: of a contour's line, and of the light and the dark edge on both of its sides."""


def draw_picture(axes: Any, picture: np.ndarray, size: tuple[int, int]) -> None:
    """Draws an array h x w x 3 with values in [0, 1], of any resolution, on the pixels of a photo of that size."""
    height, width = size
    shown = eight_bits(picture)
    axes.imshow(enlarged(shown), extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="auto")
    axes.set_axis_off()


def draw_contour(axes: Any, mask: np.ndarray, colour: str, *, width: float = LINE) -> None:
    """Draws the contour of a hard mask, a line between light edges between dark ones.

    Args:
        mask: h x w, values in [0, 1]; where it keeps everything or nothing there is no contour.
        width: of the line without its edges, in points.
    """
    mask = np.nan_to_num(mask)
    if min(mask.shape) < 2 or not ((mask > 0.5).any() and (mask <= 0.5).any()):
        return
    # Beyond the outermost pixels' centres, as far as their edges.
    along = [np.concatenate([[-0.5], np.arange(size), [size - 0.5]]) for size in mask.shape]
    limits = axes.axis()
    lines = axes.contour(along[1], along[0], np.pad(mask, 1, mode="edge"), levels=[0.5], colors=[colour])
    axes.axis(limits)
    lines.set_linewidth(width)
    edges = ((width + 4 * EDGE, DARK_EDGE), (width + 2 * EDGE, LIGHT_EDGE))
    lines.set_path_effects([*(Stroke(linewidth=wide, foreground=edge) for wide, edge in edges), Normal()])


def draw_number(axes: Any, mask: np.ndarray, number: int, colour: str) -> None:
    """Writes an explanation's number on a disc of its colour, where the hard mask is widest."""
    hard = np.nan_to_num(mask) > 0.5
    if not hard.any():
        return
    y, x = _widest(hard)
    disc = {"boxstyle": "circle,pad=0.22", "facecolor": colour, "edgecolor": LIGHT_EDGE, "linewidth": 0.8}
    style = {"ha": "center", "va": "center", "size": SMALL, "weight": "bold", "color": LIGHT_EDGE}
    axes.text(x, y, str(number), bbox=disc, **(TEXT | style))


def _widest(hard: np.ndarray) -> tuple[int, int]:
    """Returns the pixel of a mask whose surroundings lie in it the most."""
    height, width = hard.shape
    reach = max(1, min(height, width) // 10)
    sums = np.pad(np.pad(hard.astype(float), reach).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = 2 * reach + 1
    around = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    y, x = np.unravel_index(np.where(hard, around, -1).argmax(), hard.shape)
    return int(y), int(x)
