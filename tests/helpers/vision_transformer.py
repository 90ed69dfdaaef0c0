"""Small vision transformers of timm with random weights, large enough that attention is far from even."""

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

from inr_xai.classifier import FrozenClassifier
from inr_xai.types import Image, Preprocessing

SIDE, PATCH, CLASSES = 24, 8, 5


def random_vit(*, size: tuple[int, int] = (SIDE, SIDE), seed: int = 0, **options: Any) -> FrozenClassifier:
    """timm's vision transformer of patches of 8, by default of 2 blocks, width 12 and 3 heads."""
    sizes = {"embed_dim": 12, "depth": 2, "num_heads": 3, "patch_size": PATCH, "num_classes": CLASSES}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = VisionTransformer(img_size=size, **(sizes | options))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    preprocessing = Preprocessing(size, min(size), "bilinear", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    return FrozenClassifier(model, preprocessing=preprocessing)


def random_image(size: tuple[int, int] = (SIDE, SIDE), seed: int = 1) -> Image:
    """An image of noise."""
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))
