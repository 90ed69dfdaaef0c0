"""Random smooth masks, whose scores are chance: they have the area and the free region, but know no classifier.

See docs/method.md, "Several explanations per image".
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.masks import hard_masks
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.seeding import generator
from inr_xai.types import Free


def chance_scores(
    model: MaskedModel, areas: Sequence[float], *, free: Free | None, sample_ids: Sequence[str], seed: int
) -> dict[str, Float[Tensor, "b a"]]:
    """Returns the columns `chance_<baseline>`: hard preservation of random smooth masks, the same at every area.

    Args:
        free: the pixels that the masks may keep; None for all.
        sample_ids, seed: name the random masks of each image.
    """
    height, width = model.images.shape[-2:]
    draws = [generator(seed, sample_id, "chance") for sample_id in sample_ids]
    fields = smooth_fields((height, width), generators=draws).to(model.images.device)
    by_area = []
    for position, area in enumerate(areas):
        ties = [generator(seed, sample_id, "chance", repr(area)) for sample_id in sample_ids]
        area_of_each = torch.full((fields.shape[1],), area, dtype=torch.float64)
        free_here = None if free is None else free[:, position, None].expand_as(fields)
        by_area.append(model.alternating(hard_masks(fields, area_of_each, generators=ties, free=free_here)))
    return {f"chance_{name}": torch.stack([means[name] for means in by_area], dim=1) for name in model.names}


def smooth_fields(
    size: tuple[int, int], *, generators: Sequence[torch.Generator], count: int = 8, sigma: float = 0.1
) -> Float[Tensor, "b {count} h w"]:
    """Returns Gaussian-filtered white noise on the CPU, whose hard masks are blobs.

    The noise is drawn on a larger canvas and cut, so that pixels at the border are as likely to be chosen as others.

    Args:
        size: height and width in pixels.
        generators: one CPU generator per image.
        count: the number of fields for each generator.
        sigma: standard deviation of the filter, as a share of the shorter side.

    >>> smooth_fields((8, 12), generators=[torch.Generator()], count=2).shape
    torch.Size([1, 2, 8, 12])
    """
    pixels = sigma * min(size)
    margin = round(4 * pixels)  # the filter ends there
    canvas = count, size[0] + 2 * margin, size[1] + 2 * margin
    noise = torch.stack([torch.randn(canvas, generator=draw) for draw in generators])
    return gaussian_blur(noise, pixels)[:, :, margin : margin + size[0], margin : margin + size[1]]
