"""What takes a pixel's place: the baselines against which a mask is fitted, and kept(x, m).

A perturbation is bound to a batch of images once, and drawn from at each step; what is drawn is a function of masks.
removed(x, m) = kept(x, 1 - m). Blur pyramid: Fong, Patrick, Vedaldi, ICCV 2019, section 3.3.
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
from inr_xai.types import Images, Masks

Kept = Callable[[Masks], Float[Tensor, "b a c h w"]]
Generators = Sequence[torch.Generator]


@dataclass(frozen=True)
class Surroundings:
    """What a perturbation may know beside the images, in the units of the classifier's input.

    Args:
        colour_mean, colour_std: per channel, of the data the classifier was trained on.
        donors: other photos, p x c x h x w, none of them a scoring baseline; None where there are none.
    """

    colour_mean: Float[Tensor, " c"]
    colour_std: Float[Tensor, " c"]
    donors: Images | None = None


class Perturbation(ABC):
    """A family of replacements."""

    needs_donors = False
    """Whether `bind` wants other photos."""

    @abstractmethod
    def bind(self, images: Images, around: Surroundings) -> "Bound":
        """Computes once what every step needs (such as the blurred images)."""


class Bound(ABC):
    """A perturbation of given images."""

    @abstractmethod
    def draw(self, index: Sequence[int], generators: Generators) -> Kept:
        """kept(x, m) for the images at `index`, each drawn from its own generator."""


class FixedBaseline(Bound):
    """One image per image: kept = m x + (1 - m) b."""

    def __init__(self, images: Images, baselines: Images):
        self.images, self.baselines = images, baselines

    def draw(self, index: Sequence[int], generators: Generators) -> Kept:
        return blend(self.images[list(index)], self.baselines[list(index)])


class DrawnBaseline(Bound):
    """A new image per image and step, from a function of the image's position and generator."""

    def __init__(self, images: Images, sample: Callable[[int, torch.Generator], Float[Tensor, "c #h #w"]]):
        self.images, self.sample = images, sample

    def draw(self, index: Sequence[int], generators: Generators) -> Kept:
        baselines = torch.stack([self.sample(*pair) for pair in zip(index, generators, strict=True)])
        return blend(self.images[list(index)], baselines)


class Blur(Perturbation):
    """The image itself, blurred.

    Args:
        sigma: of the Gaussian, in pixels of an image of 224; scaled with the shorter side.
    """

    def __init__(self, sigma: float = 20.0):
        self.sigma = _positive("perturbation.sigma", sigma)

    def bind(self, images: Images, around: Surroundings) -> Bound:
        return FixedBaseline(images, gaussian_blur(images, self.sigma * min(images.shape[-2:]) / 224))


class BlurPyramid(Perturbation):
    """The mask's value says how much each pixel is blurred: 1 not at all, 0 by `sigma`, linear between the levels.

    Args:
        sigma: of the strongest blur, in pixels of an image of 224.
        levels: number of levels, the sharp image included.
    """

    def __init__(self, sigma: float = 20.0, *, levels: int = 8):
        self.sigma = _positive("perturbation.sigma", sigma)
        if levels < 2:
            raise UserError(f"perturbation.levels must be at least 2 (the blurred and the sharp image), got {levels}")
        self.levels = levels

    def bind(self, images: Images, around: Surroundings) -> Bound:
        sigma = self.sigma * min(images.shape[-2:]) / 224
        blurred = [gaussian_blur(images, sigma * (1 - i / (self.levels - 1))) for i in range(self.levels - 1)]
        return Pyramid(torch.stack([*blurred, images], dim=1))


class Pyramid(Bound):
    """Images in levels, from replaced to intact."""

    def __init__(self, levels: Float[Tensor, "b l c h w"]):
        self.levels = levels

    def draw(self, index: Sequence[int], generators: Generators) -> Kept:
        return partial(_between_levels, self.levels[list(index)])


class Constant(Perturbation):
    """One colour for every pixel of every image.

    Args:
        colour: "mean" for the classifier's mean colour, or a value, or one per channel, in the units of the input
            (0 is black on the command line, where images lie in [0, 1]).
    """

    def __init__(self, colour: str | float | Sequence[float] = "mean"):
        if isinstance(colour, str) and colour != "mean":
            raise UserError(f'perturbation.colour must be "mean", a number, or one number per channel; got {colour!r}')
        self.colour = colour

    def bind(self, images: Images, around: Surroundings) -> Bound:
        colour = around.colour_mean if isinstance(self.colour, str) else torch.tensor(self.colour)
        baseline = colour.to(images).reshape(-1, 1, 1).expand(images.shape[1:])
        return FixedBaseline(images, baseline.expand_as(images))


class RandomColour(Perturbation):
    """One colour per image and step: uniform around the mean colour with the data's standard deviation."""

    def bind(self, images: Images, around: Surroundings) -> Bound:
        mean, std = around.colour_mean.to(images), around.colour_std.to(images)

        def sample(_: int, generator: torch.Generator) -> Float[Tensor, "c 1 1"]:
            unit = torch.rand(len(mean), generator=generator).to(images) * 2 - 1
            return (mean + std * 3**0.5 * unit).reshape(-1, 1, 1)  # sqrt(3) makes the variance std^2

        return DrawnBaseline(images, sample)


class PinkNoise(Perturbation):
    """One image of coloured noise per image and step: structure at every scale, as in photos, and no photo.

    The amplitude of a wave of k periods a side is k^-e; e is drawn from [1, 2] each time, and so are the contrast, how
    alike the channels are, and a colour. Mean and spread are those of the data.
    """

    def bind(self, images: Images, around: Surroundings) -> Bound:
        mean, std = (values.to(images).reshape(-1, 1, 1) for values in (around.colour_mean, around.colour_std))
        height, width = images.shape[-2:]
        periods = torch.hypot(
            torch.fft.fftfreq(height, 1 / height)[:, None], torch.fft.rfftfreq(width, 1 / width)[None]
        ).clamp(min=1)

        def sample(_: int, generator: torch.Generator) -> Float[Tensor, "c h w"]:
            steepness, own, contrast = torch.rand(3, generator=generator).tolist()
            colour = (torch.rand(len(mean), 1, 1, generator=generator) * 2 - 1) * 3**0.5 / 2
            waves = torch.fft.rfft2(torch.randn(len(mean), height, width, generator=generator))
            field = torch.fft.irfft2(waves * periods ** -(1 + steepness), s=(height, width))
            field = (field - field.mean((-2, -1), keepdim=True)) / field.std((-2, -1), keepdim=True)
            grey = field.mean(0, keepdim=True) * len(mean) ** 0.5
            mixed = own * field + (1 - own) * grey
            return mean + std * ((0.5 + contrast) * mixed + colour).to(images)

        return DrawnBaseline(images, sample)


class Donor(Perturbation):
    """Another photo per image and step, mirrored half of the time and cut at a random place (the rest wraps around)."""

    needs_donors = True

    def bind(self, images: Images, around: Surroundings) -> Bound:
        if around.donors is None or len(around.donors) < 2:
            raise UserError(
                "perturbation=donor needs photos of other samples and there are none here; use perturbation=mixture"
            )
        donors = around.donors.to(images)
        # A photo that is itself explained is no donor of its own.
        others = [[i for i, donor in enumerate(donors) if not torch.equal(donor, image)] for image in images]

        def sample(position: int, generator: torch.Generator) -> Float[Tensor, "c h w"]:
            which, dy, dx, mirror = (
                int(torch.randint(0, most, (), generator=generator))
                for most in (len(others[position]), *donors.shape[-2:], 2)
            )
            photo = donors[others[position][which]].roll((dy, dx), dims=(-2, -1))
            return photo.flip(-1) if mirror else photo

        return DrawnBaseline(images, sample)


class Mixture(Perturbation):
    """One of several perturbations, drawn anew for each image at each step: masks cannot exploit a single one.

    Args:
        parts: the perturbations, each as likely as the others; by default blur, mean colour, random colour, coloured
            noise, and other photos. Those that take other photos are left out where there are none.
    """

    def __init__(self, parts: Sequence[Perturbation] | None = None):
        self.parts = [Blur(), Constant(), RandomColour(), PinkNoise(), Donor()] if parts is None else list(parts)
        if not self.parts:
            raise UserError("perturbation.parts must name at least one perturbation, got none")
        self.needs_donors = any(part.needs_donors for part in self.parts)

    def bind(self, images: Images, around: Surroundings) -> Bound:
        without = [part for part in self.parts if not part.needs_donors]
        parts = without if without and around.donors is None else self.parts
        return BoundMixture([part.bind(images, around) for part in parts])


class BoundMixture(Bound):
    """Bound parts, one of which is drawn for each image."""

    def __init__(self, parts: Sequence[Bound]):
        self.parts = parts

    def draw(self, index: Sequence[int], generators: Generators) -> Kept:
        choice = [int(torch.randint(0, len(self.parts), (), generator=generator)) for generator in generators]
        drawn: list[tuple[list[int], Kept]] = []
        for number, part in enumerate(self.parts):
            places = [place for place, chosen in enumerate(choice) if chosen == number]
            if places:
                own = [generators[place] for place in places]
                drawn.append((places, part.draw([index[place] for place in places], own)))
        order = torch.tensor([place for places, _ in drawn for place in places]).argsort().tolist()
        return lambda masks: torch.cat([function(masks[places]) for places, function in drawn])[order]


def blend(images: Images, baselines: Float[Tensor, "b c #h #w"]) -> Kept:
    """The function m -> m x + (1 - m) b.

    >>> x, b = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    >>> float(blend(x, b)(torch.full((1, 1, 2, 2), 0.25)).mean())
    0.25
    """
    return lambda masks: baselines.unsqueeze(1) + masks.unsqueeze(2) * (images - baselines).unsqueeze(1)


def _between_levels(levels: Float[Tensor, "b l c h w"], masks: Masks) -> Float[Tensor, "b a c h w"]:
    """Each pixel from the two levels nearest to its mask."""
    last = levels.shape[1] - 1
    position = masks * last
    below = position.detach().floor().clamp(0, last - 1)
    weight = (position - below).unsqueeze(2)
    lower = _pick(levels, below.long())
    return lower + weight * (_pick(levels, below.long() + 1) - lower)


def _pick(levels: Float[Tensor, "b l c h w"], which: Tensor) -> Float[Tensor, "b a c h w"]:
    """The level `which` (b x a x h x w) of every pixel."""
    b, _, c, h, w = levels.shape
    index = which.unsqueeze(2).expand(b, which.shape[1], c, h, w)
    return levels.gather(1, index)


def _positive(key: str, value: float) -> float:
    if value <= 0:
        raise UserError(f"{key} must be positive, in pixels of an image of 224, got {value}")
    return value
