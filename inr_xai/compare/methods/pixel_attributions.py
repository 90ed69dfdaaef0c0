"""The heatmap of attributions of single pixels: their positive part, smoothed."""

from jaxtyping import Float
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.scoring.baselines import BLUR_SIDE
from inr_xai.types import Image


def smoothed_positive_part(attributions: Image, sigma: float) -> Float[Tensor, "1 h w"]:
    """Returns the attributions summed over channels, of which values below 0 become 0, smoothed, and on the CPU.

    They are smoothed because the largest pixels lie scattered, and scattered pixels make a poor mask.

    Args:
        sigma: width of the smoothing Gaussian, in pixels of an image of side 224; scaled with the shorter side.
    """
    positive = attributions.sum(0).clamp(min=0)
    return gaussian_blur(positive[None, None], sigma * min(positive.shape) / BLUR_SIDE)[0].float().cpu()
