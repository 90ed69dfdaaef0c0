"""The controls, which need no classifier and which a method should beat: random smooth masks and the centred disc."""

from collections.abc import Mapping
from typing import Any

import torch

from inr_xai.compare.methods.base import Explainer, MethodMaps
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.seeding import generator
from inr_xai.types import Image


class RandomMasks(Explainer):
    """The random smooth masks of a run's column `chance`; scores are means over them.

    Args:
        seed: names the draws, together with the image's id.
        count: masks per area.
    """

    def __init__(self, *, seed: int = 0, count: int = 8):
        self._seed, self._count = seed, count

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"random": self._count, "seed": self._seed}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        draws = generator(self._seed, image_id, "chance")
        fields = smooth_fields((image.shape[-2], image.shape[-1]), generators=[draws], count=self._count)
        return MethodMaps(fields[0], passes=0.0, seconds=0.0, draws=True)


class CentredDisc(Explainer):
    """The disc around the middle of the image, because photographers put their object there."""

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"disc": "centre"}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        rows, columns = (torch.arange(side) - (side - 1) / 2 for side in image.shape[-2:])
        distance = (rows[:, None] ** 2 + columns[None] ** 2).sqrt()
        return MethodMaps((1 - distance / distance.max())[None], passes=0.0, seconds=0.0)
