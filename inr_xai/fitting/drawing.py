"""From fitted INRs to the masks that are stored: explanation after explanation, each outside what came before.

The exclusion: METHOD, "Several explanations per image". The same code draws at the end of a fit and when an old run
is rendered at another area or size, so both give the same pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Float16
from torch import Tensor

from inr_xai.area import AreaRule
from inr_xai.errors import UserError
from inr_xai.inr.base import INR
from inr_xai.limits import Exclusion, check_exclusion
from inr_xai.masks import hard_masks, pixel_counts
from inr_xai.method import Method
from inr_xai.seeding import generator
from inr_xai.types import Areas, Free, Masks

POINTS_AT_ONCE = 8192  # bounds the memory of a drawing at a high resolution


class Drawing:
    """Draws the explanations of a batch of images in turn, at given areas and one size.

    Args:
        areas: the areas wanted, each in (0, 1).
        size: height and width of the masks.
        exclusion_area: a_x; earlier explanations take out their hard masks at max(a, a_x), and at a itself.
        exclude: False where explanations are kept apart by a penalty alone.
        sample_ids, seed: name the generators that order ties.
    """

    def __init__(
        self,
        areas: Sequence[float],
        size: tuple[int, int],
        *,
        area_rule: AreaRule,
        exclusion_area: float,
        exclude: bool,
        sample_ids: Sequence[str],
        seed: int,
    ):
        pixels = size[0] * size[1]
        if min(areas) * pixels < 1:
            raise UserError(f"area {min(areas):g} is less than one pixel of a mask of {size[0]} x {size[1]}")
        self.size, self.area_rule, self.exclude = size, area_rule, exclude
        self.sample_ids, self.seed = sample_ids, seed
        partners = [max(area, exclusion_area) for area in areas]
        # What is taken out is closed under max(., a_x): drawing at these areas is enough for any number of rounds.
        self.areas = sorted({*areas, *partners}) if exclude else list(areas)
        self._partner = [self.areas.index(max(area, exclusion_area)) for area in self.areas] if exclude else []
        self._rows = [self.areas.index(area) for area in areas]
        self._blocked: Bool[Tensor, "b e h w"] | None = None
        self._count = 0

    @classmethod
    def of(
        cls,
        method: Method,
        sample_ids: Sequence[str],
        size: tuple[int, int],
        *,
        areas: Sequence[float] | None = None,
    ) -> "Drawing":
        """The drawing that a method describes, of images of `size`; at other areas than the method's where given."""
        return cls(
            method.areas if areas is None else areas,
            size,
            area_rule=method.area_rule,
            exclusion_area=method.exclusion_area,
            exclude=method.exclusion.mode == "exclude",
            sample_ids=sample_ids,
            seed=method.seed,
        )

    @property
    def free(self) -> Free | None:
        """The pixels that the next explanation may use at each of the wanted areas; None where all are."""
        return None if self._blocked is None else ~self._blocked[:, self._rows]

    @property
    def room(self) -> list[bool]:
        """Whether each image has free pixels enough for another explanation at each of the wanted areas."""
        if self._blocked is None:
            return [True] * len(self.sample_ids)
        free = (~self._blocked[:, self._rows]).sum((-2, -1))
        wanted = torch.tensor([self.areas[row] for row in self._rows], dtype=torch.float64)
        needed = torch.tensor(pixel_counts(wanted, self.size[0] * self.size[1]), device=free.device)
        return [bool(enough) for enough in (free >= needed).all(1)]

    def only(self, positions: Sequence[int]) -> None:
        """Leaves out all images but those at these positions; what is drawn of them stays the same."""
        self.sample_ids = [self.sample_ids[position] for position in positions]
        if self._blocked is not None:
            self._blocked = self._blocked[list(positions)]

    def next(self, inr: INR) -> Masks:
        """The next explanation's masks, float16, with no tie at the threshold of their hard masks."""
        weight = next(inr.parameters())
        areas = torch.tensor(self.areas, dtype=weight.dtype, device=weight.device)
        free = None if self._blocked is None else ~self._blocked
        with torch.no_grad():
            masks = self.area_rule.masks(draw_logits(inr, areas, self.size), areas, free, progress=1.0)
        # A fit that diverged is told of by its losses; its masks must not stop the other images.
        stored = self.take(masks.nan_to_num(0.0).to(torch.float16))
        return stored[:, self._rows]

    def take(self, masks: Float16[Tensor, "b e h w"]) -> Float16[Tensor, "b e h w"]:
        """Counts masks at `self.areas` as the next explanation, and returns them with ties at the threshold undone."""
        self._count += 1
        free = None if self._blocked is None else ~self._blocked
        ties = [generator(self.seed, sample_id, self._count, "ties") for sample_id in self.sample_ids]
        hard = hard_masks(masks, torch.tensor(self.areas, device=masks.device), generators=ties, free=free)
        if self.exclude:
            taken = hard | hard[:, self._partner]
            self._blocked = taken if self._blocked is None else self._blocked | taken
        return separate(masks, hard)


def separate(masks: Float16[Tensor, "b a h w"], hard: Bool[Tensor, "b a h w"]) -> Float16[Tensor, "b a h w"]:
    """Lowers by one unit in the last place the pixels that tie with the least pixel of the hard mask but lost the draw.

    Whoever ranks the stored mask again, in whatever order of ties, then finds the same hard mask. Where the tie is
    at 0 the winners are raised instead.
    """
    threshold = masks.masked_fill(~hard, torch.inf).amin((-2, -1), keepdim=True)
    tied = masks == threshold
    # Floats that are not negative lie in the order of their bits: one unit in the last place is one integer.
    down = (tied & ~hard & (threshold > 0)).to(torch.int16)
    up = (tied & hard & (threshold == 0)).to(torch.int16)
    return (masks.view(torch.int16) - down + up).view(torch.float16)


def pixel_centres(size: tuple[int, int], like: Tensor) -> Float[Tensor, "p 2"]:
    """The (x, y) of every pixel's centre in [-1, 1]^2, row by row; dtype and device of `like`.

    >>> pixel_centres((1, 2), torch.zeros(1)).tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    y, x = [((torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1).to(like) for side in size]
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2)


@torch.no_grad()
def draw_logits(inr: INR[Any], areas: Areas, size: tuple[int, int]) -> Float[Tensor, "b a h w"]:
    """The INR at every pixel of a grid of any size, in bounded memory."""
    points = pixel_centres(size, areas).split(POINTS_AT_ONCE)
    logits = torch.cat([inr(inr.encode(part), areas) for part in points], dim=-1)
    return logits.unflatten(-1, size)


def export_network(inr: INR[Any], image: int) -> dict[str, Tensor]:
    """The weights and buffers of one image's network, without the image axis."""
    return {name: value[image].detach().cpu().contiguous() for name, value in inr.state_dict().items()}


def load_networks(inr: INR[Any], networks: Sequence[dict[str, Tensor]]) -> None:
    """Fills a stack with exported networks, one per image, in order. Raises KeyError where a weight misses."""
    names = inr.state_dict().keys()
    inr.load_state_dict({name: torch.stack([network[name] for network in networks]) for name in names})


def check_rendering(area: float, explanation: int, *, exclusion_area: float, exclude: bool) -> None:
    """Raises UserError where `explanation` masks of `area` cannot lie side by side in one image."""
    if not 0 < area < 1:
        raise UserError(f"area must lie in (0, 1), the fraction of the image that the mask keeps; got {area}")
    exclusion = Exclusion("exclude" if exclude else "penalty", exclusion_area)
    check_exclusion(exclusion, areas=[area], explanations=explanation)
