"""Infidelity: the error of a map as a prediction of how perturbations of its image change the class.

Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, definition 2.1; scaling and squares are
those of its code, github.com/chihkuanyeh/saliency_evaluation at 5edce6e.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.masks import require_one_each
from inr_xai.metrics.base import MeanOfValues
from inr_xai.metrics.inputs import Maps, Score, maps_of
from inr_xai.types import Images, Targets

Perturbations = Float[Tensor, "b n c h w"]


def infidelity(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    perturbations: Perturbations,
    normalise: bool = True,
) -> Float[Tensor, " b"]:
    """Returns the mean over perturbations I of (beta sum(I E) - (p_t(x) - p_t(x - I)))^2; lower is better, at least 0.

    The map E is the same for every channel: sum(I E) is over pixels and channels. Compare values of one kind of
    perturbation only. Raises ValueError for maps that are not finite or not in the size of the images.

    Args:
        perturbations: n draws of what is subtracted from each image: `gaussian_noise`, `square_removal`.
        normalise: take the beta of each image that makes the mean least, as the authors' code does. Maps whose scale
            means nothing need it; a map and its negative are then alike. Without it, beta = 1.

    >>> brightness = lambda images, targets: images.sum((1, 2, 3))
    >>> x, exact = torch.rand(1, 3, 4, 4), torch.ones(1, 4, 4)
    >>> noise = gaussian_noise(x, generators=[torch.Generator()])
    >>> infidelity(brightness, x, torch.tensor([0]), exact, perturbations=noise).item() < 1e-9
    True
    """
    values = maps_of(images, maps)
    predicted = torch.einsum("bnchw,bhw->bn", perturbations.to(values), values)
    whole = score(images, targets)
    # One draw of every image at a time: memory.
    after = torch.stack([score(images - draw, targets) for draw in perturbations.to(images).unbind(1)], dim=1)
    change = whole.unsqueeze(1) - after
    if normalise:
        square = predicted.square().sum(1, keepdim=True)
        predicted = predicted * (predicted * change).sum(1, keepdim=True) / square.where(square > 0, 1)
    return (predicted - change).square().mean(1)


def gaussian_noise(
    images: Images, *, generators: Sequence[torch.Generator], draws: int = 100, sigma: float = 0.2
) -> Perturbations:
    """Returns independent Gaussian noise for every pixel and channel; x - I may leave the range of the images.

    Args:
        generators: one CPU generator per image.
        sigma: standard deviation in units of the images.
    """
    require_one_each(generators, len(images))
    drawn = [torch.randn(draws, *images.shape[1:], generator=draw) for draw in generators]
    return sigma * torch.stack(drawn).to(images)


def square_removal(
    images: Images,
    *,
    baseline: Images,
    generators: Sequence[torch.Generator],
    draws: int = 100,
    largest: float = 10 / 28,
) -> Perturbations:
    """Returns perturbations that are x - b on a square and 0 elsewhere: x - I is the baseline on the square.

    All squares inside the image, with sides from one pixel to the largest, are drawn with equal probability; the
    authors take each of them once.

    Args:
        generators: one CPU generator per image.
        largest: side of the largest square as a share of the image's shorter side; it is rounded to whole pixels.
    """
    require_one_each(generators, len(images))
    if not 0 < largest <= 1:
        raise ValueError(f"expected the side of the largest square as a share in (0, 1], got {largest}")
    height, width = images.shape[2:]
    squares = torch.stack([_squares(height, width, draws, largest=largest, generator=draw) for draw in generators])
    return squares.unsqueeze(2).to(images) * (images - baseline.to(images)).unsqueeze(1)


class Infidelity(MeanOfValues):
    """Mean over images of `infidelity`."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0


def _squares(
    height: int, width: int, draws: int, *, largest: float, generator: torch.Generator
) -> Float[Tensor, "n h w"]:
    """Returns random squares as images that are 1 on the square and 0 elsewhere."""
    sides = torch.arange(1, max(1, round(largest * min(height, width))) + 1)
    rows, columns = height - sides + 1, width - sides + 1  # positions of a square of each side
    drawn = torch.multinomial((rows * columns).double(), draws, replacement=True, generator=generator)

    def covered(positions: Tensor, length: int) -> Float[Tensor, "n l"]:
        first = (torch.rand(draws, generator=generator, dtype=torch.float64) * positions[drawn]).floor()
        offset = torch.arange(length) - first.unsqueeze(1)
        return ((offset >= 0) & (offset < sides[drawn].unsqueeze(1))).float()

    return covered(rows, height).unsqueeze(2) * covered(columns, width).unsqueeze(1)
