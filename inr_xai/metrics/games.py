"""The preservation and the deletion game: how much of a class a mask keeps, and how much it takes away.

Fong and Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017. METHOD, "Metrics",
in docs/method.md.
"""

from jaxtyping import Float
from torch import Tensor

from inr_xai.metrics.mean import Ratio


class PreservationRatio(Ratio):
    """Mean of p_t(kept) over images, divided by the mean of p_t(x)."""

    higher_is_better = True
    is_differentiable = True
    plot_lower_bound = 0.0

    def update(self, kept: Float[Tensor, "*shape"], whole: Float[Tensor, "*shape"]) -> None:
        self.accumulate(kept, whole)


class DeletionRatio(Ratio):
    """Mean of p_t(removed) over images, divided by the mean of p_t(x)."""

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0

    def update(self, removed: Float[Tensor, "*shape"], whole: Float[Tensor, "*shape"]) -> None:
        self.accumulate(removed, whole)
