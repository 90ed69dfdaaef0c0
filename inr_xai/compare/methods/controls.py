"""What needs no classifier: random smooth masks and the centred disc, the floors that a method should stand above."""

from collections.abc import Mapping
from typing import Any

import torch

from inr_xai.compare.methods.base import Explainer, Maps
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.seeding import generator
from inr_xai.types import Image


class RandomMasks(Explainer):
    """The random smooth masks of the column `chance`: scores are means over them.

    Args:
        seed: with the image's id it names the draws.
        count: masks per area.
    """

    def __init__(self, *, seed: int = 0, count: int = 8):
        self._seed, self._count = seed, count

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"random": self._count, "seed": self._seed}

    def explain(self, image: Image, target: int, image_id: str) -> Maps:
        draw = generator(self._seed, image_id, "chance")
        fields = smooth_fields((image.shape[-2], image.shape[-1]), generators=[draw], count=self._count)
        return Maps(fields[0], passes=0.0, seconds=0.0, draws=True)


class CentredDisc(Explainer):
    """The disc around the middle: photos show their subject there."""

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"disc": "centre"}

    def explain(self, image: Image, target: int, image_id: str) -> Maps:
        rows, columns = (torch.arange(side) - (side - 1) / 2 for side in image.shape[-2:])
        distance = (rows[:, None] ** 2 + columns[None] ** 2).sqrt()
        return Maps((1 - distance / distance.max())[None], passes=0.0, seconds=0.0)
