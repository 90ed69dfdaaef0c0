"""Several explanations of an image together: what their union restores, and what is left without all of them.

See docs/method.md, "Several explanations per image".
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.scoring.masked_model import MaskedModel, mean_over_baselines

OF_ONE = {"union_hard": "preservation_hard", "remaining_hard": "deletion_hard"}
"""Score of a union -> the score that is the same for a single explanation."""


def scores_together(
    model: MaskedModel, union: Bool[Tensor, "b a h w"], *, alone: Mapping[str, Float[Tensor, "b a"]] | None = None
) -> dict[str, Float[Tensor, "b a"]]:
    """Returns `union_hard_<baseline>`, `remaining_hard_<baseline>`, their means over baselines, and `union_share`.

    union_hard is p_t of the image that keeps only the union (preservation), remaining_hard p_t of the image without
    the union (deletion), union_share the share of the pixels in the union.

    Args:
        union: the union of the hard masks of explanations 1 to k at each area.
        alone: the scores of the first explanation, if it is the union itself: the classifier is not asked again.
    """
    share = {"union_share": union.to(torch.float32).mean((-2, -1))}
    if alone is not None:
        ends = (*model.names, "mean")
        return {f"{game}_{end}": alone[f"{single}_{end}"] for game, single in OF_ONE.items() for end in ends} | share
    both = model.means(torch.cat([union, ~union], dim=1))
    areas = union.shape[1]
    kept = mean_over_baselines("union_hard", {name: value[:, :areas] for name, value in both.items()})
    left = mean_over_baselines("remaining_hard", {name: value[:, areas:] for name, value in both.items()})
    return kept | left | share
