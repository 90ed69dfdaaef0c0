"""Frozen image classifiers: the wrapper, and their sources (the package, libraries, the user's own module)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inr_xai.classifier.context import shapes_in_context
    from inr_xai.classifier.frozen import FrozenClassifier, require_class
    from inr_xai.classifier.sources import custom, demo, from_hugging_face, from_timm, from_torchvision

__all__ = [
    "FrozenClassifier",
    "custom",
    "demo",
    "from_hugging_face",
    "from_timm",
    "from_torchvision",
    "require_class",
    "shapes_in_context",
]

_HOMES = {
    "FrozenClassifier": "frozen",
    "custom": "sources",
    "demo": "sources",
    "from_hugging_face": "sources",
    "from_timm": "sources",
    "from_torchvision": "sources",
    "require_class": "frozen",
    "shapes_in_context": "context",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use: the Python API only wraps a model and needs no library of models."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
