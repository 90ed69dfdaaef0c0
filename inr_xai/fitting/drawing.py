"""Draws fitted INRs as the masks that are stored, explanation after explanation, each outside the earlier ones.

The exclusion: METHOD, "Several explanations per image". The same code draws at the end of a fit and when a finished run
is rendered at another area or size, so both give the same pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Float16
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.inr.base import INR, grid_points, interpolation, side_positions
from inr_xai.limits import Exclusion, check_exclusion
from inr_xai.masks import hard_masks, pixel_counts
from inr_xai.method import Method
from inr_xai.seeding import generator
from inr_xai.types import Areas, Free, Masks

POINTS_AT_ONCE = 8192  # bounds the memory of a drawing at a high resolution


class Drawing:
    """Draws the explanations of a batch of images in turn, at the areas of a method and one size.

    Args:
        method: earlier explanations block their hard masks at a itself and at the exclusion area, if that is larger;
            none if only a penalty keeps them apart.
        sample_ids: the random generators that order ties derive from them and the method's seed.
        size: height and width of the masks.

    Raises:
        UserError: the smallest area is less than one pixel.
    """

    def __init__(self, method: Method, sample_ids: Sequence[str], size: tuple[int, int]):
        areas, pixels = method.areas, size[0] * size[1]
        if min(areas) * pixels < 1:
            raise UserError(f"area {min(areas):g} is less than one pixel of a mask of {size[0]} x {size[1]}")
        self.size, self.area_rule, self.exclude = size, method.area_rule, method.exclusion.mode == "exclude"
        self.sample_ids, self.seed = sample_ids, method.seed
        partners = [max(area, method.exclusion_area) for area in areas]
        # max(., a_x) maps this set of areas to itself, so these areas are enough for any number of explanations.
        self.areas = sorted({*areas, *partners}) if self.exclude else list(areas)
        blocked = [max(area, method.exclusion_area) for area in self.areas] if self.exclude else []
        self._partner = [self.areas.index(area) for area in blocked]
        self._rows = [self.areas.index(area) for area in areas]
        self._blocked: Bool[Tensor, "b e h w"] | None = None
        self._count = 0

    @property
    def free(self) -> Free | None:
        """The pixels that the next explanation may use at each area; None if it may use all."""
        return None if self._blocked is None else ~self._blocked[:, self._rows]

    @property
    def room(self) -> list[bool]:
        """For each image, whether enough pixels are free for another explanation at every area."""
        if self._blocked is None:
            return [True] * len(self.sample_ids)
        free = (~self._blocked[:, self._rows]).sum((-2, -1))
        areas = torch.tensor([self.areas[row] for row in self._rows], dtype=torch.float64)
        needed = torch.tensor(pixel_counts(areas, self.size[0] * self.size[1]), device=free.device)
        return [bool(enough) for enough in (free >= needed).all(1)]

    def only(self, positions: Sequence[int]) -> None:
        """Goes on with the images at these positions alone; their masks do not depend on the other images."""
        self.sample_ids = [self.sample_ids[position] for position in positions]
        if self._blocked is not None:
            self._blocked = self._blocked[list(positions)]

    def state(self) -> dict[str, Any]:
        """Returns tensors and plain values with which a drawing of the same images goes on after this one's masks."""
        return {"blocked": self._blocked, "count": self._count}

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Goes on after the masks of another drawing of the same images, whose `state` is given."""
        self._blocked, self._count = state["blocked"], state["count"]

    def next(self, inr: INR) -> Masks:
        """Returns the masks of the next explanation in float16, without ties at the threshold of their hard masks."""
        weight = next(inr.parameters())
        areas = torch.tensor(self.areas, dtype=weight.dtype, device=weight.device)
        free = None if self._blocked is None else ~self._blocked
        with torch.no_grad():
            masks = self.area_rule.masks(draw_logits(inr, areas, self.size), areas, free, progress=1.0)
        # The losses report a fit that diverged; its masks must not stop the other images.
        stored = self.add(masks.nan_to_num(0.0).to(torch.float16))
        return stored[:, self._rows]

    def add(self, masks: Float16[Tensor, "b e h w"]) -> Float16[Tensor, "b e h w"]:
        """Adds masks at `self.areas` as the next explanation; returns them without ties at the threshold."""
        self._count += 1
        free = None if self._blocked is None else ~self._blocked
        ties = [generator(self.seed, sample_id, self._count, "ties") for sample_id in self.sample_ids]
        hard = hard_masks(masks, torch.tensor(self.areas, device=masks.device), generators=ties, free=free)
        if self.exclude:
            blocked = hard | hard[:, self._partner]
            self._blocked = blocked if self._blocked is None else self._blocked | blocked
        return separate(masks, hard)


def separate(masks: Float16[Tensor, "b a h w"], hard: Bool[Tensor, "b a h w"]) -> Float16[Tensor, "b a h w"]:
    """Removes ties between the smallest pixels of the hard mask and pixels outside it.

    The tied pixels outside are lowered by one unit in the last place; if the tie is at 0, those inside are raised. So
    ranking the stored mask gives the same hard mask, in whatever order ties are taken.
    """
    threshold = masks.masked_fill(~hard, torch.inf).amin((-2, -1), keepdim=True)
    tied = masks == threshold
    # Floats that are not negative are ordered as their bits are, so one unit in the last place is one integer.
    down = (tied & ~hard & (threshold > 0)).to(torch.int16)
    up = (tied & hard & (threshold == 0)).to(torch.int16)
    return (masks.view(torch.int16) - down + up).view(torch.float16)


@torch.no_grad()
def draw_logits(inr: INR[Any], areas: Areas, size: tuple[int, int]) -> Float[Tensor, "b a h w"]:
    """Returns the INR's field at every pixel of a grid of any size, in bounded memory."""
    axes = [side_positions(side, finest=inr.finest) for side in size]
    points = grid_points(axes, areas).split(POINTS_AT_ONCE)
    logits = torch.cat([inr(inr.encode(part), areas) for part in points], dim=-1).unflatten(-1, [*map(len, axes)])
    if inr.finest is None:
        return logits
    # One product for each mask, as in a fit, so that its bits do not depend on the other masks.
    down, across = [
        interpolation(axis, side_positions(side)).to(logits).expand(logits.shape[:2].numel(), -1, -1)
        for axis, side in zip(axes, size, strict=True)
    ]
    fine = torch.bmm(torch.bmm(down, logits.flatten(0, 1)), across.mT)
    return fine.unflatten(0, logits.shape[:2])


def export_network(inr: INR[Any], image: int) -> dict[str, Tensor]:
    """Returns the weights and buffers of one image's network, without the image axis."""
    return {name: value[image].detach().cpu().contiguous() for name, value in inr.state_dict().items()}


def load_networks(inr: INR[Any], networks: Sequence[dict[str, Tensor]]) -> None:
    """Fills a stack with exported networks, one per image, in order. Raises KeyError if a weight is missing."""
    names = inr.state_dict().keys()
    inr.load_state_dict({name: torch.stack([network[name] for network in networks]) for name in names})


def check_rendering(area: float, explanation: int, *, exclusion_area: float, exclude: bool) -> None:
    """Raises UserError if `explanation` masks of `area` do not fit into one image."""
    if not 0 < area < 1:
        raise UserError(f"area must lie in (0, 1), the fraction of the image that the mask keeps; got {area}")
    exclusion = Exclusion("exclude" if exclude else "penalty", exclusion_area)
    check_exclusion(exclusion, areas=[area], explanations=explanation)
