"""Images to explain: drawn scenes with known cues, and photos of a folder."""

from inr_xai.data.image_folder import ImageFolder, imagenet
from inr_xai.data.synthetic import Synthetic
from inr_xai.data.transform import mask_to_image, read_image, to_input

__all__ = ["ImageFolder", "Synthetic", "imagenet", "mask_to_image", "read_image", "to_input"]
