"""How alike two importance maps of one image are: by the order of their pixels, or by their structure.

These are two similarities of Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. Neither depends on the
scale or the offset of a map, since those of different models or methods do not compare.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from inr_xai.metrics.inputs import Maps, finite_maps

Similarity = Callable[[Maps, Maps], Float[Tensor, " b"]]
"""A function of two maps of each image, which returns one number for each pair; larger is more alike."""

WINDOW = 11  # pixels: the side to which a Gaussian of sigma 1.5 is cut


def spearman(first: Maps, second: Maps) -> Float[Tensor, " b"]:
    """Returns Spearman's rank correlation over pixels, in [-1, 1]; higher is more alike.

    Tied pixels share their mean rank. The correlation is NaN if a map is constant, since it orders nothing. If the
    sign of the maps means nothing, take their absolute values first.

    >>> round(spearman(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[10.0, 30.0, 20.0]]])).item(), 4)
    0.5
    """
    _require_same_shape(first, second)
    ranks, others = _centred_ranks(finite_maps(first)), _centred_ranks(finite_maps(second))
    correlation = (ranks * others).sum(1) / (ranks.norm(dim=1) * others.norm(dim=1))
    return correlation.clamp(-1, 1)


def structural_similarity(first: Maps, second: Maps) -> Float[Tensor, " b"]:
    """Returns the structural similarity (SSIM) of maps that are scaled to [0, 1], in [-1, 1]; higher is more alike.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004: Gaussian window of
    sigma 1.5 pixels, constants .01 and .03, mean over all pixels, the maps mirrored at their border. A constant map
    counts as 0 everywhere. Maps of fewer than 6 pixels a side are refused.

    >>> ramp = torch.arange(64.0).reshape(1, 8, 8)
    >>> structural_similarity(ramp, 5 * ramp - 3).item()
    1.0
    """
    _require_same_shape(first, second)
    if min(first.shape[1:]) <= WINDOW // 2:
        raise ValueError(
            f"expected maps of at least {WINDOW // 2 + 1} pixels a side, got {tuple(first.shape[1:])}; enlarge them"
        )
    images, others = _unit_range(finite_maps(first)), _unit_range(finite_maps(second))
    # The range is given, since by default it is taken over the whole batch and would couple the images.
    similarity = structural_similarity_index_measure(
        images.unsqueeze(1), others.unsqueeze(1), sigma=1.5, data_range=1.0, k1=0.01, k2=0.03, reduction="none"
    )
    assert isinstance(similarity, Tensor)  # it is a pair only with the options for more than the similarity
    return similarity


def _require_same_shape(first: Float[Tensor, "..."], second: Float[Tensor, "..."]) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"expected two maps of each image in one size, got shapes {tuple(first.shape)} and {tuple(second.shape)}"
        )


def _centred_ranks(maps: Maps) -> Float[Tensor, "b p"]:
    """Returns twice the ranks less their mean: whole numbers, so that a constant map is exactly 0."""
    values = maps.flatten(1)
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above - values.shape[1]).to(values)


def _unit_range(maps: Maps) -> Maps:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1)
