"""Draws scenes whose parts are independent: shape and texture of an object, the ground, and a distractor.

The object has a texture of two tones, the ground one of two other tones; the distractor is a small plain shape that
never touches the object. Edges are anti-aliased by distance and colours chosen in OKLab, as in
inr_xai.data.scenes.scene.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inr_xai.data.scenes.scene import (
    Colours,
    PerScene,
    antialiased,
    between,
    centred_axes,
    lit,
    oklch,
    over,
    turned,
)
from inr_xai.data.scenes.shapes import REACH, Distance, Field, shape_distance
from inr_xai.data.scenes.textures import texture_distance
from inr_xai.types import Images

CHANCES: Final = 34
"""The number of uniform random numbers that determine a scene."""
OBJECT_AREA: Final = (0.08, 0.22)
DISTRACTOR_AREA: Final = (0.006, 0.012)
"""Smallest and largest share of the image."""
GROUND_PERIOD: Final = (0.13, 0.20)
OBJECT_PERIOD: Final = (0.05, 0.075)
"""Smallest and largest period of a texture, in image sides."""


@dataclass(frozen=True)
class Kinds:
    """What each scene shows, as indices into SHAPES, TEXTURES (of the object and of the ground) and DISTRACTORS."""

    object_shape: Int[Tensor, " b"]
    object_texture: Int[Tensor, " b"]
    background_texture: Int[Tensor, " b"]
    distractor: Int[Tensor, " b"]


@dataclass(frozen=True)
class ContextScenes:
    """Scenes, and the share of each pixel that the object and the distractor cover."""

    images: Images
    object: Field
    distractor: Field


def draw(
    kinds: Kinds,
    chances: Float[Tensor, "b n"],
    noise: Images,
    *,
    with_object: Bool[Tensor, " b"] | None = None,
    with_texture: Bool[Tensor, " b"] | None = None,
) -> ContextScenes:
    """Draws one scene for each row of `chances` (uniform in [0, 1)) and of `noise` (standard normal, image-sized).

    A kind determines its own pattern or outline and nothing else. `with_object` False leaves the object out,
    `with_texture` False makes the ground plain; by default both are there.
    """
    chance = chances.unbind(1)
    x, y = centred_axes(noise.shape[-1], like=chances)
    here_x, here_y, side = _place(chance[0:3])
    object_coverage = _object(kinds.object_shape, _local(x, y, here_x, here_y, chance[3], math.pi / 4), side)
    distractor = _distractor(kinds.distractor, (x, y), (here_x, here_y, side), chance[4:8])
    ink = _ink(kinds.background_texture, x, y, chance[8:12], GROUND_PERIOD)
    pattern = _ink(kinds.object_texture, x, y, chance[12:16], OBJECT_PERIOD)
    if with_object is not None:
        object_coverage = object_coverage * with_object[:, None, None]
    if with_texture is not None:
        ink = torch.where(with_texture[:, None, None], ink, torch.full_like(ink, 0.5))
    (light, dark), (bright, dull), plain = _palette(chance[16:30])
    images = _mixed(light, dark, ink)
    images = over(plain, images, distractor)
    share = object_coverage[:, None]
    images = share * _mixed(bright, dull, pattern) + (1 - share) * images
    images = images * lit(x, y, chance[30], chance[31])[:, None]
    images = 0.5 + between(chance[32], 0.7, 1.0)[:, None, None, None] * (images - 0.5)
    grain = between(chance[33], 0.005, 0.035)[:, None, None, None]
    return ContextScenes((images + grain * noise).clamp(0, 1), object_coverage, distractor)


def _place(chance: Sequence[PerScene]) -> tuple[PerScene, PerScene, PerScene]:
    """Returns the centre of an object that lies wholly inside the image, and the side of the square of its area."""
    across, down, area = chance
    side = between(area, *OBJECT_AREA).sqrt()
    room = 0.5 - REACH * side
    return room * (2 * across - 1), room * (2 * down - 1), side


def _local(
    x: Tensor, y: Tensor, here_x: PerScene, here_y: PerScene, turn: PerScene, most: float
) -> tuple[Field, Field]:
    angle = between(turn, -most, most)
    return turned(x - here_x[:, None, None], y - here_y[:, None, None], angle)


def _object(kinds: Int[Tensor, " b"], local: tuple[Field, Field], side: PerScene) -> Field:
    scale = side[:, None, None]
    x, y = local
    return antialiased(shape_distance(kinds, x / scale, y / scale) * scale * x.shape[-1])


def _distractor(
    kinds: Int[Tensor, " b"],
    pixels: tuple[Tensor, Tensor],
    placed: tuple[PerScene, PerScene, PerScene],
    chance: Sequence[PerScene],
) -> Field:
    """Draws the distractor, whose place does not depend on the object's shape.

    It starts in the corner opposite to the object, and moves inwards at most until the discs around both would meet.
    """
    area, turn, direction, travel = chance
    here_x, here_y, object_side = placed
    side = between(area, *DISTRACTOR_AREA).sqrt()
    corner = 0.5 - REACH * side
    start_x, start_y = (torch.where(here > 0, -corner, corner) for here in (here_x, here_y))
    slack = torch.hypot(start_x - here_x, start_y - here_y) - REACH * (object_side + side)
    angle, step = 0.5 * math.pi * direction, slack.clamp_min(0) * travel
    there_x = start_x - start_x.sign() * step * torch.cos(angle)
    there_y = start_y - start_y.sign() * step * torch.sin(angle)
    x, y = _local(*pixels, there_x, there_y, turn, math.pi)
    scale = side[:, None, None]
    return antialiased(_distractor_distance(kinds, x / scale, y / scale) * scale * x.shape[-1])


def _distractor_distance(kinds: Int[Tensor, " b"], x: Field, y: Field) -> Field:
    distances = torch.stack([of_shape(x, y) for of_shape in DISTRACTORS.values()])
    return distances[kinds, torch.arange(len(kinds), device=kinds.device)]


def _bar(x: Field, y: Field) -> Field:
    return torch.maximum(x.abs() - 0.8, y.abs() - 0.3125)


def _half_disc(x: Field, y: Field) -> Field:
    radius, middle = math.sqrt(2 / math.pi), 0.34
    return torch.maximum(torch.hypot(x, y - middle) - radius, y - middle)


def _angle(x: Field, y: Field) -> Field:
    """Returns the distance to a square without a smaller square in one of its corners."""
    notch = 0.55
    half = 0.5 / math.sqrt(1 - notch**2)
    inner = half * (2 * notch - 1)
    square = torch.maximum(x.abs(), y.abs()) - half
    return torch.maximum(square, torch.minimum(x + inner, inner - y))


def _almond(x: Field, y: Field) -> Field:
    """Returns the distance to the intersection of two discs, each with its centre on the other's edge."""
    radius = 1 / math.sqrt(2 * math.pi / 3 - math.sqrt(3) / 2)
    return torch.hypot(x.abs() + 0.5 * radius, y) - radius


def _ink(
    kinds: Int[Tensor, " b"], x: Tensor, y: Tensor, chance: Sequence[PerScene], period: tuple[float, float]
) -> Field:
    turn, size, shift_x, shift_y = chance
    width = between(size, *period)[:, None, None]
    turned_x, turned_y = turned(x, y, between(turn, -math.pi / 6, math.pi / 6))
    shifted_x = turned_x / width + 50 * shift_x[:, None, None]
    shifted_y = turned_y / width + 50 * shift_y[:, None, None]
    return antialiased(texture_distance(kinds, shifted_x, shifted_y) * width * x.shape[-1])


def _mixed(ink: Colours, paper: Colours, share: Field) -> Images:
    return over(ink, paper[:, :, None, None], share)


def _palette(chance: Sequence[PerScene]) -> tuple[tuple[Colours, Colours], tuple[Colours, Colours], Colours]:
    """Returns two tones of the ground, two of the object, and the distractor's colour.

    The ground is dark and the rest light, or the reverse; the hues of the rest differ from the ground's.
    """
    dark_ground, hue = chance[0] < 0.5, 2 * math.pi * chance[1]
    ground = torch.where(dark_ground, between(chance[2], 0.34, 0.46), between(chance[2], 0.76, 0.88))
    object_, distractor = (
        torch.where(dark_ground, between(lightness, 0.72, 0.86), between(lightness, 0.38, 0.52))
        for lightness in (chance[6], chance[11])
    )
    object_hue, distractor_hue = (hue + math.pi + between(turn, -1.7, 1.7) for turn in (chance[7], chance[12]))
    return (
        _tones(ground, hue, between(chance[3], 0.03, 0.12), _signed(chance[4], 0.05, 0.095), chance[5]),
        _tones(object_, object_hue, between(chance[8], 0.10, 0.20), _signed(chance[9], 0.03, 0.06), chance[10]),
        oklch(distractor, between(chance[13], 0.10, 0.20), distractor_hue),
    )


def _tones(
    lightness: PerScene, hue: PerScene, chroma: PerScene, step: PerScene, drift: PerScene
) -> tuple[Colours, Colours]:
    """Returns ink and paper, `step` lighter and darker than `lightness`, which differ somewhat in hue."""
    return (
        oklch(lightness + step, chroma, hue),
        oklch(lightness - step, chroma, hue + between(drift, -0.9, 0.9)),
    )


def _signed(chance: PerScene, low: float, high: float) -> PerScene:
    """Returns a number of random sign, so that the ink is as often the lighter tone: mean colours tell no texture."""
    balanced = 2 * chance - 1
    return torch.where(balanced < 0, -1.0, 1.0) * between(balanced.abs(), low, high)


DISTRACTORS: Final[dict[str, Distance]] = {"bar": _bar, "half disc": _half_disc, "angle": _angle, "almond": _almond}
"""Shapes of unit area that reach no further than REACH; no object has one of them."""
