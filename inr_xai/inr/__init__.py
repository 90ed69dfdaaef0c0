"""Implicit neural representations: the families, and how a stack of them is evaluated."""

from inr_xai.inr.base import INR, draw_logits, pixel_centres
from inr_xai.inr.fourier import FourierINR

__all__ = ["INR", "FourierINR", "draw_logits", "pixel_centres"]
