"""Explain a frozen image classifier by area-exact masks drawn by implicit neural representations."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inr_xai.attribution import INRAttribution
    from inr_xai.explanation.explain import explain
    from inr_xai.explanation.explanation import Explanation, load_explanation
    from inr_xai.fitting.fit import fit_masks
    from inr_xai.integrations.explain_images import ExplainImages
    from inr_xai.limits import Exclusion, Plateau, Stop
    from inr_xai.method import Method
    from inr_xai.runs.load import load

__all__ = [
    "Exclusion",
    "ExplainImages",
    "Explanation",
    "INRAttribution",
    "Method",
    "Plateau",
    "Stop",
    "__version__",
    "explain",
    "fit_masks",
    "load",
    "load_explanation",
]

_HOMES = {
    "Exclusion": "inr_xai.limits",
    "ExplainImages": "inr_xai.integrations.explain_images",
    "Explanation": "inr_xai.explanation.explanation",
    "INRAttribution": "inr_xai.attribution",
    "Method": "inr_xai.method",
    "Plateau": "inr_xai.limits",
    "Stop": "inr_xai.limits",
    "explain": "inr_xai.explanation.explain",
    "fit_masks": "inr_xai.fitting.fit",
    "load": "inr_xai.runs.load",
    "load_explanation": "inr_xai.explanation.explanation",
}

try:
    __version__ = version("inr-xai")
except PackageNotFoundError:  # a checkout that is on the path and not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """Imports a public name on first use: a refused command line must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'inr_xai' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
