"""The demo classifier: a small trained network that names the class of a synthetic scene from its object or its ground.

Residual blocks: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
scripts/train_demo_classifier.py trains it.
"""

from importlib.resources import files
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load
from torch import Tensor, nn

from inr_xai.types import Images, Logits

CLASSES: Final = 8
MEAN: Final = (0.5, 0.5, 0.5)
"""Mean per channel with which the wrapper normalises an image in [0, 1]; the network itself does not."""
STD: Final = (0.25, 0.25, 0.25)
"""Standard deviation per channel for the same purpose."""
SIZE: Final = 96
"""Height and width in pixels of the training images; the network also takes other sizes."""


class DemoNetwork(nn.Module):
    """Maps normalised images of any size to the logits of the eight classes.

    Features are pooled by their mean, for the ground, and by their maximum, for the object, which is small.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _Convolution(3, 16, kernel=5, stride=2),
            _Convolution(16, 32, stride=2),
            _Residual(32),
            _Convolution(32, 64, stride=2),
            _Residual(64),
            _Residual(64, dilation=2),
        )
        self.hidden = nn.Linear(128, 64)
        self.output = nn.Linear(64, CLASSES)

    def forward(self, images: Images) -> Logits:
        features = self.features(images)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return self.output(F.silu(self.hidden(pooled)))


def demo_network() -> DemoNetwork:
    """Returns the trained network in eval mode, with the weights of the package.

    >>> demo_network().training
    False
    """
    network = DemoNetwork()
    weights = files("inr_xai") / "weights" / "demo.safetensors"
    network.load_state_dict(load(weights.read_bytes()))
    return network.eval()


FeatureMaps = Float[Tensor, "b c h w"]


class _Convolution(nn.Module):
    """Convolution, batch norm and SiLU, which is smooth and so gives smooth gradients for the image."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, features: FeatureMaps) -> Float[Tensor, "b d i j"]:
        return F.silu(self.norm(self.convolution(features)))


class _Residual(nn.Module):
    def __init__(self, channels: int, *, dilation: int = 1):
        super().__init__()
        self.first = _Convolution(channels, channels, dilation=dilation)
        self.second = _Convolution(channels, channels, dilation=dilation)

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        return features + self.second(self.first(features))
