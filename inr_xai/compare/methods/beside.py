"""Methods beside another method's maps of the same image: in the region it had, or under another seed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inr_xai.compare.methods.base import Explainer, Maps
from inr_xai.compare.scorer import harden
from inr_xai.types import Image

Reference = Callable[[Image, int, str], Maps]
"""Image, target and image id -> another method's maps, stored or made now."""


class InFreeRegion(Explainer):
    """The maps of a method, whose hard masks may keep only what our second explanation was free to keep.

    A second explanation is worth something where it keeps more of the class than others do outside the first.

    Args:
        inside: the method; a heatmap or draws of one.
        second: gives the second explanation.
        of: the settings of that explanation.
    """

    def __init__(self, inside: Explainer, second: Reference, *, of: Mapping[str, Any]):
        self._inside, self._second, self._of = inside, second, of

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"inside": self._inside.settings, "free region of": self._of}

    def explain(self, image: Image, target: int, image_id: str) -> Maps:
        reference = self._second(image, target, image_id)
        found = self._inside.explain(image, target, image_id)
        return dataclasses.replace(found, free=reference.free, first=reference.first)


class Reseeded(Explainer):
    """A method under another seed, with the hard masks that it has under the first.

    Args:
        inside: the method under the other seed.
        first: gives its maps under the first seed.
        of: the settings of those.
        areas, seed: of scoring, which makes the maps hard.
    """

    def __init__(
        self, inside: Explainer, first: Reference, *, of: Mapping[str, Any], areas: Sequence[float], seed: int
    ):
        self._inside, self._first, self._of, self._areas, self._seed = inside, first, of, list(areas), seed

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"inside": self._inside.settings, "other seed": self._of}

    def explain(self, image: Image, target: int, image_id: str) -> Maps:
        other = harden(self._first(image, target, image_id), self._areas, image_id, seed=self._seed)[0]
        return dataclasses.replace(self._inside.explain(image, target, image_id), other=other)
