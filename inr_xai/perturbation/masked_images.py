"""The images of a fit as its masks keep them: the perturbation and the shifts joined, and what shines through."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.draws import Draws, Rows
from inr_xai.errors import UserError
from inr_xai.perturbation.base import Baselines, KeepRows, Perturbation, Surroundings
from inr_xai.perturbation.shifts import Frames, Jitter, Shifts
from inr_xai.types import Images, Masks

KeepFunction = Callable[[Masks], Float[Tensor, "b a c h w"]]
"""kept(x, m) for given images x: maps masks m to the images as each mask keeps them."""


class Reveal:
    """The classifier sees the mask r + (1 - r) m, with r falling linearly from `start` to 0 at `until`.

    Behind a hard mask, a classifier's gradient says little about regions that are hidden completely. At r > 0 it sees
    them faintly, while pixels that the mask keeps have full contrast.

    Args:
        start: r at the beginning, in [0, 1); 0 switches it off.
        until: the part of the fit, in (0, 1], after which r is 0.
    """

    def __init__(self, start: float = 0.5, *, until: float = 0.7):
        if not 0 <= start < 1 or not 0 < until <= 1:
            raise UserError(
                f"reveal needs start in [0, 1) and until in (0, 1]; got start={start:g} and until={until:g}"
            )
        self.start, self.until = start, until

    def __call__(self, masks: Masks, *, progress: float | Float[Tensor, ""]) -> Masks:
        """Returns the masks as the classifier sees them at `progress` in [0, 1] of the fit.

        >>> float(Reveal(0.5)(torch.zeros(1, 1, 1, 1), progress=0.35))
        0.25
        """
        left = 1 - progress / self.until
        if isinstance(left, Tensor):  # the host does not know its value
            shown = self.start * left.clamp(min=0)
            return shown + (1 - shown) * masks if self.start else masks
        share = self.start * max(0.0, left)
        return share + (1 - share) * masks if share else masks


@dataclass(frozen=True, eq=False)
class Kept:
    """kept(x, m) of one step; everything that it draws is drawn.

    If a game needs fewer masks than the image has, those of the first ones are taken: of rows, baselines, shifts.

    Args:
        drawn: what replaces the pixels of every row.
        images: what every row shows of its image, m being the number of rows, or 1 if all show the same.
        frames: how the rows are shifted.
    """

    drawn: Baselines | KeepRows
    images: Float[Tensor, "b m c h w"]
    frames: Frames

    def __call__(self, masks: Masks) -> Float[Tensor, "b a c h w"]:
        slots = self.frames.slots
        missing, shifted = slots - masks.shape[1], self.frames.masks(masks) if self.frames.numbers else masks
        if callable(self.drawn):
            every = torch.nn.functional.pad(shifted, (0, 0, 0, 0, 0, missing)).flatten(0, 1)
            return self.drawn(every).unflatten(0, (-1, slots))[:, : masks.shape[1]]
        baselines, own = self.drawn.unflatten(0, (-1, slots)), self.images
        if missing:
            baselines, own = baselines[:, :-missing], own if own.shape[1] == 1 else own[:, :-missing]
        return torch.lerp(baselines, own, shifted.unsqueeze(2))


class MaskedImages:
    """The images of a fit as its masks keep them, with the draws of all steps.

    Args:
        slots: masks per image.
        steps: steps of the fit.
    """

    def __init__(
        self,
        images: Images,
        around: Surroundings,
        *,
        perturbation: Perturbation,
        jitter: Jitter,
        draws: Draws,
        slots: int,
        steps: int,
    ):
        self.images, self.slots = images, slots
        rows = Rows.where(torch.ones(steps, len(images) * slots, dtype=torch.bool), slots, images.device)
        self.bound = perturbation.bind(images, around, draws, rows)
        self.shifts = Shifts(jitter, (images.shape[-2], images.shape[-1]), draws, rows)
        self.each = 1 if jitter.per_mask else slots

    def draw(self, step: int, *, progress: float) -> "Kept":
        """Draws the baselines and shifts of a step, and returns its kept(x, m) for b x a masks."""
        frames = self.shifts.at(step, progress=progress)
        return Kept(self.bound.draw(step, frames), frames.all(self.images, self.each), frames)
