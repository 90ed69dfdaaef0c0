"""The eight textures, each as signed distance to the edge of its ink, which is negative on the ink.

Coordinates and distances are in periods. A texture has no parameters; a large shift gives a different piece of it.
"""

import math
from typing import Final

import torch
from jaxtyping import Int
from torch import Tensor

from inr_xai.data.scenes.shapes import Distance, Field


def texture_distance(kinds: Int[Tensor, " b"], x: Field, y: Field) -> Field:
    """Returns the signed distance of (x, y) to the edge of the ink of texture `kinds` (index into TEXTURES)."""
    distance = torch.empty_like(x)
    for kind, of_texture in enumerate(TEXTURES.values()):
        rows = (kinds == kind).nonzero().squeeze(1)
        if rows.numel() > 0:
            distance[rows] = of_texture(x[rows], y[rows])
    return distance


def _dots(x: Field, y: Field) -> Field:
    return torch.hypot(_from_middle(x), _from_middle(y)) - 0.28


def _checks(x: Field, y: Field) -> Field:
    return _either(_stripes(x, y), _stripes(y, x))


def _stripes(x: Field, y: Field) -> Field:
    return _from_middle(x) - 0.25


def _zigzag(x: Field, y: Field) -> Field:
    width = 1.3
    chevron = y + width * _from_middle(x / width)
    return (_from_middle(chevron) - 0.25) * math.sqrt(0.5)


def _bricks(x: Field, y: Field) -> Field:
    height, width, mortar = 0.7, 1.4, 0.07
    row = torch.floor(y / height)
    to_row_edge = height * (0.5 - _from_middle(y / height))
    to_end = width * (0.5 - _from_middle(x / width + 0.5 * row))
    return torch.minimum(to_row_edge, to_end) - mortar


def _scales(x: Field, y: Field) -> Field:
    """Returns the distance to the rims of rows of discs, each row over the one above it."""
    row = torch.floor(2 * y)
    over = 0.5 - torch.hypot(_from_middle(x + 0.5 * (row + 1)), y - 0.5 * (row + 1))
    under = 0.5 - torch.hypot(_from_middle(x + 0.5 * row), y - 0.5 * row)
    return torch.where(over > 0, _rim(over), torch.minimum(_rim(over), _rim(under)))


def _honeycomb(x: Field, y: Field) -> Field:
    """Returns the distance to the walls of hexagonal cells, one period wide.

    A point belongs to the nearer centre of two rectangular lattices.
    """
    tall, wall = math.sqrt(3), 0.08
    cells = []
    for shift in (0.0, 0.5):
        across = _from_middle(x + shift)
        up = tall * _from_middle(y / tall + shift)
        cells.append((across.square() + up.square(), torch.maximum(across, 0.5 * across + 0.5 * tall * up)))
    (first, reach), (second, other_reach) = cells
    return 0.5 - torch.where(first < second, reach, other_reach) - wall


def _clouds(x: Field, y: Field) -> Field:
    """Returns a sum of plane waves in different directions; the factor makes its mean slope about 1."""
    waves = torch.zeros_like(x)
    for index in range(7):
        angle, frequency = 2.399963 * index, 0.45 + 0.055 * index
        turn = 2 * math.pi * frequency
        waves = waves + torch.sin(turn * (math.cos(angle) * x + math.sin(angle) * y) + 1.7 * index)
    return 0.14 * waves


def _from_middle(t: Field) -> Field:
    """Returns the distance of t to the nearest half-integer, 0 to 0.5."""
    return (t - torch.floor(t) - 0.5).abs()


def _either(first: Field, second: Field) -> Field:
    """Returns the pattern whose ink is where exactly one of two patterns has ink."""
    return torch.maximum(torch.minimum(first, second), -torch.maximum(first, second))


def _rim(depth: Field) -> Field:
    return (depth - 0.07).abs() - 0.07


TEXTURES: Final[dict[str, Distance]] = {
    "checks": _checks,
    "dots": _dots,
    "zigzag": _zigzag,
    "stripes": _stripes,
    "bricks": _bricks,
    "honeycomb": _honeycomb,
    "clouds": _clouds,
    "scales": _scales,
}
