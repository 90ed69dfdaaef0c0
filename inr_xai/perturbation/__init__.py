"""What the classifier sees of an image while a mask is fitted: perturbations, and the fit's own Reveal and Jitter.

A perturbation says what replaces a pixel. Reveal lets replaced pixels shine through at first, and Jitter shifts image
and mask. `MaskedImages` joins them to the function kept(x, m) of a step; removed(x, m) is kept(x, 1 - m).
"""

from inr_xai.perturbation.base import Baselines, Bound, KeepRows, Perturbation, Surroundings
from inr_xai.perturbation.baselines import (
    Blur,
    BlurPyramid,
    ColourBaseline,
    Constant,
    Donor,
    FixedBaseline,
    GivenImage,
    RandomColour,
)
from inr_xai.perturbation.masked_images import KeepFunction, Kept, MaskedImages, Reveal
from inr_xai.perturbation.mixture import Mixture
from inr_xai.perturbation.pink_noise import PinkNoise
from inr_xai.perturbation.shifts import Frames, Jitter

__all__ = [
    "Baselines",
    "Blur",
    "BlurPyramid",
    "Bound",
    "ColourBaseline",
    "Constant",
    "Donor",
    "FixedBaseline",
    "Frames",
    "GivenImage",
    "Jitter",
    "KeepFunction",
    "KeepRows",
    "Kept",
    "MaskedImages",
    "Mixture",
    "Perturbation",
    "PinkNoise",
    "RandomColour",
    "Reveal",
    "Surroundings",
]
