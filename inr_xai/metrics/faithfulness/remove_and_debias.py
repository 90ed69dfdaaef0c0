"""ROAD, remove and debias: what a class loses when pixels are filled in from those around them.

Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022: noisy linear
imputation leaves little of the removed pixels' shape, which would give the class away. Pixels are removed by rank,
in exact numbers, so that maps of few values are measured too.
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
    """(LeRF - MoRF) / 2, in [-1/2, 1/2], higher is better; each is the mean of `road_scores` over percentages.

    LeRF removes the least important pixels first, MoRF the most important ones, by one order of ties and with one field
    of noise. 0 is expected of a map of noise. Arguments and errors are those of `road_scores`.
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
    """p_t after q percent of the pixels were imputed; lower is better with `most_first`, higher without.

    The number of pixels removed is rounded down. Raises ValueError for maps that are not finite or not in the size of
    the images, and for percentages that are not in [0, 100).

    Args:
        most_first: remove the most important pixels (MoRF); else the least important ones (LeRF).
        generators: one CPU generator per image; each gives one order of tied pixels and one field of noise, whatever
            the percentages.
        noise: standard deviation, in units of the images, of what is added to imputed values.
    """
    removal = _draw(images, maps, generators=generators, percentages=percentages, noise=noise)
    return _scores(score, images, targets, removal, most_first=most_first)


def linear_imputation(images: Images, removed: Bool[Tensor, "b h w"]) -> Images:
    """The images, where every removed pixel is the weighted mean of its eight neighbours, removed ones among them.

    Section 4.2 of the paper: neighbours that share a side weigh 1/6, diagonal ones 1/12, those outside the image
    nothing. The linear equations of an image are solved on the CPU in double precision, for all channels at once.
    Raises ValueError where nothing is left of an image.

    >>> removed = torch.tensor([[[False, True, True, False]]])
    >>> linear_imputation(torch.tensor([[[[0.0, 9.0, 9.0, 3.0]]]]), removed).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if removed.flatten(1).all(1).any():
        raise ValueError("expected at least one pixel of each image to stay, got an image with all of them removed")
    laplacian = _laplacian(*images.shape[2:])
    filled = [
        _solved(laplacian, image, lost)
        for image, lost in zip(
            images.detach().cpu().double().flatten(2).numpy(), removed.cpu().flatten(1).numpy(), strict=True
        )
    ]
    return torch.from_numpy(np.stack(filled)).to(images).reshape(images.shape)


class ROAD(MeanOfValues):
    """Mean over images of `road`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = -0.5
    plot_upper_bound = 0.5


@dataclass(frozen=True)
class _Removal:
    """What is removed of each image, and how; drawn once, whichever pixels go first.

    Args:
        ranks: place of each pixel, the most important one's is 0.
        counts: pixels to remove, one number for each percentage.
        fields: the noise of imputed pixels.
    """

    ranks: Int[Tensor, "b h w"]
    counts: Int[Tensor, " q"]
    fields: Images


def _draw(
    images: Images, maps: Maps, *, generators: Sequence[torch.Generator], percentages: Sequence[float], noise: float
) -> _Removal:
    """Raises ValueError as `road_scores` does."""
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
    """p_t of each image after each number of pixels was imputed."""
    places = removal.ranks if most_first else removal.ranks[0].numel() - 1 - removal.ranks
    answers = []
    for image, target, place, field in zip(images, targets, places, removal.fields, strict=True):
        removed = place < removal.counts.reshape(-1, 1, 1)
        copies = linear_imputation(image.expand(len(removed), -1, -1, -1), removed)
        answers.append(score(copies + field * removed.unsqueeze(1), target.expand(len(removed))))
    return torch.stack(answers)


def _laplacian(height: int, width: int) -> scipy.sparse.csr_array:
    """L with (L x)_i = sum_j w_ij (x_i - x_j) over the neighbours j of pixel i: 0 where the pixel is their mean."""
    down, across = (
        scipy.sparse.diags_array([1.0, 2.0, 1.0], offsets=[-1, 0, 1], shape=(side, side)) for side in (height, width)
    )
    weights = scipy.sparse.kron(down, across) / 12  # of a pixel with itself too, which the difference takes out
    return (scipy.sparse.diags_array(weights.sum(1)) - weights).tocsr()


def _solved(
    laplacian: scipy.sparse.csr_array, image: Float[np.ndarray, "c p"], removed: Bool[np.ndarray, " p"]
) -> Float[np.ndarray, "c p"]:
    """The image with (L x)_i = 0 for every removed pixel i."""
    filled = image.copy()
    if removed.any():
        equations = laplacian[removed]
        known = equations[:, ~removed] @ image[:, ~removed].T
        # Symmetric and positive definite: no pivoting is needed, and an order that fits is faster.
        factors = scipy.sparse.linalg.splu(
            equations[:, removed].tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        filled[:, removed] = factors.solve(-known).T
    return filled
