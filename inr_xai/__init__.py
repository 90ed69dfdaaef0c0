"""Explain a frozen image classifier by area-exact masks drawn by implicit neural representations."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inr_xai.attribution import INRAttribution
    from inr_xai.fit import fit_masks
    from inr_xai.method import Exclusion, Method, Stop
    from inr_xai.render import load

__all__ = ["Exclusion", "INRAttribution", "Method", "Stop", "fit_masks", "load"]

_HOMES = {
    "Exclusion": "inr_xai.method",
    "INRAttribution": "inr_xai.attribution",
    "Method": "inr_xai.method",
    "Stop": "inr_xai.method",
    "fit_masks": "inr_xai.fit",
    "load": "inr_xai.render",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: a refused command line must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'inr_xai' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
