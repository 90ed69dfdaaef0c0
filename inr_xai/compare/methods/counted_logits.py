"""The classifier as other packages need it: a plain module that returns logits, and counts the images it is given."""

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.types import Image, Images, Logits

Pixels = Float[np.ndarray, "h w c"]
"""An image in the layout of packages that work on arrays."""


class CountedLogits(nn.Module):
    """The logits of images with values in [0, 1]; to be used while the classifier is frozen.

    Attributes:
        images: how many images were given so far.
    """

    def __init__(self, classifier: FrozenClassifier):
        super().__init__()
        self.model = classifier.model  # a part of this module, so that its device and its layers are found
        self._classifier = (classifier,)
        self.images = 0

    def forward(self, images: Images) -> Logits:
        self.images += len(images)
        return self._classifier[0](images)


def to_pixels(image: Image) -> Pixels:
    """Returns an image as an array with the channels last, in single precision."""
    pixels: np.ndarray = image.permute(1, 2, 0).to("cpu", torch.float32).numpy()
    return np.ascontiguousarray(pixels)


def from_pixels(pixels: Float[np.ndarray, "b h w c"], device: torch.device) -> Images:
    """Returns images of arrays with the channels last, in single precision.

    >>> image = torch.rand(3, 4, 5)
    >>> torch.equal(from_pixels(to_pixels(image)[None], torch.device("cpu"))[0], image)
    True
    """
    return torch.from_numpy(pixels).to(device, torch.float32).permute(0, 3, 1, 2).contiguous()
