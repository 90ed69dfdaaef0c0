"""The eight shapes of objects, of unit area, each as signed distance to its edge, which is negative inside.

Distances of discs, boxes and half planes, and their unions and cuts (min, max): Hart, "Sphere tracing", 1996.
"""

import math
from collections.abc import Callable
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

Field = Float[Tensor, "b h w"]
"""A value for each pixel of each scene."""
Distance = Callable[[Field, Field], Field]
"""A function of x and y that returns the signed distance to an edge."""

REACH: Final = 0.9
"""No shape of unit area reaches further than this from its centre."""


def shape_distance(kinds: Int[Tensor, " b"], x: Field, y: Field) -> Field:
    """Returns the signed distance of (x, y) to the edge of shape `kinds` (index into SHAPES), for shapes of area 1."""
    distance = torch.empty_like(x)
    for kind, of_shape in enumerate(SHAPES.values()):
        rows = (kinds == kind).nonzero().squeeze(1)
        if rows.numel() > 0:
            distance[rows] = of_shape(x[rows], y[rows])
    return distance


def _disc(x: Field, y: Field) -> Field:
    return torch.hypot(x, y) - 1 / math.sqrt(math.pi)


def _ring(x: Field, y: Field) -> Field:
    hole = 0.55
    radius = 1 / math.sqrt(math.pi * (1 - hole**2))
    middle, half_width = radius * (1 + hole) / 2, radius * (1 - hole) / 2
    return (torch.hypot(x, y) - middle).abs() - half_width


def _square(x: Field, y: Field) -> Field:
    return _box(x, y, 0.5, 0.5)


def _triangle(x: Field, y: Field) -> Field:
    inner_radius = 1 / math.sqrt(3 * math.sqrt(3))
    side = 0.5 * math.sqrt(3) * x.abs() - 0.5 * y
    return torch.maximum(side, y) - inner_radius


def _star(x: Field, y: Field) -> Field:
    """Returns the distance to a star of five points; folding the plane maps every edge to the same line."""
    dent, turn = 0.45, math.pi / 5
    tip = 1 / math.sqrt(5 * dent * math.sin(turn))
    angle = torch.atan2(x, -y)
    angle = (angle - 2 * turn * torch.round(angle / (2 * turn))).abs()
    radius = torch.hypot(x, y)
    along, across = radius * torch.cos(angle), radius * torch.sin(angle)
    edge_x, edge_y = dent * tip * math.cos(turn) - tip, dent * tip * math.sin(turn)
    return (across * -edge_x + (along - tip) * edge_y) / math.hypot(edge_x, edge_y)


def _cross(x: Field, y: Field) -> Field:
    thickness = 0.36
    half = 0.5 / math.sqrt(2 * thickness - thickness**2)
    return torch.minimum(_box(x, y, half, half * thickness), _box(x, y, half * thickness, half))


def _crescent(x: Field, y: Field) -> Field:
    bite, offset = 0.8, 0.5
    radius = 1 / math.sqrt(math.pi - _lens(1.0, bite, offset))
    disc = torch.hypot(x, y) - radius
    return torch.maximum(disc, bite * radius - torch.hypot(x - offset * radius, y))


def _heart(x: Field, y: Field) -> Field:
    """Returns the distance to a square on its tip with a half disc on each upper side."""
    half = 1 / math.sqrt(4 + math.pi)
    lowered = y - 0.15
    right = math.sqrt(0.5) * (x - lowered)
    left = math.sqrt(0.5) * (-x - lowered)
    lobes = torch.minimum(torch.hypot(right - half, left), torch.hypot(right, left - half)) - half
    return torch.minimum(_box(right, left, half, half), lobes)


def _box(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _lens(first: float, second: float, apart: float) -> float:
    """Returns the area of the intersection of two discs, given their radii and the distance of their centres."""
    near = (apart**2 + first**2 - second**2) / (2 * apart)
    far = apart - near
    chord = math.sqrt(first**2 - near**2)
    return first**2 * math.acos(near / first) + second**2 * math.acos(far / second) - apart * chord


SHAPES: Final[dict[str, Distance]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
    "heart": _heart,
}
