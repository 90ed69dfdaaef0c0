"""Images with one, two or three cues, each a red square, and a classifier that needs only one of them."""

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from inr_xai.classifier.options import IMAGENET_MEAN, IMAGENET_STD

SQUARE = 6  # pixels: a sixteenth of an image of 24 x 24
CORNERS = {"a-one": [(4, 4)], "b-two": [(2, 2), (14, 14)], "c-three": [(1, 13), (9, 1), (17, 15)]}


class Red(nn.Module):
    """Sure of class 1 if some window of 6 x 6 pixels is mostly red; no other pixels can take its place."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, :1] - images[:, 1:].sum(1, keepdim=True)
        best = nn.functional.avg_pool2d(red, SQUARE, stride=1).flatten(1).amax(1)
        return torch.stack([torch.zeros_like(best), 20 * best - 12], 1)


class Normalised(nn.Module):
    """The classifier `Red` for images that are normalised as those of ImageNet."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        return Red()(images * std + mean)


def planted(*corners: tuple[int, int]) -> torch.Tensor:
    """Returns a grey image with red squares at these corners."""
    image = torch.full((3, 24, 24), 0.2)
    for y, x in corners:
        image[:, y : y + SQUARE, x : x + SQUARE] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    return image


def square(y: int, x: int) -> torch.Tensor:
    """Returns the mask that keeps the square at this corner."""
    mask = torch.zeros(1, 24, 24, dtype=torch.float16)
    mask[:, y : y + SQUARE, x : x + SQUARE] = 1
    return mask


def folder(root: Path) -> Path:
    """Writes the three images as files into a folder, and returns the folder."""
    for name, corners in CORNERS.items():
        pixels = (planted(*corners) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(root / f"{name}.png")
    return root
