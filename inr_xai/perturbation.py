"""What the classifier sees of an image while a mask is fitted: perturbations, and the fit's own Reveal and Jitter.

A perturbation says what replaces a pixel. It is bound once to the images and to the masks ("rows") of all steps, and
each step then draws a baseline for each. Reveal lets replaced pixels shine through at first, and Jitter shifts
image and mask. `MaskedImages` joins them to the function kept(x, m) of a step; removed(x, m) is kept(x, 1 - m).
Blur pyramid: Fong, Patrick, Vedaldi, ICCV 2019, section 3.3.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.draws import Draws, Rows
from inr_xai.errors import UserError
from inr_xai.limits import require_numbers
from inr_xai.types import Images, Masks

KeepFunction = Callable[[Masks], Float[Tensor, "b a c h w"]]
"""kept(x, m) for given images x: maps masks m to the images as each mask keeps them."""
Baselines = Float[Tensor, "n c #h #w"]
"""What replaces the pixels of n rows: kept(x, m) = m x + (1 - m) b."""
KeepRows = Callable[[Float[Tensor, "n h w"]], Images]
"""kept(x, m) of n rows, for a perturbation that is no blend with a baseline."""
CHUNK_STEPS, CHUNK_VALUES = 32, 2**25
"""Noise is drawn for several steps at once, so that few operators are launched, but not for more values than this."""


@dataclass(frozen=True)
class Surroundings:
    """What a perturbation may use besides the images, in the units of the classifier's input.

    Args:
        colour_mean, colour_std: statistics per channel of the data that the classifier was trained on.
        donors: other photos, p x c x h x w, none of them a scoring baseline; None if there are none.
    """

    colour_mean: Float[Tensor, " c"]
    colour_std: Float[Tensor, " c"]
    donors: Images | None = None


class Frames:
    """How the rows of a step are shifted: which pixel of its image each pixel of a row shows.

    Args:
        slots: rows per image.
        axes: the shifts that there are along each axis; none if nothing is shifted.
        numbers: which of them each row has.
    """

    def __init__(self, slots: int, axes: Sequence["Axis"] = (), numbers: Int[Tensor, "2 r"] | None = None):
        self.slots, self.axes, self.numbers = slots, axes, () if numbers is None else numbers.unbind()
        self.pixels = self.places([axis.shown for axis in axes]) if axes else None

    def __call__(self, images: Images, rows: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        """Returns what these rows show of their images; baselines that depend on the image's places need it."""
        own = images.index_select(0, rows // self.slots)
        return own if self.pixels is None else _at_places(own.flatten(2), self.pixels.index_select(0, rows), own.shape)

    def all(self, images: Images, each: int) -> Float[Tensor, "b m c h w"]:
        """Returns what every row shows of its image, or each n-th row, which then stands for n of them."""
        if self.pixels is None:
            return images.unsqueeze(1)
        own = images if each == self.slots else images.repeat_interleave(self.slots // each, 0)
        return _at_places(own.flatten(2), self.pixels[::each], own.shape).unflatten(0, (len(images), -1))

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


def _at_places(
    flat: Float[Tensor, "n c p"], places: Int[Tensor, "n q"], shape: tuple[int, ...]
) -> Float[Tensor, "n c h w"]:
    return flat.gather(2, places.unsqueeze(1).expand_as(flat)).view(shape)


class Perturbation(ABC):
    """A rule for what replaces pixels.

    A subclass has the method `bind`, and what that returns has `draw`. Neither may depend on an image's neighbours:
    what is random comes from `draws`, for the rows that it is needed for, best of all in `bind` for all steps at once.
    A step on an accelerator is fast if `draw` only indexes: it should read no tensor into Python, nor loop over rows.
    """

    needs_donors = False
    """Whether `bind` uses other photos."""

    @abstractmethod
    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> "Bound":
        """Returns the rule for these images, with everything that all steps share (such as the blurred images).

        Args:
            draws: the random numbers of these images.
            rows: the masks of each step which the rule is asked for; in a mixture not all of them.
        """


class Bound(ABC):
    """A perturbation that is bound to images and rows."""

    @abstractmethod
    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        """Returns the baselines of the n rows of a step, in the order of `rows.rows[rows.at(step)]`.

        A rule that is no blend returns its function kept(m) for masks n x h x w of these rows. The masks are shifted
        by the jitter, so what belongs to places of the image is to be shifted too, by `frames(images, rows)`.
        """


@dataclass(frozen=True, eq=False)
class FixedBaseline(Bound):
    """One fixed baseline per image."""

    baselines: Images
    rows: Rows

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        return frames(self.baselines, self.rows.rows[self.rows.at(step)])


@dataclass(frozen=True, eq=False)
class ColourBaseline(Bound):
    """One colour per row, the same at every pixel."""

    colours: Float[Tensor, "n c 1 1"]
    rows: Rows

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        return self.colours[self.rows.at(step)]


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


class PinkNoise(Perturbation):
    """Coloured noise per mask and step, which like a photo has structure at every scale.

    The amplitude of a wave of k periods a side is k^-e, with e drawn from [1, 2] each time. The contrast, the
    similarity of the channels, and a colour are drawn too. Mean and spread are those of the data.
    """

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        mean, std = [values.to(images).reshape(-1, 1, 1) for values in (around.colour_mean, around.colour_std)]
        return Noise(mean, std, draws, rows, size=(images.shape[-2], images.shape[-1]))


class Noise(Bound):
    """Pink noise for some rows, drawn for several steps at a time."""

    def __init__(
        self,
        mean: Float[Tensor, "c 1 1"],
        std: Float[Tensor, "c 1 1"],
        draws: Draws,
        rows: Rows,
        *,
        size: tuple[int, int],
    ):
        self.mean, self.std, self.draws, self.rows, self.size = mean, std, draws, rows, size
        height, width = size
        down, across = torch.fft.fftfreq(height, 1 / height), torch.fft.rfftfreq(width, 1 / width)
        self.periods = torch.hypot(down[:, None], across[None]).clamp(min=1).to(mean)
        # The columns whose waves come in pairs that are each other's conjugate, and the partner of each row of waves.
        self.paired = torch.tensor(sorted({0, width // 2} if width % 2 == 0 else {0}), device=mean.device)
        self.partner = -torch.arange(height, device=mean.device) % height
        total, steps = rows.first[-1] * len(mean) * height * width, len(rows.table)
        self.steps = max(1, min(CHUNK_STEPS, CHUNK_VALUES * steps // max(1, total)))
        self.chunk: tuple[int, Rows, Images] | None = None

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        start = step - step % self.steps
        if self.chunk is None or self.chunk[0] != start:
            rows = self.rows.between(start, min(start + self.steps, len(self.rows.table)))
            self.chunk = start, rows, self._noise(rows)
        _, rows, noise = self.chunk
        return noise[rows.at(step - start)]

    def _noise(self, rows: Rows) -> Images:
        channels, (height, width) = len(self.mean), self.size
        steepness, independence, contrast, *colour = self.draws.uniform("noise", rows, 3 + channels)[
            :, :, None, None, None
        ].unbind(1)
        shape = (channels, height, width // 2 + 1)
        count = 2 * channels * height * shape[-1]
        waves = torch.view_as_complex(self.draws.normal("waves", rows, count).reshape(-1, *shape, 2))
        columns = waves[..., self.paired]
        # The transform of a real field: a wave and its partner are conjugate, and both have the variance of the others.
        waves[..., self.paired] = (columns + columns[..., self.partner, :].conj()) * 0.5**0.5
        field = torch.fft.irfft2(waves * self.periods ** -(1 + steepness), s=self.size)
        spread, centre = torch.std_mean(field, (-2, -1), keepdim=True)
        field = (field - centre) / spread
        grey = field.mean(1, keepdim=True) * channels**0.5
        mixed = torch.lerp(grey, field, independence)
        offset = (torch.cat(colour, 1) * 2 - 1) * 3**0.5 / 2
        return self.mean + self.std * ((0.5 + contrast) * mixed + offset)


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
        return _at_places(photos, places, (-1, *self.shape))


class Mixture(Perturbation):
    """One of several perturbations for each mask at each step, so that no mask can exploit a single one.

    They are dealt to the masks of an image like cards: all once in random order, then all again. The masks of a step
    have different ones as far as there are enough.

    Args:
        parts: the perturbations, all equally often; by default blur, mean colour, random colour, coloured noise, and
            other photos. Perturbations that need other photos are left out if there are none.
    """

    def __init__(self, parts: Sequence[Perturbation] | None = None):
        self.parts = [Blur(), Constant(), RandomColour(), PinkNoise(), Donor()] if parts is None else list(parts)
        if not self.parts:
            raise UserError("perturbation.parts must name at least one perturbation, got none")
        for part in self.parts:
            if not isinstance(part, Perturbation):
                raise UserError(f"perturbation.parts must be perturbations, each a node with a _target_; got {part!r}")
        self.needs_donors = True in [part.needs_donors for part in self.parts]

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        without = [part for part in self.parts if not part.needs_donors]
        parts = without if without and around.donors is None else self.parts
        choice = deal(len(parts), draws, steps=len(rows.table), slots=rows.slots)
        chosen = [Rows.where(rows.table & (choice == part), rows.slots, images.device) for part in range(len(parts))]
        bound = [
            part.bind(images, around, draws.of(number), own)
            for number, (part, own) in enumerate(zip(parts, chosen, strict=True))
        ]
        return BoundMixture(images, list(zip(bound, chosen, strict=True)), choice, rows)


class BoundMixture(Bound):
    """Bound perturbations and the rows that are dealt to each of them.

    Args:
        choice: on the CPU, the number of the part for each step and row.
    """

    def __init__(self, images: Images, parts: Sequence[tuple[Bound, Rows]], choice: Int[Tensor, "s r"], rows: Rows):
        self.images, self.parts, self.rows = images, parts, rows
        step = rows.table.nonzero()[:, 0]
        # The draws of a step, sorted by part: where each comes from, and where it is.
        order = (step * len(parts) + choice[rows.table]).argsort(stable=True)
        first = torch.tensor(rows.first)[step]
        self.source = (order - first).to(images.device)
        self.place = (order.argsort() - first).to(images.device)

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        size, at = self.images.shape[-2:], self.rows.at(step)
        drawn = [part.draw(step, frames) for part, rows in self.parts if rows.first[step] < rows.first[step + 1]]
        place = self.place[at]
        if True not in [callable(part) for part in drawn]:
            return torch.cat([part.expand(-1, -1, *size) for part in drawn]).index_select(0, place)  # type: ignore[union-attr]
        images = frames(self.images, self.rows.rows[at])
        source = self.source[at]
        counts = [rows.first[step + 1] - rows.first[step] for _, rows in self.parts]

        def keep(masks: Float[Tensor, "n h w"]) -> Images:
            pairs = zip(images[source].split(counts), masks[source].split(counts), strict=True)
            present = [pair for pair, count in zip(pairs, counts, strict=True) if count]
            kept = [
                part(mask) if callable(part) else torch.lerp(part, image, mask[:, None])
                for part, (image, mask) in zip(drawn, present, strict=True)
            ]
            return torch.cat(kept)[place]

        return keep


def deal(families: int, draws: Draws, *, steps: int, slots: int) -> Int[Tensor, "s r"]:
    """Deals each image one shuffled deck of the numbers [0, families) after another: a number for every step and row.

    Each deck has every number once. Where a deck begins within a step, the numbers that the step has less often come
    first, so that a step has as many different ones as there can be.
    """
    images, decks = len(draws.seeds), -(-steps * slots // families)
    table = torch.ones(decks, images, dtype=torch.bool)
    shuffled = Draws(draws.seeds).uniform("deal", Rows.where(table), families).argsort(dim=1, stable=True)
    dealt = torch.empty(images, decks * families, dtype=torch.long)
    for deck, cards in enumerate(shuffled.split(images)):
        begin = deck * families
        used = dealt[:, begin - begin % slots : begin]
        often = (cards.unsqueeze(2) == used.unsqueeze(1)).sum(2)
        late = often.argsort(dim=1, stable=True).argsort(dim=1) >= slots - begin % slots
        dealt[:, begin : begin + families] = cards.gather(1, late.long().argsort(dim=1, stable=True))
    return dealt[:, : steps * slots].unflatten(1, (steps, slots)).movedim(1, 0).flatten(1)


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

    def __call__(self, masks: Masks, *, progress: float) -> Masks:
        """Returns the masks as the classifier sees them at `progress` in [0, 1] of the fit.

        >>> float(Reveal(0.5)(torch.zeros(1, 1, 1, 1), progress=0.35))
        0.25
        """
        share = self.start * max(0.0, 1 - progress / self.until)
        return share + (1 - share) * masks if share else masks


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

    def draw(self, step: int, *, progress: float) -> KeepFunction:
        """Draws the baselines and shifts of a step, and returns its kept(x, m) for b x a masks.

        If a game needs fewer masks than the image has, those of the first ones are taken: of rows, baselines, shifts.
        """
        frames = self.shifts.at(step, progress=progress)
        drawn = self.bound.draw(step, frames)
        images = frames.all(self.images, self.each)

        def kept(masks: Masks) -> Float[Tensor, "b a c h w"]:
            missing, shifted = self.slots - masks.shape[1], frames.masks(masks)
            if callable(drawn):
                every = torch.nn.functional.pad(shifted, (0, 0, 0, 0, 0, missing)).flatten(0, 1)
                return drawn(every).unflatten(0, (-1, self.slots))[:, : masks.shape[1]]
            baselines, own = drawn.unflatten(0, (-1, self.slots)), images
            if missing:
                baselines, own = baselines[:, :-missing], own if own.shape[1] == 1 else own[:, :-missing]
            return torch.lerp(baselines, own, shifted.unsqueeze(2))

        return kept


def _between_levels(levels: Float[Tensor, "n l c h w"], masks: Float[Tensor, "n h w"]) -> Images:
    """Interpolates each pixel between the two levels nearest to its mask."""
    last = levels.shape[1] - 1
    position = masks * last
    below = position.detach().floor().clamp(0, last - 1)
    # A mask that is no number, as of a fit that diverged, has no level; it must not stop the other images.
    which = below.nan_to_num(0.0).long()[:, None, None].expand(-1, -1, *levels.shape[2:])
    lower, upper = (levels.gather(1, which + above).squeeze(1) for above in (0, 1))
    return torch.lerp(lower, upper, (position - below).unsqueeze(1))
