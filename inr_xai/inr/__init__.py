"""Implicit neural representations: the families, and the layers and conditionings that they are made of."""

from inr_xai.inr.base import INR
from inr_xai.inr.feature_grid import FeatureGridINR
from inr_xai.inr.fourier import FourierINR
from inr_xai.inr.grids import GridINR, PyramidINR
from inr_xai.inr.siren import SirenINR
from inr_xai.inr.wire import WireINR

__all__ = ["INR", "FeatureGridINR", "FourierINR", "GridINR", "PyramidINR", "SirenINR", "WireINR"]
