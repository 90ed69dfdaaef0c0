"""The classifier as the plain module of logits that other packages want, counting the images they put through it."""

from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.types import Images, Logits


class Counted(nn.Module):
    """Logits of images in [0, 1]; to be used while the classifier is frozen.

    Attributes:
        images: how many went through it.
    """

    def __init__(self, classifier: FrozenClassifier):
        super().__init__()
        self.model = classifier.model  # a part of this module, so that its device and its layers are found
        self._classifier = (classifier,)
        self.images = 0

    def forward(self, images: Images) -> Logits:
        self.images += len(images)
        return self._classifier[0](images)
