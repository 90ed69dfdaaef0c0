"""Jitter: the shifts of all steps of a fit, and images and masks as they are shifted."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.draws import Draws, Rows
from inr_xai.errors import UserError
from inr_xai.types import Images, Masks


class Jitter:
    """Shifts image and mask by a random whole number of pixels, so that no mask depends on one alignment of the pixels.

    The border fills the gap.

    Args:
        shift: largest shift along each axis, as a fraction of the side; 0 switches it off.
        flip: also mirror left and right with probability 1/2 (not for classes that differ only by left and right).
        until: the part of the fit, in (0, 1], after which nothing is shifted or mirrored.
        per_mask: every mask of an image has a shift of its own at each step; otherwise they share one.
    """

    def __init__(self, shift: float = 0.03, *, flip: bool = False, until: float = 1.0, per_mask: bool = False):
        if not 0 <= shift < 0.5:
            raise UserError(
                f"jitter.shift must lie in [0, 0.5), the largest shift as a fraction of the side; got {shift}"
            )
        if not 0 < until <= 1:
            raise UserError(f"jitter.until must lie in (0, 1], the part of the fit that is jittered; got {until:g}")
        self.shift, self.flip, self.until, self.per_mask = shift, flip, until, per_mask


@dataclass(frozen=True, eq=False)
class Axis:
    """The shifts along an axis of n places, as tables by the number of the shift.

    A place in an image is the sum of two entries, one of each axis, and so the tables of rows count in whole rows.

    Args:
        shown: the place that each place shows.
        sums: 1 where a place shows the first, and where it shows the last one; and a row of zeros.
        source: for each place the one that shows it, in a list that goes on with the two sums and with zero.
    """

    shown: Int[Tensor, "_k _h _w"]
    sums: Float[Tensor, "_k _i _j"]
    source: Int[Tensor, "_k _h _w"]

    @classmethod
    def both(cls, size: tuple[int, int], shift: float, *, flip: bool, draws: Draws) -> list["Axis"]:
        """Returns the axes of images of (height, width) `size`, downwards and to the right."""
        axes, pitch = [], {0: (size[1], size[1] + 3), 1: (1, 1)}
        for axis, side in enumerate(size):
            most, place = round(shift * side), torch.arange(side, device=draws.device)
            shown = (place + torch.arange(-most, most + 1, device=draws.device)[:, None]).clamp(0, side - 1)
            if flip and axis == 1:
                shown = torch.cat([shown, shown.flip(1)])
            ends = torch.tensor([0, side - 1, -1], device=draws.device)
            sums = (shown.unsqueeze(1) == ends[:, None]).to(draws.dtype)
            source = torch.full_like(shown, side + 2).scatter(1, shown, place.expand_as(shown))
            source[:, 0], source[:, -1] = side, side + 1
            shape = (-1, side, 1) if axis == 0 else (-1, 1, side)
            tables = [table.reshape(shape) * factor for table, factor in zip((shown, source), pitch[axis], strict=True)]
            axes.append(cls(tables[0], sums if axis == 0 else sums.mT.contiguous(), tables[1]))
        return axes


class Frames:
    """How the rows of a step are shifted: which pixel of its image each pixel of a row shows.

    Args:
        slots: rows per image.
        axes: the shifts that there are along each axis; none if nothing is shifted.
        numbers: which of them each row has.
    """

    def __init__(self, slots: int, axes: Sequence[Axis] = (), numbers: Int[Tensor, "2 r"] | None = None):
        self.slots, self.axes, self.numbers = slots, axes, () if numbers is None else numbers.unbind()
        self.pixels = self.places([axis.shown for axis in axes]) if axes else None

    def __call__(self, images: Images, rows: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        """Returns what these rows show of their images; baselines that depend on the image's places need it."""
        own = images.index_select(0, rows // self.slots)
        return own if self.pixels is None else at_places(own.flatten(2), self.pixels.index_select(0, rows), own.shape)

    def all(self, images: Images, each: int) -> Float[Tensor, "b m c h w"]:
        """Returns what every row shows of its image, or each n-th row, which then stands for n of them."""
        if self.pixels is None:
            return images.unsqueeze(1)
        own = images if each == self.slots else images.repeat_interleave(self.slots // each, 0)
        return at_places(own.flatten(2), self.pixels[::each], own.shape).unflatten(0, (len(images), -1))

    def masks(self, masks: Masks) -> Masks:
        """Returns masks as they are shifted; if an image has fewer than it has rows, they are its first ones."""
        if not self.numbers:
            return masks
        frames = self
        if masks.shape[1] < self.slots:
            numbers = torch.stack(self.numbers).unflatten(1, (-1, self.slots))[:, :, : masks.shape[1]].flatten(1)
            frames = Frames(masks.shape[1], self.axes, numbers)
        return _ShiftMasks.apply(masks, frames)

    def places(self, tables: Sequence[Int[Tensor, "_s _h _w"]]) -> Int[Tensor, "r p"]:
        """Returns the places in an image whose row and column stand in the two tables, by the number of the shift."""
        down, across = [table.index_select(0, number) for table, number in zip(tables, self.numbers, strict=True)]
        return (down + across).flatten(1)


class _ShiftMasks(torch.autograd.Function):
    """Shifts masks; the gradient of a pixel is the sum over all that show it, in one order on every device."""

    @staticmethod
    def forward(ctx, masks, frames):  # type: ignore[no-untyped-def]
        ctx.frames = frames
        return masks.reshape(len(frames.pixels), -1).gather(1, frames.pixels).view(masks.shape)

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        frames, shape = ctx.frames, upstream.shape
        masks = upstream.reshape(-1, *shape[2:])
        # Several pixels can show the border and at most one any other place: the borders' sums are a small product.
        down, across = [axis.sums.index_select(0, n) for axis, n in zip(frames.axes, frames.numbers, strict=True)]
        longer = torch.cat([masks, torch.bmm(down, masks)], dim=1)
        wider = torch.cat([longer, torch.bmm(longer, across)], dim=2)
        source = frames.places([axis.source for axis in frames.axes])
        return wider.view(len(source), -1).gather(1, source).view(shape), None


def at_places(
    flat: Float[Tensor, "n c p"], places: Int[Tensor, "n q"], shape: tuple[int, ...]
) -> Float[Tensor, "n c h w"]:
    return flat.gather(2, places.unsqueeze(1).expand_as(flat)).view(shape)


class Shifts:
    """The shifts of all steps of a fit, as numbers of entries in tables, one for each axis."""

    def __init__(self, jitter: Jitter, size: tuple[int, int], draws: Draws, rows: Rows):
        self.until, self.slots = jitter.until, rows.slots
        self.numbers: Int[Tensor, "s 2 r"] | None = None
        if not jitter.flip and round(jitter.shift * max(size)) == 0:
            return
        self.axes = Axis.both(size, jitter.shift, flip=jitter.flip, draws=draws)
        each = rows.slots if jitter.per_mask else 1
        own = Rows.where(rows.table[:, :: rows.slots // each], each, draws.device)
        ends = torch.tensor([[len(axis.shown) for axis in self.axes]])
        numbers = draws.integers("jitter", own, ends).unflatten(0, (len(rows.table), -1))
        self.numbers = numbers.repeat_interleave(rows.slots // each, dim=1).mT.contiguous()

    def at(self, step: int, *, progress: float) -> Frames:
        """Returns the shifts of a step, which is at `progress` in [0, 1] of the fit."""
        if self.numbers is None or progress > self.until:
            return Frames(self.slots)
        return Frames(self.slots, self.axes, self.numbers[step])
