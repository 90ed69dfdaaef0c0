"""Methods that are compared with other maps of the same image: in the same free region, or under another seed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inr_xai.compare.methods.base import Explainer, MethodMaps
from inr_xai.compare.scorer import harden
from inr_xai.types import Image

ReferenceMaps = Callable[[Image, int, str], MethodMaps]
"""Returns the reference's maps, stored or made now, for an image, its target and its id."""


class InFreeRegion(Explainer):
    """A method whose hard masks may keep only the pixels that our second explanation was free to keep.

    A second explanation says something only if it keeps more of the class than other methods do outside the first.

    Args:
        explainer: the method, which makes a heatmap or draws of one.
        second: returns our second explanation.
        second_settings: the settings of our second explanation.
    """

    def __init__(self, explainer: Explainer, second: ReferenceMaps, *, second_settings: Mapping[str, Any]):
        self._explainer, self._second, self._second_settings = explainer, second, second_settings
        self.modules, self.extra = explainer.modules, explainer.extra

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"inside": self._explainer.settings, "free region of": self._second_settings}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        second = self._second(image, target, image_id)
        maps = self._explainer.explain(image, target, image_id)
        return dataclasses.replace(maps, free=second.free, first_masks=second.first_masks)


class Reseeded(Explainer):
    """A method under another seed, whose hard masks are compared with those under the first seed.

    Args:
        explainer: the method under the other seed.
        first: returns the method's maps under the first seed.
        first_settings: settings of the method under the first seed.
        areas, seed: the areas and the seed of scoring, by which the maps are made hard.
    """

    def __init__(
        self,
        explainer: Explainer,
        first: ReferenceMaps,
        *,
        first_settings: Mapping[str, Any],
        areas: Sequence[float],
        seed: int,
    ):
        self._explainer, self._first, self._first_settings = explainer, first, first_settings
        self._areas, self._seed = list(areas), seed

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"inside": self._explainer.settings, "other seed": self._first_settings}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        first = harden(self._first(image, target, image_id), self._areas, image_id, seed=self._seed)[0]
        return dataclasses.replace(self._explainer.explain(image, target, image_id), other_seed_masks=first)
