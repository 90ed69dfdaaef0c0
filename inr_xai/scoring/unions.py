"""Several explanations of an image together: what their union restores, and what is left where all are removed.

METHOD, "Several explanations per image", in docs/method.md.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.scoring.masked_model import MaskedModel, mean_over_baselines

PLAYED_ALONE = {"union_hard": "preservation_hard", "remaining_hard": "deletion_hard"}


def scores_together(
    trial: MaskedModel, union: Bool[Tensor, "b a h w"], *, alone: Mapping[str, Float[Tensor, "b a"]] | None = None
) -> dict[str, Float[Tensor, "b a"]]:
    """`union_hard_<baseline>`, `remaining_hard_<baseline>`, their means over the baselines, and `union_share`.

    union_hard is p_t of the image that keeps the union alone (preservation), remaining_hard p_t of the image without
    it (deletion), `union_share` the part of the pixels that lies in it.

    Args:
        union: of the hard masks of explanations 1 to k at each area.
        alone: the scores of an explanation that is the union itself, the first: nothing is asked again.
    """
    share = {"union_share": union.to(torch.float32).mean((-2, -1))}
    if alone is not None:
        ends = (*trial.names, "mean")
        return {f"{game}_{end}": alone[f"{own}_{end}"] for game, own in PLAYED_ALONE.items() for end in ends} | share
    both = trial.means(torch.cat([union, ~union], dim=1))
    areas = union.shape[1]
    kept = mean_over_baselines("union_hard", {name: value[:, :areas] for name, value in both.items()})
    left = mean_over_baselines("remaining_hard", {name: value[:, areas:] for name, value in both.items()})
    return kept | left | share
