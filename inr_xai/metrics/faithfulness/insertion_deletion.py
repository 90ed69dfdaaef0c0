"""Insertion, deletion and flipping: how p_t changes as pixels come, go or are inverted, the most important first.

Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018, section 4.1. The
constants are those of its code, github.com/eclique/RISE at fac5d54, evaluation.py. RISE measures the class that the
model predicts; here the caller gives the class.

Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation", PLoS
ONE 2015 (pixel flipping, on MNIST).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.masks import require_one_each
from inr_xai.metrics.base import MeanOfValues
from inr_xai.metrics.inputs import Maps, Score, descending_ranks, maps_of
from inr_xai.types import Image, Images, Targets

COPIES = 64  # images that are made at once; only memory depends on it


def insertion_curve(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    baseline: Images,
    generators: Sequence[torch.Generator],
    step: int | None = None,
    tie_draws: int = 3,
) -> Float[Tensor, "b t"]:
    """Returns p_t after the tk most important pixels came back into the baseline, t = 0 to T = ceil(hw / k).

    Raises ValueError for maps that are not finite or not in the size of the images.

    Args:
        baseline: the images without any pixel; RISE uses `rise_blur`.
        generators: one CPU generator per image, for the order of tied pixels.
        step: k, in pixels; by default the width of the image: 224 steps for 224 x 224 pixels, as in RISE.
        tie_draws: the number of random orders of tied pixels to average over; a map without ties takes one.
    """
    return _curves(score, baseline.to(images), images, targets, maps, generators, step=step, tie_draws=tie_draws)


def deletion_curve(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    baseline: Images,
    generators: Sequence[torch.Generator],
    step: int | None = None,
    tie_draws: int = 3,
) -> Float[Tensor, "b t"]:
    """Returns p_t after the tk most important pixels changed to the baseline, t = 0 to T = ceil(hw / k).

    Arguments and errors are those of `insertion_curve`.

    Args:
        baseline: RISE uses 0 after the model's normalisation, which is the mean colour before it.
    """
    return _curves(score, images, baseline.to(images), targets, maps, generators, step=step, tie_draws=tie_draws)


def insertion_auc(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    baseline: Images,
    generators: Sequence[torch.Generator],
    step: int | None = None,
    tie_draws: int = 3,
) -> Float[Tensor, " b"]:
    """Returns the area under `insertion_curve`, in [0, 1]; higher is better. Arguments and errors are the curve's.

    The area is that of the trapezoidal rule over the share of steps, (sum_t p_t - p_0 / 2 - p_T / 2) / T. A binary
    mask orders no pixels but at random; use `preservation` for masks.
    """
    curve = insertion_curve(
        score, images, targets, maps, baseline=baseline, generators=generators, step=step, tie_draws=tie_draws
    )
    return _area_under(curve)


def deletion_auc(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    baseline: Images,
    generators: Sequence[torch.Generator],
    step: int | None = None,
    tie_draws: int = 3,
) -> Float[Tensor, " b"]:
    """Returns the area under `deletion_curve`, in [0, 1]; lower is better. Arguments and errors are the curve's.

    The rule and the remark on binary masks are those of `insertion_auc`.
    """
    curve = deletion_curve(
        score, images, targets, maps, baseline=baseline, generators=generators, step=step, tie_draws=tie_draws
    )
    return _area_under(curve)


def pixel_flipping(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    generators: Sequence[torch.Generator],
    step: int | None = None,
    tie_draws: int = 3,
) -> Float[Tensor, " b"]:
    """Returns `deletion_auc` if a pixel x of an image in [0, 1] changes to 1 - x, in [0, 1]; lower is better.

    That is the flip of a binary pixel. Greys near 1/2 hardly change by it: deletion is the pixel flipping that gives
    pixels a baseline. Other arguments and errors are those of `insertion_curve`. Raises ValueError for images that
    leave [0, 1].
    """
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError("expected images in [0, 1] to flip to 1 - x; pass them before the model's normalisation")
    return deletion_auc(
        score, images, targets, maps, baseline=1 - images, generators=generators, step=step, tie_draws=tie_draws
    )


def rise_blur(
    images: Images, *, outside: Float[Tensor, " c"] | None = None, kernel: int = 11, sigma: float = 5.0
) -> Images:
    """Returns the images blurred as RISE does for insertion: by a Gaussian on 11 x 11 pixels.

    The part of the Gaussian that lies outside the kernel is mirrored into it.

    Args:
        outside: the colour around the image. RISE pads with 0 after the model's normalisation: this is 0 (the
            default) for normalised images, and the model's mean colour for images before normalisation.
        kernel: side of the kernel in pixels, an odd number.
        sigma: standard deviation in pixels.

    >>> grey = torch.full((1, 3, 16, 16), 0.5)
    >>> torch.allclose(rise_blur(grey, outside=torch.full((3,), 0.5)), grey)
    True
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"expected an odd number of pixels as the side of the kernel, got {kernel}")
    channels, middle = images.shape[1], kernel // 2
    exact = images.to(torch.promote_types(images.dtype, torch.float32))
    point = exact.new_zeros(1, 1, kernel, kernel)
    point[..., middle, middle] = 1
    weights = gaussian_blur(point, sigma).expand(channels, 1, -1, -1)
    colour = exact.new_zeros(channels, 1, 1) if outside is None else outside.to(exact).reshape(-1, 1, 1)
    blurred = F.conv2d(exact - colour, weights, padding=middle, groups=channels)
    return (blurred + colour).to(images.dtype)


class InsertionAUC(MeanOfValues):
    """Mean over images of `insertion_auc`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0


class DeletionAUC(MeanOfValues):
    """Mean over images of `deletion_auc`."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0


class PixelFlipping(MeanOfValues):
    """Mean over images of `pixel_flipping`."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0


def _curves(
    score: Score,
    start: Images,
    finish: Images,
    targets: Targets,
    maps: Maps,
    generators: Sequence[torch.Generator],
    *,
    step: int | None,
    tie_draws: int,
) -> Float[Tensor, "b t"]:
    """Returns the curve of each image from `start` to `finish`, the mean over orders of its tied pixels."""
    require_one_each(generators, len(start))
    step = start.shape[-1] if step is None else step
    if step < 1 or tie_draws < 1:
        raise ValueError(f"expected step and tie_draws of at least 1, got step={step}, tie_draws={tie_draws}")
    curves = []
    for image, values in enumerate(maps_of(start, maps)):
        draws = tie_draws if values.unique().numel() < values.numel() else 1
        orders = [descending_ranks(values[None], generators=[generators[image]])[0] for _ in range(draws)]
        ends, target = (start[image], finish[image]), targets[image : image + 1]
        curves.append(torch.stack([_curve(score, ends, target, ranks, step=step) for ranks in orders]).mean(0))
    return torch.stack(curves)


def _curve(
    score: Score, ends: tuple[Image, Image], target: Targets, ranks: Int[Tensor, "h w"], *, step: int
) -> Float[Tensor, " t"]:
    """Returns p_t of one image as its pixels change from the first of `ends` to the second, in the order of `ranks`."""
    start, finish = ends
    steps = -(-ranks.numel() // step)
    changed = step * torch.arange(steps + 1, device=ranks.device)
    scores = []
    for counts in changed.split(COPIES):
        copies = torch.where(ranks < counts.reshape(-1, 1, 1, 1), finish, start)
        scores.append(score(copies, target.expand(len(counts))))
    return torch.cat(scores)


def _area_under(curve: Float[Tensor, "b t"]) -> Float[Tensor, " b"]:
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)
