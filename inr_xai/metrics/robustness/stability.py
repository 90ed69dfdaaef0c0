"""How much two runs agree: the intersection over union of their hard masks.

See docs/metrics.md (seed stability).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.metrics.base import MeanMetric


def mask_iou(a: Bool[Tensor, "b a h w"], b: Bool[Tensor, "b a h w"]) -> Float[Tensor, "b a"]:
    """Returns the intersection over union of the masks of two runs, in [0, 1]; higher is more stable.

    Two masks that keep nothing are the same mask and give 1; for `overlap`, which compares different explanations, they
    give 0. Masks of independent random pixels reach about a / (2 - a) at area a, so compare values of one area only.

    >>> mask_iou(torch.tensor([[[[True, True, False]]]]), torch.tensor([[[[False, True, True]]]])).item()
    0.3333333432674408
    """
    if a.shape != b.shape:
        raise ValueError(
            f"expected masks of the same images and areas, got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    shared, union = (a & b).sum((-2, -1)), (a | b).sum((-2, -1))
    return torch.where(union == 0, 1.0, shared / union.clamp(min=1))


class SeedStability(MeanMetric):
    """Mean over images and areas of the intersection over union of hard masks from two seeds."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def update(self, a: Bool[Tensor, "b a h w"], b: Bool[Tensor, "b a h w"]) -> None:
        self.accumulate(mask_iou(a, b))
