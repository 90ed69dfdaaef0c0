"""Frozen image classifiers: the wrapper, and where they come from (shipped ones, timm, torchvision, the user's own)."""

from inr_xai.classifier.context import shapes_in_context
from inr_xai.classifier.frozen import FrozenClassifier, require_class
from inr_xai.classifier.sources import custom, demo, from_timm, from_torchvision

__all__ = ["FrozenClassifier", "custom", "demo", "from_timm", "from_torchvision", "require_class", "shapes_in_context"]
