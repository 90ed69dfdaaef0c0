"""Contents of figures, and what was drawn, as pixels."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from inr_xai.figures import FigureContent, figure_bytes

AREAS = (0.05, 0.1, 0.2)


def content(
    k: int = 2, areas: Sequence[float] = AREAS, size: tuple[int, int] = (64, 64), **fields: Any
) -> FigureContent:
    """Returns a white photo whose k-th explanation keeps the columns of the k-th of K stripes, from the top down."""
    height, width = size
    masks = np.zeros((k, len(areas), height, width))
    for explanation in range(k):
        left, right = (place * width // k for place in (explanation, explanation + 1))
        for place, area in enumerate(areas):
            masks[explanation, place, : round(area * height * k) or 1, left:right] = 1
    scores = np.linspace(0.2, 0.9, k * len(areas)).reshape(k, len(areas))
    known = {
        "photo": np.ones((height, width, 3)),
        "masks": masks,
        "areas": tuple(areas),
        "whole": 0.93,
        "kept": scores,
        "removed": 1 - scores,
        "chance": scores / 4,
        "carries": (None,) * k,
        "target": "tench",
    }
    return FigureContent(**(known | fields))


def pixels(figure: Figure, dpi: float = 100) -> np.ndarray:
    """Returns a figure as h x w x 3, 8 bits."""
    with Image.open(io.BytesIO(figure_bytes(figure, dpi=dpi))) as image:
        return np.asarray(image.convert("RGB"))


def texts(figure: Figure) -> list[str]:
    """Returns everything that is written on a figure."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
    return found
