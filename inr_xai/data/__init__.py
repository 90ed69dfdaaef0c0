"""Images to explain: drawn scenes with known cues, photos in folders, and photos with marked objects."""

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
