"""The classifiers and the images of the step's benchmark."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.sources import from_timm, from_torchvision
from inr_xai.data import Synthetic
from inr_xai.types import Preprocessing

DONORS, IMAGES = 8, 8
SIDE = 224


class Model(NamedTuple):
    """A classifier by its name in a library: timm's or torchvision's source, and the file of its weights if any."""

    name: str
    source: Callable[..., FrozenClassifier]
    file: str | None


MODELS = {
    "squeezenet": Model("squeezenet1_0", from_torchvision, "squeezenet1_0-imagenet1k.safetensors"),
    "efficientnet_lite0": Model("tf_efficientnet_lite0", from_timm, "tf_efficientnet_lite0-imagenet1k.safetensors"),
    "vit_tiny": Model("vit_tiny_patch16_224", from_timm, "vit_tiny_patch16_224-imagenet1k.safetensors"),
    "resnet50": Model("resnet50", from_torchvision, None),
}


def build(name: str) -> tuple[FrozenClassifier, str]:
    """Returns a classifier, and whether its weights are `trained` or `random`.

    Trained weights are read from the folder that the environment variable INR_XAI_DATA names; random ones cost the same
    time.
    """
    model, root = MODELS[name], os.environ.get("INR_XAI_DATA")
    if root is not None and model.file is not None and (Path(root) / model.file).is_file():
        return model.source(model.name, pretrained=False, checkpoint=Path(root) / model.file), "trained"
    return model.source(model.name, pretrained=False), "random"


def images(count: int, side: int = SIDE) -> Float[Tensor, "b 3 h w"]:
    """Returns drawn scenes with values in [0, 1], without end: after IMAGES they come again."""
    return _scenes(side)[DONORS + torch.arange(count) % IMAGES]


def donors(side: int = SIDE) -> Float[Tensor, "p 3 h w"]:
    """Returns drawn scenes that are none of `images`, whose pixels a perturbation may use."""
    return _scenes(side)[:DONORS]


@cache
def _scenes(side: int) -> Float[Tensor, "n 3 h w"]:
    drawn = max(side, 96)  # no scene is smaller
    data = Synthetic(DONORS + IMAGES, image_size=drawn)
    preprocessing = Preprocessing((side, side), side, "bilinear", (0.5,) * 3, (0.25,) * 3)
    return torch.stack([data.load(sample_id, preprocessing).image for sample_id in data.ids])
