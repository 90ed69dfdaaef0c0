"""ROAD, remove and debias: what a class loses if pixels are imputed from the pixels around them.

Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022: noisy linear
imputation hides the shape of the removed region, which would show the class. Pixels are removed by rank, in exact
numbers, so that maps of few values can be measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inr_xai.masks import pixel_counts, require_one_each
from inr_xai.metrics.base import MeanOfValues
from inr_xai.metrics.inputs import Maps, Score, descending_ranks, maps_of
from inr_xai.types import Images, Targets

PERCENTAGES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)


def road(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    generators: Sequence[torch.Generator],
    percentages: Sequence[float] = PERCENTAGES,
    noise: float = 0.01,
) -> Float[Tensor, " b"]:
    """Returns (LeRF - MoRF) / 2, in [-1/2, 1/2]; higher is better, and 0 is expected of a map of noise.

    Both are means of `road_scores` over percentages: LeRF removes the least important pixels first, MoRF the most
    important ones. They share the order of ties and the noise. Arguments and errors are those of `road_scores`.
    """
    removal = _draw(images, maps, generators=generators, percentages=percentages, noise=noise)
    least, most = (_scores(score, images, targets, removal, most_first=first).mean(1) for first in (False, True))
    return (least - most) / 2


def road_scores(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    most_first: bool,
    generators: Sequence[torch.Generator],
    percentages: Sequence[float] = PERCENTAGES,
    noise: float = 0.01,
) -> Float[Tensor, "b q"]:
    """Returns p_t after q percent of the pixels were imputed; lower is better with `most_first`, higher without.

    The number of removed pixels is rounded down. Raises ValueError for maps that are not finite or not in the size of
    the images, and for percentages outside [0, 100).

    Args:
        most_first: remove the most important pixels first (MoRF); else the least important ones (LeRF).
        generators: one CPU generator per image; each gives one order of tied pixels and one field of noise, whatever
            the percentages.
        noise: standard deviation, in the units of the images, of the noise that is added to imputed values.
    """
    removal = _draw(images, maps, generators=generators, percentages=percentages, noise=noise)
    return _scores(score, images, targets, removal, most_first=most_first)


def linear_imputation(images: Images, removed: Bool[Tensor, "b h w"]) -> Images:
    """Returns the images with each removed pixel as the weighted mean of its eight neighbours, removed ones too.

    Section 4.2 of the paper: neighbours that share a side weigh 1/6, diagonal ones 1/12, those outside the image
    nothing. The linear equations of an image are solved on the CPU in double precision, for all channels at once.
    Raises ValueError if all pixels of an image are removed.

    >>> removed = torch.tensor([[[False, True, True, False]]])
    >>> linear_imputation(torch.tensor([[[[0.0, 9.0, 9.0, 3.0]]]]), removed).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if removed.flatten(1).all(1).any():
        raise ValueError("expected at least one pixel of each image to stay, got an image with all of them removed")
    laplacian = _laplacian(*images.shape[2:])
    pixels, gaps = images.detach().cpu().double().flatten(2).numpy(), removed.cpu().flatten(1).numpy()
    filled = [_solved(laplacian, image, gap) for image, gap in zip(pixels, gaps, strict=True)]
    return torch.from_numpy(np.stack(filled)).to(images).reshape(images.shape)


class ROAD(MeanOfValues):
    """Mean over images of `road`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = -0.5
    plot_upper_bound = 0.5


@dataclass(frozen=True)
class _Removal:
    """The order, the numbers and the noise of the pixels to remove; LeRF and MoRF share them.

    Args:
        ranks: place of each pixel in the order of importance; that of the most important one is 0.
        counts: the number of pixels to remove, for each percentage.
        fields: the noise that is added to imputed pixels.
    """

    ranks: Int[Tensor, "b h w"]
    counts: Int[Tensor, " q"]
    fields: Images


def _draw(
    images: Images, maps: Maps, *, generators: Sequence[torch.Generator], percentages: Sequence[float], noise: float
) -> _Removal:
    """Draws the order of ties and the noise. Raises ValueError as `road_scores` does."""
    require_one_each(generators, len(images))
    if not all(0 <= percentage < 100 for percentage in percentages):
        raise ValueError(f"expected percentages of at least 0 and below 100, got {list(percentages)}")
    ranks = descending_ranks(maps_of(images, maps), generators=generators)
    counts = pixel_counts(torch.tensor(percentages, dtype=torch.float64) / 100, ranks[0].numel())
    fields = torch.stack([torch.randn(images.shape[1:], generator=draw) for draw in generators])
    return _Removal(ranks, torch.tensor(counts, device=ranks.device), noise * fields.to(images))


def _scores(
    score: Score, images: Images, targets: Targets, removal: _Removal, *, most_first: bool
) -> Float[Tensor, "b q"]:
    """Returns p_t of each image after each number of pixels was imputed."""
    orders = removal.ranks if most_first else removal.ranks[0].numel() - 1 - removal.ranks
    scores = []
    for image, target, order, field in zip(images, targets, orders, removal.fields, strict=True):
        removed = order < removal.counts.reshape(-1, 1, 1)
        copies = linear_imputation(image.expand(len(removed), -1, -1, -1), removed)
        scores.append(score(copies + field * removed.unsqueeze(1), target.expand(len(removed))))
    return torch.stack(scores)


def _laplacian(height: int, width: int) -> scipy.sparse.csr_array:
    """Returns L with (L x)_i = sum_j w_ij (x_i - x_j) over the neighbours j of pixel i: 0 if it is their mean."""
    down, across = (
        scipy.sparse.diags_array([1.0, 2.0, 1.0], offsets=[-1, 0, 1], shape=(side, side)) for side in (height, width)
    )
    weights = scipy.sparse.kron(down, across) / 12  # a pixel's weight with itself cancels in the difference
    return (scipy.sparse.diags_array(weights.sum(1)) - weights).tocsr()


def _solved(
    laplacian: scipy.sparse.csr_array, image: Float[np.ndarray, "c p"], removed: Bool[np.ndarray, " p"]
) -> Float[np.ndarray, "c p"]:
    """Returns the image with (L x)_i = 0 for every removed pixel i."""
    filled = image.copy()
    if removed.any():
        equations = laplacian[removed]
        known = equations[:, ~removed] @ image[:, ~removed].T
        # The matrix is symmetric and positive definite: it needs no pivoting, and a fitting order is faster.
        factors = scipy.sparse.linalg.splu(
            equations[:, removed].tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        filled[:, removed] = factors.solve(-known).T
    return filled
