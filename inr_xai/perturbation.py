"""What the classifier sees of an image while a mask is fitted: perturbations, and the fit's own Reveal and Jitter.

A perturbation says what replaces a pixel. It is bound to a batch of images once. Each step then draws from it the
function kept(x, m) of masks; removed(x, m) is kept(x, 1 - m). Reveal lets replaced pixels shine through at first, and
Jitter shifts the result a little. Blur pyramid: Fong, Patrick, Vedaldi, ICCV 2019, section 3.3.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.errors import UserError
from inr_xai.limits import require_numbers
from inr_xai.types import Images, Masks

KeepFunction = Callable[[Masks], Float[Tensor, "b a c h w"]]
"""kept(x, m) for given images x: maps masks m to the images as each mask keeps them."""
Generators = Sequence[torch.Generator]


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


class Perturbation(ABC):
    """A rule for what replaces pixels."""

    needs_donors = False
    """Whether `bind` uses other photos."""

    @abstractmethod
    def bind(self, images: Images, around: Surroundings) -> "Bound":
        """Returns the rule for these images, with everything that all steps share (such as the blurred images)."""


class Bound(ABC):
    """A perturbation that is bound to images."""

    @abstractmethod
    def draw(self, index: Sequence[int], generators: Generators) -> KeepFunction:
        """Returns kept(x, m) for the images at positions `index`, each drawn from its own generator."""


@dataclass(frozen=True, eq=False)
class FixedBaseline(Bound):
    """One fixed baseline b per image: kept = m x + (1 - m) b."""

    images: Images
    baselines: Images

    def draw(self, index: Sequence[int], generators: Generators) -> KeepFunction:
        return blend(self.images[list(index)], self.baselines[list(index)])


@dataclass(frozen=True, eq=False)
class DrawnBaseline(Bound):
    """A new baseline per image and step, drawn by a function of the image's position and generator."""

    images: Images
    sample: Callable[[int, torch.Generator], Float[Tensor, "c #h #w"]]

    def draw(self, index: Sequence[int], generators: Generators) -> KeepFunction:
        baselines = torch.stack([self.sample(*pair) for pair in zip(index, generators, strict=True)])
        return blend(self.images[list(index)], baselines)


class Blur(Perturbation):
    """The image itself, blurred.

    Args:
        sigma: standard deviation of the Gaussian, in pixels of an image whose shorter side is 224.
    """

    def __init__(self, sigma: float = 20.0):
        require_numbers("perturbation", sigma=sigma)
        self.sigma = sigma

    def bind(self, images: Images, around: Surroundings) -> Bound:
        return FixedBaseline(images, gaussian_blur(images, self.sigma * min(images.shape[-2:]) / 224))


class BlurPyramid(Perturbation):
    """The mask's value says how much a pixel is blurred: not at all at 1, by `sigma` at 0, in linear steps between.

    Args:
        sigma: standard deviation of the strongest blur, in pixels of an image whose shorter side is 224.
        levels: number of levels, 2 to 64, the sharp image included.
    """

    def __init__(self, sigma: float = 20.0, *, levels: int = 8):
        require_numbers("perturbation", sigma=sigma, levels=levels)
        self.sigma, self.levels = sigma, levels

    def bind(self, images: Images, around: Surroundings) -> Bound:
        sigma = self.sigma * min(images.shape[-2:]) / 224
        blurred = [gaussian_blur(images, sigma * (1 - i / (self.levels - 1))) for i in range(self.levels - 1)]
        return Pyramid(torch.stack([*blurred, images], dim=1))


@dataclass(frozen=True, eq=False)
class Pyramid(Bound):
    """Images at several levels of blur, from the strongest to none."""

    levels: Float[Tensor, "b l c h w"]

    def draw(self, index: Sequence[int], generators: Generators) -> KeepFunction:
        return partial(_between_levels, self.levels[list(index)])


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

    def bind(self, images: Images, around: Surroundings) -> Bound:
        colour = around.colour_mean if isinstance(self.colour, str) else torch.tensor(self.colour)
        baseline = colour.to(images).reshape(-1, 1, 1).expand(images.shape[1:])
        return FixedBaseline(images, baseline.expand_as(images))


class RandomColour(Perturbation):
    """One colour per image and step, uniform around the mean colour with the data's standard deviation."""

    def bind(self, images: Images, around: Surroundings) -> Bound:
        mean, std = around.colour_mean.to(images), around.colour_std.to(images)

        def sample(_: int, generator: torch.Generator) -> Float[Tensor, "c 1 1"]:
            unit = torch.rand(len(mean), generator=generator).to(images) * 2 - 1
            return (mean + std * 3**0.5 * unit).reshape(-1, 1, 1)  # sqrt(3) makes the variance std^2

        return DrawnBaseline(images, sample)


class PinkNoise(Perturbation):
    """Coloured noise per image and step, which like a photo has structure at every scale.

    The amplitude of a wave of k periods a side is k^-e, with e drawn from [1, 2] each time. The contrast, the
    similarity of the channels, and a colour are drawn too. Mean and spread are those of the data.
    """

    def bind(self, images: Images, around: Surroundings) -> Bound:
        mean, std = [values.to(images).reshape(-1, 1, 1) for values in (around.colour_mean, around.colour_std)]
        height, width = images.shape[-2:]
        periods = torch.hypot(
            torch.fft.fftfreq(height, 1 / height)[:, None], torch.fft.rfftfreq(width, 1 / width)[None]
        ).clamp(min=1)

        def sample(_: int, generator: torch.Generator) -> Float[Tensor, "c h w"]:
            steepness, independence, contrast = torch.rand(3, generator=generator).tolist()
            colour = (torch.rand(len(mean), 1, 1, generator=generator) * 2 - 1) * 3**0.5 / 2
            waves = torch.fft.rfft2(torch.randn(len(mean), height, width, generator=generator))
            field = torch.fft.irfft2(waves * periods ** -(1 + steepness), s=(height, width))
            field = (field - field.mean((-2, -1), keepdim=True)) / field.std((-2, -1), keepdim=True)
            grey = field.mean(0, keepdim=True) * len(mean) ** 0.5
            mixed = independence * field + (1 - independence) * grey
            return mean + std * ((0.5 + contrast) * mixed + colour).to(images)

        return DrawnBaseline(images, sample)


class Donor(Perturbation):
    """Another photo per image and step, shifted cyclically by a random offset and mirrored half of the time."""

    needs_donors = True

    def bind(self, images: Images, around: Surroundings) -> Bound:
        if around.donors is None or len(around.donors) < 2:
            raise UserError(
                "perturbation=donor needs photos of other samples and there are none here; use perturbation=mixture"
            )
        donors = around.donors.to(images)
        # A photo that is itself explained does not donate to itself.
        others = [[i for i, donor in enumerate(donors) if not torch.equal(donor, image)] for image in images]
        if [] in others:
            raise UserError("every donor is the image that is explained; give donors that are other photos")

        def sample(position: int, generator: torch.Generator) -> Float[Tensor, "c h w"]:
            which, dy, dx, mirror = (
                int(torch.randint(0, count, (), generator=generator))
                for count in (len(others[position]), *donors.shape[-2:], 2)
            )
            photo = donors[others[position][which]].roll((dy, dx), dims=(-2, -1))
            return photo.flip(-1) if mirror else photo

        return DrawnBaseline(images, sample)


class Mixture(Perturbation):
    """One of several perturbations, drawn for each image at each step, so that no mask can exploit a single one.

    Args:
        parts: the perturbations, all equally likely; by default blur, mean colour, random colour, coloured noise, and
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

    def bind(self, images: Images, around: Surroundings) -> Bound:
        without = [part for part in self.parts if not part.needs_donors]
        parts = without if without and around.donors is None else self.parts
        return BoundMixture([part.bind(images, around) for part in parts])


@dataclass(frozen=True, eq=False)
class BoundMixture(Bound):
    """Bound perturbations, one of which is drawn for each image."""

    parts: Sequence[Bound]

    def draw(self, index: Sequence[int], generators: Generators) -> KeepFunction:
        choice = [int(torch.randint(0, len(self.parts), (), generator=generator)) for generator in generators]
        drawn: list[tuple[list[int], KeepFunction]] = []
        for number, part in enumerate(self.parts):
            places = [place for place, chosen in enumerate(choice) if chosen == number]
            if places:
                part_generators = [generators[place] for place in places]
                drawn.append((places, part.draw([index[place] for place in places], part_generators)))
        order = torch.tensor([place for places, _ in drawn for place in places]).argsort().tolist()
        return lambda masks: torch.cat([function(masks[places]) for places, function in drawn])[order]


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
    """Shifts each image by a random whole number of pixels, so that no mask depends on one alignment of the pixels.

    The image's border fills the gap.

    Args:
        shift: largest shift along each axis, as a fraction of the side; 0 switches it off.
        flip: also mirror left and right with probability 1/2 (not for classes that differ only by left and right).
    """

    def __init__(self, shift: float = 0.03, *, flip: bool = False):
        if not 0 <= shift < 0.5:
            raise UserError(
                f"jitter.shift must lie in [0, 0.5), the largest shift as a fraction of the side; got {shift}"
            )
        self.shift, self.flip = shift, flip

    def __call__(self, images: Float[Tensor, "b a c h w"], generators: Generators) -> Float[Tensor, "b a c h w"]:
        """Returns shifted images; all masks of an image have one shift, drawn from the image's own generator."""
        height, width = images.shape[-2:]
        most = [round(self.shift * side) for side in (height, width)]
        moved = []
        for image, draw in zip(images, generators, strict=True):
            dy, dx = [int(torch.randint(-pixels, pixels + 1, (), generator=draw)) for pixels in most]
            if dy or dx:
                # Clamped indices replicate the border; its gradient is the sum over the copies.
                rows = (torch.arange(height, device=images.device) + dy).clamp(0, height - 1)
                columns = (torch.arange(width, device=images.device) + dx).clamp(0, width - 1)
                image = image.index_select(-2, rows).index_select(-1, columns)
            if self.flip and bool(torch.rand((), generator=draw) < 0.5):
                image = image.flip(-1)
            moved.append(image)
        return torch.stack(moved)


def blend(images: Images, baselines: Float[Tensor, "b c #h #w"]) -> KeepFunction:
    """Returns the function m -> m x + (1 - m) b.

    >>> x, b = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    >>> float(blend(x, b)(torch.full((1, 1, 2, 2), 0.25)).mean())
    0.25
    """
    return lambda masks: baselines.unsqueeze(1) + masks.unsqueeze(2) * (images - baselines).unsqueeze(1)


def _between_levels(levels: Float[Tensor, "b l c h w"], masks: Masks) -> Float[Tensor, "b a c h w"]:
    """Interpolates each pixel between the two levels nearest to its mask."""
    last = levels.shape[1] - 1
    position = masks * last
    below = position.detach().floor().clamp(0, last - 1)
    weight = (position - below).unsqueeze(2)
    lower = _pick(levels, below.long())
    return lower + weight * (_pick(levels, below.long() + 1) - lower)


def _pick(levels: Float[Tensor, "b l c h w"], which: Tensor) -> Float[Tensor, "b a c h w"]:
    """Returns for each pixel its value at level `which` (b x a x h x w)."""
    b, _, c, h, w = levels.shape
    index = which.unsqueeze(2).expand(b, which.shape[1], c, h, w)
    return levels.gather(1, index)
