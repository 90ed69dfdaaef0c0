"""The classifier as other packages need it: a plain module that returns logits, and counts the images it is given."""

from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.types import Images, Logits


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
