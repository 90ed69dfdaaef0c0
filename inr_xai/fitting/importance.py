"""One heatmap from a fit: for whatever wants to rank pixels, or expects a single map.

The masks of 32 areas, most of which no fit has seen, laid over one another; METHOD, "Metrics", in docs/method.md.
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
    """32 areas from 1 % to 97 % of the image in equal ratios, without those of less than a pixel.

    >>> [round(area, 4) for area in importance_areas((224, 224))[:3]], len(importance_areas((8, 8)))
    ([0.01, 0.0116, 0.0134], 28)
    """
    ratio = LARGEST / SMALLEST
    areas = [SMALLEST * ratio ** (place / (COUNT - 1)) for place in range(COUNT)]
    return [area for area in areas if area * size[0] * size[1] >= 1]


def laid_over(masks: Float[Tensor, "*b a h w"], areas: Sequence[float]) -> Float[Tensor, "*b h w"]:
    """sum_a m_a / a^2 over sum_a 1 / a^2, in [0, 1]: what small masks keep counts most.

    The order of pixels is that of the masks; where a larger area contains the smaller, a pixel's value falls about as
    the square of its place in that order. (A plain mean over all areas puts most of its mass outside the best quarter
    of the pixels, whatever the masks.)
    """
    weights = masks.new_tensor([area**-2 for area in areas])
    return (masks * (weights / weights.sum())[:, None, None]).sum(-3)


def importance_maps(
    fitted: FitResult, method: Method, sample_ids: Sequence[str], size: tuple[int, int]
) -> Float[Tensor, "b h w"]:
    """The heatmaps of a batch's first explanations, in [0, 1], on the CPU."""
    areas = importance_areas(size)
    exclusion = Exclusion("penalty", 0.0)  # one explanation has nothing to be kept apart from
    drawing = Drawing.of(replace(method, exclusion=exclusion), sample_ids, size, areas=areas)
    inr = method.inr([torch.Generator()] * len(sample_ids)).to(torch.float32)
    load_networks(inr, [networks[0] for networks in fitted.networks])
    return laid_over(drawing.next(inr).to(torch.float32), areas)
