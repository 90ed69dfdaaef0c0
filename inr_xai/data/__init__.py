"""Images to explain: drawn scenes with known cues, photos in folders, and photos with marked objects."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inr_xai.data.coco import COCO
    from inr_xai.data.image_folder import ImageFolder, imagenet
    from inr_xai.data.imagenet_s import ImageNetS
    from inr_xai.data.mosaic import Grid
    from inr_xai.data.scenes.shapes_in_context import ShapesInContext
    from inr_xai.data.scenes.synthetic import Synthetic
    from inr_xai.data.transform import mask_to_image, read_image, to_input
    from inr_xai.data.voc import VOC

__all__ = [
    "COCO",
    "VOC",
    "Grid",
    "ImageFolder",
    "ImageNetS",
    "ShapesInContext",
    "Synthetic",
    "imagenet",
    "mask_to_image",
    "read_image",
    "to_input",
]

_HOMES = {
    "COCO": "coco",
    "VOC": "voc",
    "Grid": "mosaic",
    "ImageFolder": "image_folder",
    "ImageNetS": "imagenet_s",
    "ShapesInContext": "scenes.shapes_in_context",
    "Synthetic": "scenes.synthetic",
    "imagenet": "image_folder",
    "mask_to_image": "transform",
    "read_image": "transform",
    "to_input": "transform",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use: a run needs one data set."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
