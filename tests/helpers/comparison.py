"""What the tests of the comparison share: an image of the demo, a context with the tiny classifier, made-up rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from inr_xai.classifier import FrozenClassifier, demo
from inr_xai.compare.comparison import Comparison, ComparisonContext, MapMaker
from inr_xai.compare.methods.base import Explainer, MethodMaps
from inr_xai.compare.scorer import COMPARED_SCORES
from inr_xai.compare.store import MapCache, RowStore
from inr_xai.data import Synthetic
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.types import Image, Row

AREAS = (0.1, 0.3)
CPU = torch.device("cpu")


def demo_image(place: int = 1) -> tuple[FrozenClassifier, Image, int, str]:
    """The demo classifier, an image of its synthetic set, the class and the id."""
    classifier, data = demo(), Synthetic(size=place + 1)
    sample = data.load(data.ids[place], classifier.preprocessing)
    assert sample.target is not None
    return classifier, sample.image, sample.target, sample.sample_id


def make_context(classifier: FrozenClassifier, data: Any = None, areas: Sequence[float] = AREAS) -> ComparisonContext:
    """A comparison on three images of the synthetic set, or on other data."""
    data = Synthetic(size=3) if data is None else data
    pool = PhotoPool(data.scoring_ids, data, classifier.preprocessing)
    return ComparisonContext(data, classifier, pool, areas, seed=0, device=CPU)


class Ramp(Explainer):
    """Keeps the bottom of the image, and remembers for which images and classes; `strength` stands for a setting."""

    def __init__(self, strength: float = 1.0, broken: Sequence[str] = (), fitted: bool = False):
        self.strength, self.broken, self.fitted = strength, broken, fitted
        self.explained: list[tuple[str, int]] = []

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"ramp": self.strength}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        self.explained.append((image_id, target))
        height, width = image.shape[-2:]
        rows = torch.linspace(0, self.strength, height)[:, None].expand(height, width)
        return MethodMaps(rows[None] * (torch.nan if image_id in self.broken else 1), passes=1.0, seconds=0.5)


def make_comparison(context: ComparisonContext, folder: Path, **explainers: Explainer) -> Comparison:
    """A comparison that stores its rows and maps below a folder."""
    maker = MapMaker(MapCache(folder / "maps"), {"classifier": "tiny"})
    return Comparison(context, explainers, maker=maker, rows=RowStore(folder / "rows"))


def made_up_rows(
    p_full: float, preservation: Sequence[float], areas: Sequence[float] = AREAS, **others: float
) -> list[Row]:
    """The rows of one photo, one for each area, with the same score under every baseline."""
    return [
        dict.fromkeys(COMPARED_SCORES, 0.0)
        | {"area": area, "p_full": p_full}
        | {name: value for name in COMPARED_SCORES if name.startswith("preservation_hard")}
        | others
        for area, value in zip(areas, preservation, strict=True)
    ]
