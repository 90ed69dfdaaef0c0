"""Slow, independent versions of what the package computes: loops and NumPy in float64, written from the formulas."""

import math
from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray


def hard_mask_bounds(mask: Array, area: float, free: Array | None = None) -> tuple[set[int], set[int], int]:
    """Pixels that every hard mask of `area` has, pixels that one may have, and how many it has."""
    values = [float(value) for value in mask.ravel()]
    allowed = [index for index in range(len(values)) if free is None or bool(free.ravel()[index])]
    count = min(math.floor(area * len(values) + 1e-6), len(allowed))
    if count == 0:
        return set(), set(), 0
    least = sorted((values[index] for index in allowed), reverse=True)[count - 1]
    must = {index for index in allowed if values[index] > least}
    return must, {index for index in allowed if values[index] >= least}, count


def rank_violation(mask: Array, area: float) -> float:
    """mean((vecsort(m) - r_a)^2), pixel by pixel."""
    ordered = sorted(float(value) for value in mask.ravel())
    ones = math.floor(area * len(ordered) + 1e-6)
    wanted = [0.0] * (len(ordered) - ones) + [1.0] * ones
    return sum((value - want) ** 2 for value, want in zip(ordered, wanted, strict=True)) / len(ordered)


def nesting_violation(masks: Sequence[Array], areas: Sequence[float]) -> float:
    """Mean over pixels and pairs a1 < a2 of max(0, m_a1 - m_a2)."""
    terms = []
    for small, small_area in zip(masks, areas, strict=True):
        for large, large_area in zip(masks, areas, strict=True):
            if small_area < large_area:
                terms += [max(0.0, float(s) - float(t)) for s, t in zip(small.ravel(), large.ravel(), strict=True)]
    return sum(terms) / len(terms)


def intersection_over_union(first: Array, second: Array) -> float:
    one, other = set(np.flatnonzero(first)), set(np.flatnonzero(second))
    return len(one & other) / len(one | other) if one | other else 0.0


def gaussian_blur(channel: Array, sigma: float, truncate: float = 4.0) -> Array:
    """Direct convolution of an h x w array with a two-dimensional Gaussian, borders mirrored (edge repeated)."""
    radius = max(1, round(truncate * sigma))
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = np.outer(line, line) / np.outer(line, line).sum()
    padded = np.pad(channel.astype(np.float64), radius, mode="symmetric")
    blurred = np.empty(channel.shape)
    for i in range(channel.shape[0]):
        for j in range(channel.shape[1]):
            blurred[i, j] = (padded[i : i + 2 * radius + 1, j : j + 2 * radius + 1] * kernel).sum()
    return blurred


def games(
    probability: Callable[[Array], float], image: Array, soft: Array, hard: Array, draws: dict[str, Sequence[Array]]
) -> dict[str, float]:
    """Preservation and deletion of one image and one mask, one copy at a time.

    Args:
        probability: of the target, for one c x h x w image.
        draws: of each baseline.
    """
    columns: dict[str, float] = {}
    for kind, mask in {"hard": hard.astype(np.float64), "soft": soft.astype(np.float64)}.items():
        for game in ("preservation", "deletion"):
            means = []
            for name, baselines in draws.items():
                total = 0.0
                for baseline in baselines:
                    kept = np.empty_like(image)
                    for (c, i, j), value in np.ndenumerate(image):
                        weight = mask[i, j] if game == "preservation" else 1 - mask[i, j]
                        kept[c, i, j] = baseline[c, i, j] + weight * (value - baseline[c, i, j])
                    total += probability(kept)
                columns[f"{game}_{kind}_{name}"] = total / len(baselines)
                means.append(total / len(baselines))
            columns[f"{game}_{kind}_mean"] = sum(means) / len(means)
    return columns


def chance(
    probability: Callable[[Array], float],
    image: Array,
    fields: Array,
    area: float,
    free: Array,
    draws: dict[str, Sequence[Array]],
) -> dict[str, float]:
    """Hard preservation of random masks, the i-th field under draw i modulo the number of draws."""
    columns = {}
    for name, baselines in draws.items():
        total = 0.0
        for turn, field in enumerate(fields):
            _, chosen, count = hard_mask_bounds(field, area, free)
            assert len(chosen) == count, "a continuous field has no ties"
            kept = np.isin(np.arange(field.size), list(chosen)).reshape(field.shape)
            total += probability(np.where(kept, image, baselines[turn % len(baselines)]))
        columns[f"chance_{name}"] = total / len(fields)
    return columns | {"chance": sum(columns.values()) / len(columns)}
