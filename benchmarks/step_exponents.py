"""How the cost of a fit grows with images, areas, explanations and resolution: exponents of power laws."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import step_models
from step_cells import Setting, fit, time_steps

from inr_xai.classifier import FrozenClassifier
from inr_xai.types import Row

SIZES: Mapping[str, Sequence[int]] = {
    "images": (1, 2, 4, 8),
    "areas": (1, 2, 4, 8),
    "explanations": (1, 2, 4),
    "resolution": (112, 160, 224),
}
"""What grows -> its sizes; the resolution is the side of the image in pixels."""
LARGEST_AREA = 0.4
STEPS = 8
"""Steps of each explanation, whose number changes the whole fit and not a step."""


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Returns the slope of log(seconds) over log(sizes) by least squares: the p of seconds ~ size^p.

    >>> exponent([1, 2, 4], [3, 12, 48])
    2.0
    """
    x, y = [[math.log2(value) for value in values] for values in (sizes, seconds)]
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    products = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return products / math.fsum((a - mean_x) ** 2 for a in x)


def areas(count: int) -> tuple[float, ...]:
    """Returns areas at equal distances up to the largest.

    >>> areas(4)
    (0.1, 0.2, 0.3, 0.4)
    """
    return tuple(round(LARGEST_AREA * number / count, 6) for number in range(1, count + 1))


def measure_exponents(
    classifier: FrozenClassifier,
    setting: Setting,
    *,
    repeats: int,
    side: int = step_models.SIDE,
    sizes: Mapping[str, Sequence[int]] = SIZES,
) -> list[Row]:
    """Returns a row for each quantity that grows, with the seconds at each size and the exponents.

    Images, areas and resolution: seconds of a step, and of the classifier's own passes in it. Explanations: seconds of
    the whole fit of one image. Everything else stays as it is at one image of `side` pixels.
    """

    def steps_of(count: int = 1, pixels: int = side, **changes: Any) -> tuple[float, float]:
        timer, _ = time_steps(classifier, step_models.images(count, pixels), setting, repeats=repeats, **changes)
        return median(timer.steps), median(timer.passes)

    def explained(count: int) -> tuple[float]:
        changes = {"explanations": count, "areas": (0.05,), "steps": STEPS}
        return (fit(classifier, step_models.images(1, side), setting, **changes),)

    work: dict[str, Callable[[int], tuple[float, ...]]] = {
        "images": lambda count: steps_of(count),
        "areas": lambda count: steps_of(areas=areas(count)),
        "explanations": explained,
        "resolution": lambda pixels: steps_of(pixels=pixels),
    }
    rows: list[Row] = []
    for name, values in sizes.items():
        seconds, *own = (list(series) for series in zip(*[work[name](value) for value in values], strict=True))
        row: Row = {"of": name, "sizes": list(values), "seconds": seconds, "exponent": exponent(values, seconds)}
        rows.append(row | {"classifier_exponent": exponent(values, own[0]) if own else None})
    return rows
