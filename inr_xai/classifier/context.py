"""Classifiers of known reliance: one small network for each setting of ShapesInContext.

scripts/train_context_classifiers.py trains them and measures what each of them relies on.
"""

from importlib.resources import files
from typing import Final

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import nn

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.types import Images, Logits, Preprocessing

CLASSES: Final = 8
MEAN: Final = (0.5, 0.5, 0.5)
STD: Final = (0.25, 0.25, 0.25)
"""Statistics per channel with which the wrapper normalises an image in [0, 1]; the network itself does not."""
SIZE: Final = 128
"""Height and width in pixels of the training images; the network also takes other sizes."""


class ContextNetwork(nn.Module):
    """Maps normalised images to the logits of the eight classes; 144,000 parameters.

    Features are pooled by their mean, for the ground, and by their maximum, for the object, which is small.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.AvgPool2d(2),
            *_convolution(3, 24, kernel=5, stride=2),
            *_convolution(24, 48, stride=2),
            *_convolution(48, 48),
            *_convolution(48, 64, stride=2),
            *_convolution(64, 64),
            *_convolution(64, 64),
        )
        self.hidden = nn.Linear(128, 64)
        self.output = nn.Linear(64, CLASSES)

    def forward(self, images: Images) -> Logits:
        features = self.features(images)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return self.output(F.silu(self.hidden(pooled)))


def shapes_in_context(name: str = "object_only") -> FrozenClassifier:
    """Returns the trained classifier of a setting of ShapesInContext, with the weights of the package.

    >>> shapes_in_context("context_only").preprocessing.size
    (128, 128)
    """
    folder = files("inr_xai") / "weights" / "shapes_in_context"
    names = sorted(file.name.removesuffix(".safetensors") for file in folder.iterdir())
    if name not in names:
        raise UserError(f"classifier.name={name!r} is not allowed; choose one of {', '.join(names)}")
    from inr_xai.data.scenes.shapes_in_context import ShapesInContext

    network = ContextNetwork()
    network.load_state_dict(load((folder / f"{name}.safetensors").read_bytes()))
    classifier = classifier_of(network)
    classifier.class_names = ShapesInContext(size=1).class_names
    return classifier


def classifier_of(network: ContextNetwork) -> FrozenClassifier:
    """Returns the network as a classifier, in eval mode and with the normalisation of its training."""
    preprocessing = Preprocessing(size=(SIZE, SIZE), resize=SIZE, interpolation="bilinear", mean=MEAN, std=STD)
    return FrozenClassifier(network.eval(), preprocessing=preprocessing, channels_last=True)


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Returns convolution, batch norm and SiLU, which is smooth and so gives smooth gradients for the image."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.SiLU()]
