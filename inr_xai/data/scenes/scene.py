"""Draws synthetic scenes in batches: an object of one colour on a textured ground, edges anti-aliased by distance.

Colours are chosen in OKLab (Ottosson, "A perceptual color space for image processing", 2020).
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inr_xai.data.scenes.shapes import REACH, Field, shape_distance
from inr_xai.data.scenes.textures import texture_distance
from inr_xai.types import Images

PerScene = Float[Tensor, " b"]
"""One number for each scene."""
Colours = Float[Tensor, "b 3"]

CHANCES: Final = 20
"""The number of uniform random numbers that determine a scene."""


@dataclass(frozen=True)
class Scenes:
    """Scenes, and the share of each pixel that the object covers (0 everywhere if there is no object)."""

    images: Images
    coverage: Field


def draw(
    kinds: Int[Tensor, " b"],
    chances: Float[Tensor, "b n"],
    noise: Images,
    *,
    with_object: Bool[Tensor, " b"],
    with_texture: Bool[Tensor, " b"],
    grounds: Int[Tensor, " b"] | None = None,
) -> Scenes:
    """Draws one scene for each row of `chances` (uniform in [0, 1)) and of `noise` (standard normal, image-sized).

    Class i has the i-th shape and the i-th texture; nothing else depends on the class. `grounds` gives the classes of
    the textures, if they differ from those of the objects.
    """
    size = noise.shape[-1]
    textures = kinds if grounds is None else grounds
    chance = chances.unbind(1)
    x, y = centred_axes(size, like=chances)
    coverage = _object_coverage(kinds, x, y, chance[0:4]) * with_object[:, None, None]
    ink = torch.where(with_texture[:, None, None], _ink(textures, x, y, chance[4:8]), torch.full_like(coverage, 0.5))
    ground, figure, paint = _palette(chance[8:17])
    images = over(paint, over(figure, ground[:, :, None, None], ink), coverage)
    images = images * lit(x, y, chance[17], chance[18])[:, None]
    grain = between(chance[19], 0.003, 0.02)
    return Scenes((images + grain[:, None, None, None] * noise).clamp(0, 1), coverage)


def centred_axes(size: int, *, like: Tensor) -> tuple[Float[Tensor, "1 1 n"], Float[Tensor, "1 n 1"]]:
    """Returns x and y of pixel centres in image sides from the image's centre, -0.5 to 0.5."""
    axis = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size - 0.5
    return axis[None, None, :], axis[None, :, None]


def _object_coverage(kinds: Int[Tensor, " b"], x: Tensor, y: Tensor, chance: tuple[PerScene, ...]) -> Field:
    """Returns the coverage of an object that lies wholly inside the image and covers 8 to 20 % of it."""
    across, down, area, turn = chance
    side = between(area, 0.08, 0.20).sqrt()
    room = 0.5 - REACH * side
    local_x, local_y = turned(
        x - (room * (2 * across - 1))[:, None, None],
        y - (room * (2 * down - 1))[:, None, None],
        between(turn, -math.pi / 4, math.pi / 4),
    )
    scale = side[:, None, None]
    distance = shape_distance(kinds, local_x / scale, local_y / scale) * scale
    return antialiased(distance * x.shape[-1])


def _ink(kinds: Int[Tensor, " b"], x: Tensor, y: Tensor, chance: tuple[PerScene, ...]) -> Field:
    turn, period, shift_x, shift_y = chance
    width = between(period, 0.13, 0.20)[:, None, None]
    turned_x, turned_y = turned(x, y, between(turn, -math.pi / 6, math.pi / 6))
    shifted_x = turned_x / width + 50 * shift_x[:, None, None]
    shifted_y = turned_y / width + 50 * shift_y[:, None, None]
    return antialiased(texture_distance(kinds, shifted_x, shifted_y) * width * x.shape[-1])


def _palette(chance: tuple[PerScene, ...]) -> tuple[Colours, Colours, Colours]:
    """Returns two similar tones for the ground, and one for the object that differs much in lightness and hue."""
    hue, lightness, step, chroma, drift, opposite, object_lightness, object_chroma, dark = chance
    angle = 2 * math.pi * hue
    dark_ground = dark < 0.4
    middle = torch.where(dark_ground, between(lightness, 0.36, 0.46), between(lightness, 0.76, 0.86))
    half_step = between(step, 0.055, 0.095)
    saturation = between(chroma, 0.05, 0.12)
    second_angle = angle + between(drift, -0.9, 0.9)
    paint_lightness = torch.where(
        dark_ground, between(object_lightness, 0.70, 0.88), between(object_lightness, 0.36, 0.56)
    )
    paint_angle = angle + math.pi + between(opposite, -1.7, 1.7)
    return (
        oklch(middle + half_step, saturation, angle),
        oklch(middle - half_step, saturation, second_angle),
        oklch(paint_lightness, between(object_chroma, 0.12, 0.20), paint_angle),
    )


def lit(x: Tensor, y: Tensor, direction: PerScene, strength: PerScene) -> Field:
    """Returns factors of brightness that change linearly across the image."""
    angle = (2 * math.pi * direction)[:, None, None]
    return 1 + between(strength, 0.0, 0.25)[:, None, None] * (x * torch.cos(angle) + y * torch.sin(angle))


def oklch(lightness: PerScene, chroma: PerScene, angle: PerScene) -> Colours:
    """Returns the sRGB values of a colour with OKLab lightness, chroma and hue angle, clipped to the gamut."""
    lab = torch.stack([lightness, chroma * torch.cos(angle), chroma * torch.sin(angle)], dim=1)
    linear = (lab @ _LAB_TO_CONES.to(lab).T).pow(3) @ _CONES_TO_RGB.to(lab).T
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-6).pow(1 / 2.4) - 0.055)


_LAB_TO_CONES = torch.tensor(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_CONES_TO_RGB = torch.tensor(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def over(colour: Colours, images: Float[Tensor, "b 3 #h #w"], coverage: Field) -> Images:
    share = coverage[:, None]
    return share * colour[:, :, None, None] + (1 - share) * images


def turned(x: Tensor, y: Tensor, angle: PerScene) -> tuple[Field, Field]:
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    return cosine * x + sine * y, cosine * y - sine * x


def antialiased(pixels: Field) -> Field:
    """Returns the share of a pixel that is covered, given the signed distance of its centre to the edge in pixels."""
    return (0.5 - pixels).clamp(0, 1)


def between(chance: PerScene, low: float, high: float) -> PerScene:
    return low + (high - low) * chance
