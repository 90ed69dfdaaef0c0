"""What replaces pixels by default besides noise: the image's own blur, colours, and pixels of other photos.

Everything is made when a perturbation is bound, and a step takes its rows from it.
Blur pyramid: Fong, Patrick, Vedaldi, ICCV 2019, section 3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.draws import Draws, Rows
from inr_xai.errors import UserError
from inr_xai.limits import require_numbers
from inr_xai.perturbation.base import Baselines, Bound, KeepRows, Perturbation, Surroundings
from inr_xai.perturbation.shifts import Frames, at_places
from inr_xai.types import Images


class Blur(Perturbation):
    """The image itself, blurred.

    Args:
        sigma: standard deviation of the Gaussian, in pixels of an image whose shorter side is 224.
    """

    def __init__(self, sigma: float = 20.0):
        require_numbers("perturbation", sigma=sigma)
        self.sigma = sigma

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        return FixedBaseline(gaussian_blur(images, self.sigma * min(images.shape[-2:]) / 224), rows)


class GivenImage(Perturbation):
    """The pixels of an image that is given, the same for all images that are explained.

    Args:
        image: a tensor c x h x w in the units of the input, or one that is broadcast to it.

    Raises:
        UserError: it is none, or, when it is bound, it does not fit the images.
    """

    def __init__(self, image: Any):
        if not isinstance(image, Tensor) or not image.is_floating_point():
            raise UserError(f"perturbation.image must be a floating-point tensor c x h x w; got {type(image).__name__}")
        self.image = image

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        try:
            baselines = self.image.to(images).expand(images.shape)
        except RuntimeError:
            raise UserError(
                f"an image of {tuple(self.image.shape)} cannot stand in for the pixels of inputs of "
                f"{tuple(images.shape[1:])}; give it their channels, height and width"
            ) from None
        return FixedBaseline(baselines, rows)


@dataclass(frozen=True, eq=False)
class FixedBaseline(Bound):
    """One fixed baseline per image."""

    baselines: Images
    rows: Rows

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        return frames(self.baselines, self.rows.rows[self.rows.at(step)])


class BlurPyramid(Perturbation):
    """The mask's value says how much a pixel is blurred: not at all at 1, by `sigma` at 0, in linear steps between.

    Args:
        sigma: standard deviation of the strongest blur, in pixels of an image whose shorter side is 224.
        levels: number of levels, 2 to 64, the sharp image included.
    """

    def __init__(self, sigma: float = 20.0, *, levels: int = 8):
        require_numbers("perturbation", sigma=sigma, levels=levels)
        self.sigma, self.levels = sigma, levels

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        sigma = self.sigma * min(images.shape[-2:]) / 224
        blurred = [gaussian_blur(images, sigma * (1 - i / (self.levels - 1))) for i in range(self.levels - 1)]
        return Pyramid(torch.stack([*blurred, images], dim=1), rows)


@dataclass(frozen=True, eq=False)
class Pyramid(Bound):
    """Images at several levels of blur, from the strongest to none."""

    levels: Float[Tensor, "b l c h w"]
    rows: Rows

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        levels = frames(self.levels.flatten(1, 2), self.rows.rows[self.rows.at(step)])
        return partial(_between_levels, levels.unflatten(1, self.levels.shape[1:3]))


def _between_levels(levels: Float[Tensor, "n l c h w"], masks: Float[Tensor, "n h w"]) -> Images:
    """Interpolates each pixel between the two levels nearest to its mask."""
    last = levels.shape[1] - 1
    position = masks * last
    below = position.detach().floor().clamp(0, last - 1)
    # A mask that is no number, as of a fit that diverged, has no level; it must not stop the other images.
    which = below.nan_to_num(0.0).long()[:, None, None].expand(-1, -1, *levels.shape[2:])
    lower, upper = (levels.gather(1, which + above).squeeze(1) for above in (0, 1))
    return torch.lerp(lower, upper, (position - below).unsqueeze(1))


class Constant(Perturbation):
    """One colour for every pixel of every image.

    Args:
        colour: "mean" for the classifier's mean colour; or one value, or one per channel, in the units of the input
            (on the command line images lie in [0, 1], and 0 is black).
    """

    def __init__(self, colour: str | float | Sequence[float] = "mean"):
        if isinstance(colour, str) and colour != "mean":
            raise UserError(f'perturbation.colour must be "mean", a number, or one number per channel; got {colour!r}')
        values = [] if isinstance(colour, str) else [colour] if isinstance(colour, int | float) else list(colour)
        for value in values:
            require_numbers("perturbation", colour=value)
        self.colour = colour

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        colour = around.colour_mean if isinstance(self.colour, str) else torch.tensor(self.colour)
        return ColourBaseline(colour.to(images).expand(len(rows.rows), images.shape[1])[:, :, None, None], rows)


class RandomColour(Perturbation):
    """One colour per mask and step, uniform around the mean colour with the data's standard deviation."""

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        mean, std = around.colour_mean.to(images), around.colour_std.to(images)
        unit = draws.uniform("colour", rows, len(mean)) * 2 - 1
        colours = mean + std * 3**0.5 * unit  # sqrt(3) makes the variance std^2
        return ColourBaseline(colours[:, :, None, None], rows)


@dataclass(frozen=True, eq=False)
class ColourBaseline(Bound):
    """One colour per row, the same at every pixel."""

    colours: Float[Tensor, "n c 1 1"]
    rows: Rows

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        return self.colours[self.rows.at(step)]


class Donor(Perturbation):
    """Another photo per mask and step, shifted cyclically by a random offset and mirrored half of the time."""

    needs_donors = True

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        if around.donors is None or len(around.donors) < 2:
            raise UserError(
                "perturbation=donor needs photos of other samples and there are none here; use perturbation=mixture"
            )
        donors = around.donors.to(images)
        # A photo that is itself explained does not donate to itself.
        others = torch.stack([(donors != image).flatten(1).any(1) for image in images]).cpu()
        if not bool(others.any(1).all()):
            raise UserError("every donor is the image that is explained; give donors that are other photos")
        height, width = images.shape[-2:]
        own = rows.rows // rows.slots
        ends = torch.tensor([[int(count), height, 2 * width] for count in others.sum(1)], device=images.device)
        numbers = draws.integers("donor", rows, ends[own])
        order = others.long().argsort(dim=1, descending=True, stable=True).to(images.device)
        return Donated(donors, order[own, numbers[:, 0]], numbers[:, 1:].T.contiguous(), rows)


class Donated(Bound):
    """Photos, shifted cyclically.

    Args:
        photos: the photo of each draw.
        moves: its offset downwards, and to the right; one that is larger by the width mirrors the photo as well.
    """

    def __init__(self, donors: Images, photos: Int[Tensor, " n"], moves: Int[Tensor, "2 n"], rows: Rows):
        self.donors, self.photos, self.moves, self.rows = donors.flatten(2), photos, moves, rows
        self.shape = donors.shape[1:]
        height, width = (torch.arange(side, device=donors.device) for side in donors.shape[-2:])
        # For each offset, the place of each row and of each column.
        down, across = (height - height[:, None]) % len(height), (width - width[:, None]) % len(width)
        self.down = (down * len(width)).unsqueeze(2)
        self.across = torch.cat([across, across.flip(1)]).unsqueeze(1)

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        at = self.rows.at(step)
        down, across = self.moves[:, at].unbind()
        places = (self.down.index_select(0, down) + self.across.index_select(0, across)).flatten(1)
        photos = self.donors.index_select(0, self.photos[at])
        return at_places(photos, places, (-1, *self.shape))
