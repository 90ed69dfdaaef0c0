"""A photo and a part of it (its object, or any other): the part cut out, the ground filled without it, and pastes.

Nothing is blended: a paste has the pixels of the part inside its mask, and those of the other image elsewhere. A fill
covers the part and a rim around it, because the masks that people draw leave a line of the object on the ground.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from texture_fill import texture_fill
from torch import Tensor

from inr_xai.blur import gaussian_blur

RIM = 1 / 56
"""Width of the rim that is filled with the part, as a share of the shorter side: 4 pixels of 224."""
SIGMA = 5 / 56
"""Standard deviation of the blur, as a share of the shorter side: 20 pixels of 224, as in the scoring's blur."""
FAINT = 1e-3
"""Weight of the ground's mean colour in the blur, which decides only where no ground is near."""

Image = Float[Tensor, "c h w"]
Mask = Bool[Tensor, "h w"]


@dataclass(frozen=True, eq=False)
class Cut:
    """A photo in the classifier's input frame, and a part of it.

    Args:
        image: values in [0, 1].
        part: the pixels of the part; some are, and some are not.
        rim: width in pixels of the rim that is filled with the part.
    """

    image: Image
    part: Mask
    rim: int

    @cached_property
    def hole(self) -> Mask:
        """The part with its rim: the pixels that a fill replaces."""
        return grown(self.part, self.rim)

    @cached_property
    def textured(self) -> Image:
        """The photo with its hole filled by the texture of its ground."""
        return texture_fill(self.image, self.hole)

    @cached_property
    def mean(self) -> Image:
        """An image of the mean colour of the ground."""
        return self.image[:, ~self.hole].mean(1)[:, None, None].expand_as(self.image)

    @cached_property
    def blurred(self) -> Image:
        """The ground blurred, into the hole as well; no pixel of the hole has a weight."""
        ground = (~self.hole).to(self.image)
        sigma = SIGMA * min(ground.shape)
        colours, weight = (gaussian_blur(values[None], sigma)[0] for values in (self.image * ground, ground[None]))
        return (colours + FAINT * self.mean) / (weight + FAINT)

    def fills(self) -> dict[str, Image]:
        """Returns the photo with its hole filled in three ways; outside the hole it is as it was."""
        fills = {"mean": self.mean, "blur": self.blurred, "texture": self.textured}
        return {name: paste(fill, self.hole, self.image) for name, fill in fills.items()}

    def on(self, ground: Image) -> Image:
        """Returns the part, at its place, on another ground."""
        return paste(self.image, self.part, ground)


def paste(front: Image, mask: Mask, back: Image) -> Image:
    """Returns the front inside the mask, and the back elsewhere."""
    return torch.where(mask, front, back)


def grown(mask: Mask, pixels: int) -> Mask:
    """Returns the mask with all pixels that are at most so many rows and columns from it."""
    return F.max_pool2d(mask[None, None].float(), 2 * pixels + 1, stride=1, padding=pixels)[0, 0] > 0


def put_in_place(donor: Cut, mask: Mask) -> tuple[Image, Mask]:
    """Returns a donor's part with the size and at the place of a mask: an image, and which of its pixels to paste.

    The part is scaled in both directions alike to as many pixels as the mask has, and its centre of mass is that of the
    mask, unless its box would leave the frame: then it is shifted into the frame, as far as it fits.
    """
    rows, columns = (donor.part.any(axis).nonzero()[:, 0] for axis in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    part, image = donor.part[box], donor.image[:, box[0], box[1]]
    scale = (int(mask.sum()) / int(part.sum())) ** 0.5
    size = [max(1, round(side * scale)) for side in part.shape]
    scaled = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    inside = F.interpolate(part[None, None].float(), size, mode="bilinear", antialias=True, align_corners=False)[0, 0]
    inside = inside >= 0.5
    if not bool(inside.any()):  # a part of a pixel or two
        inside = torch.ones_like(inside)
    front, where = torch.zeros_like(donor.image), torch.zeros_like(mask)
    slices = [_place(inside, mask, axis) for axis in (0, 1)]
    (to_rows, from_rows), (to_columns, from_columns) = slices
    front[:, to_rows, to_columns] = scaled[:, from_rows, from_columns]
    where[to_rows, to_columns] = inside[from_rows, from_columns]
    return front.clamp(0, 1), where


def _place(part: Mask, mask: Mask, axis: int) -> tuple[slice, slice]:
    """Returns where a part goes along an axis of the frame, and which of its rows or columns go there."""
    side, length = mask.shape[axis], part.shape[axis]
    start = round(_centre(mask, axis) - _centre(part, axis))
    start = min(max(start, 0), side - length) if length <= side else min(max(start, side - length), 0)
    first, last = max(start, 0), min(start + length, side)
    return slice(first, last), slice(first - start, last - start)


def _centre(mask: Mask, axis: int) -> float:
    """Returns the mean row (axis 0) or column (axis 1) of a mask's pixels."""
    return float(mask.nonzero()[:, axis].double().mean())
