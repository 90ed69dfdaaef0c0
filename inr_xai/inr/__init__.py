"""Implicit neural representations: the families, and how a stack of them is evaluated."""

from inr_xai.inr.base import INR, draw_logits, pixel_centres
from inr_xai.inr.fourier import FourierINR
from inr_xai.inr.grid import GridINR
from inr_xai.inr.pyramid import PyramidINR
from inr_xai.inr.siren import SirenINR
from inr_xai.inr.wire import WireINR

__all__ = ["INR", "FourierINR", "GridINR", "PyramidINR", "SirenINR", "WireINR", "draw_logits", "pixel_centres"]
