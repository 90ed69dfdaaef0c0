"""Explain a frozen image classifier by area-exact masks drawn by implicit neural representations."""

from inr_xai.attribution import INRAttribution
from inr_xai.fit import fit_masks
from inr_xai.method import Exclusion, Method
from inr_xai.render import load

__all__ = ["Exclusion", "INRAttribution", "Method", "fit_masks", "load"]
