"""One heatmap from a fit, for metrics and tools that rank pixels or expect a single map.

It is a weighted mean of the masks at 32 areas, most of which no fit has seen; METHOD, "Metrics", in docs/method.md.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.fitting.drawing import Drawing, load_networks
from inr_xai.fitting.fit import FitResult
from inr_xai.limits import Exclusion
from inr_xai.method import Method

COUNT, SMALLEST, LARGEST = 32, 0.01, 0.97


def importance_areas(size: tuple[int, int]) -> list[float]:
    """Returns 32 areas from 1 % to 97 % of the image in equal ratios, without those smaller than a pixel.

    >>> [round(area, 4) for area in importance_areas((224, 224))[:3]], len(importance_areas((8, 8)))
    ([0.01, 0.0116, 0.0134], 28)
    """
    ratio = LARGEST / SMALLEST
    areas = [SMALLEST * ratio ** (place / (COUNT - 1)) for place in range(COUNT)]
    return [area for area in areas if area * size[0] * size[1] >= 1]


def weighted_mean(masks: Float[Tensor, "*b a h w"], areas: Sequence[float]) -> Float[Tensor, "*b h w"]:
    """Returns sum_a m_a / a^2 over sum_a 1 / a^2, in [0, 1], in which pixels of small masks have most weight.

    The order of pixels is that of the masks. If larger masks contain the smaller ones, a pixel's value falls about as
    the square of its rank. (A plain mean over all areas has most of its mass outside the best quarter of the pixels,
    whatever the masks.)
    """
    weights = masks.new_tensor([area**-2 for area in areas])
    # Weights add up to 1 only up to rounding.
    return (masks * (weights / weights.sum())[:, None, None]).sum(-3).clamp(0, 1)


def importance_maps(
    result: FitResult, method: Method, sample_ids: Sequence[str], size: tuple[int, int]
) -> Float[Tensor, "b h w"]:
    """Returns the heatmaps of the first explanations of a batch, in [0, 1], on the CPU."""
    areas = importance_areas(size)
    exclusion = Exclusion("penalty", 0.0)  # a single explanation excludes nothing
    drawing = Drawing(replace(method, areas=areas, exclusion=exclusion), sample_ids, size)
    inr = method.inr([torch.Generator()] * len(sample_ids)).to(torch.float32)
    load_networks(inr, [networks[0] for networks in result.networks])
    return weighted_mean(drawing.next(inr).to(torch.float32), areas)
