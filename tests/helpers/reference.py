"""Slow, independent versions of what the package computes: loops and NumPy in float64, written from the formulas."""

import math
from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray


def hard_mask_bounds(mask: Array, area: float, free: Array | None = None) -> tuple[set[int], set[int], int]:
    """Returns the pixels that every hard mask of `area` keeps, those that one may keep, and their number."""
    values = [float(value) for value in mask.ravel()]
    allowed = [index for index in range(len(values)) if free is None or bool(free.ravel()[index])]
    count = min(math.floor(area * len(values) + 1e-6), len(allowed))
    if count == 0:
        return set(), set(), 0
    least = sorted((values[index] for index in allowed), reverse=True)[count - 1]
    must = {index for index in allowed if values[index] > least}
    return must, {index for index in allowed if values[index] >= least}, count


def rank_violation(mask: Array, area: float) -> float:
    """Returns mean((vecsort(m) - r_a)^2), pixel by pixel."""
    ordered = sorted(float(value) for value in mask.ravel())
    ones = math.floor(area * len(ordered) + 1e-6)
    expected = [0.0] * (len(ordered) - ones) + [1.0] * ones
    return sum((value - rank) ** 2 for value, rank in zip(ordered, expected, strict=True)) / len(ordered)


def nesting_violation(masks: Sequence[Array], areas: Sequence[float]) -> float:
    """Returns the mean over pixels and pairs a1 < a2 of max(0, m_a1 - m_a2)."""
    terms = []
    for small, small_area in zip(masks, areas, strict=True):
        for large, large_area in zip(masks, areas, strict=True):
            if small_area < large_area:
                terms += [max(0.0, float(s) - float(t)) for s, t in zip(small.ravel(), large.ravel(), strict=True)]
    return sum(terms) / len(terms)


def intersection_over_union(first: Array, second: Array) -> float:
    """Returns the intersection over union of two hard masks, as sets of pixels; 0 if both are empty."""
    a, b = set(np.flatnonzero(first)), set(np.flatnonzero(second))
    return len(a & b) / len(a | b) if a | b else 0.0


def components(hard: Array) -> int:
    """Returns the number of connected parts by flood fill over the eight neighbours."""
    left = {(int(i), int(j)) for i, j in np.argwhere(hard)}
    parts = 0
    while left:
        parts += 1
        front = [left.pop()]
        while front:
            i, j = front.pop()
            for near in ((i + down, j + right) for down in (-1, 0, 1) for right in (-1, 0, 1)):
                if near in left:
                    left.remove(near)
                    front.append(near)
    return parts


def perimeter(hard: Array) -> float:
    """Returns the length of the pixel edges between kept and replaced pixels, in image sides."""
    height, width = hard.shape
    length = 0.0
    for (i, j), kept in np.ndenumerate(hard):
        if i + 1 < height and hard[i + 1, j] != kept:
            length += 1 / width
        if j + 1 < width and hard[i, j + 1] != kept:
            length += 1 / height
    return length


def gaussian_blur(channel: Array, sigma: float, truncate: float = 4.0) -> Array:
    """Convolves an h x w array with a two-dimensional Gaussian; borders are mirrored (the edge is repeated)."""
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
    """Returns preservation and deletion of one image and one mask, one copy at a time.

    Args:
        probability: returns that of the target for one c x h x w image.
        draws: name of the baseline -> its draws.
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
    """Returns hard preservation of random masks, the i-th field under draw i modulo the number of draws."""
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


def area_code(area: float) -> list[float]:
    """Returns (z, sin pi z, cos pi z) with z = logit(a)/3."""
    z = math.log(area / (1 - area)) / 3
    return [z, math.sin(math.pi * z), math.cos(math.pi * z)]


def fourier_inputs(frequencies: Array, point: Sequence[float]) -> list[float]:
    """Returns (sin 2 pi B u, cos 2 pi B u), frequency by frequency."""
    angles = [
        2 * math.pi * sum(float(row[f]) * u for row, u in zip(frequencies, point, strict=True))
        for f in range(frequencies.shape[1])
    ]
    return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]


def grid_inputs(table: Array, point: Sequence[float], sides: Sequence[int], table_size: int | None) -> list[float]:
    """Returns the features of a point, level by level and corner by corner; the hash is in 32-bit arithmetic."""
    result: list[float] = []
    begin = 0
    for side in sides:
        rows = (side + 1) ** 2 if table_size is None else min((side + 1) ** 2, table_size)
        x, y = ((u + 1) / 2 * side for u in point)
        features = [0.0] * table.shape[1]
        for i in range(side + 1):
            for j in range(side + 1):
                share = max(0.0, 1 - abs(x - i)) * max(0.0, 1 - abs(y - j))
                if share > 0:
                    hashed = ((i * 1) & 0xFFFFFFFF) ^ ((j * 2654435761) & 0xFFFFFFFF)
                    row = begin + (hashed % rows if (side + 1) ** 2 > rows else j * (side + 1) + i)
                    features = [value + share * float(table[row, f]) for f, value in enumerate(features)]
        result += features
        begin += rows
    return result


def network_logit(
    weights: dict[str, Array],
    inputs: Sequence[float],
    area: float,
    *,
    conditioning: str,
    gain: Callable[[int, int], float],
    activation: Callable[[list[float]], list[float]],
) -> float:
    """Returns the output of one network at one point, sum by sum, from its stored weights.

    Args:
        gain: returns the factor of sum i of hidden layer l, for (l, i).
        activation: returns a layer's outputs for its sums.
    """
    values, code = list(inputs), area_code(area)
    hidden = sum(name.startswith("network.hidden") for name in weights) // 2
    for layer, name in enumerate(["network.first", *(f"network.hidden.{index}" for index in range(hidden))]):
        sums = [gain(layer, index) * total for index, total in enumerate(linear(weights, name, values))]
        if conditioning == "concat" and layer == 0:
            share = linear(weights, "network.area.linear", code)
            sums = [total + share[index] for index, total in enumerate(sums)]
        if conditioning == "film":
            film = linear(weights, f"network.area.linear.{layer}", code)
            sums = [total * (1 + film[index]) + film[len(sums) + index] for index, total in enumerate(sums)]
        values = activation(sums)
    return linear(weights, "network.last", values)[0]


def linear(weights: dict[str, Array], name: str, inputs: Sequence[float]) -> list[float]:
    """Returns x W + c, number by number."""
    matrix, constants = weights[f"{name}.weight"], weights[f"{name}.bias"][0]
    return [
        float(constants[j]) + sum(value * float(matrix[i, j]) for i, value in enumerate(inputs))
        for j in range(matrix.shape[1])
    ]


def together(
    probability: Callable[[Array], float], image: Array, hards: Sequence[Array], draws: dict[str, Sequence[Array]]
) -> dict[str, float]:
    """Returns what several hard masks restore together and what is left without all of them, pixel by pixel."""
    inside = {(i, j) for hard in hards for i, j in np.ndindex(*hard.shape) if hard[i, j]}
    columns = {"union_share": len(inside) / hards[0].size}
    for game, keeps_union in (("union_hard", True), ("remaining_hard", False)):
        means = []
        for name, baselines in draws.items():
            total = 0.0
            for baseline in baselines:
                copy = np.empty_like(image)
                for c, i, j in np.ndindex(*image.shape):
                    copy[c, i, j] = (image if ((i, j) in inside) == keeps_union else baseline)[c, i, j]
                total += probability(copy)
            means.append(total / len(baselines))
            columns[f"{game}_{name}"] = means[-1]
        columns[f"{game}_mean"] = sum(means) / len(means)
    return columns


def pyramid_logit(table: Array, point: tuple[float, float], sides: Sequence[int], gain: float) -> float:
    """Returns the sum over grids of the bilinear interpolation at a point, from every corner's hat function."""
    total, row = 0.0, 0
    for side in sides:
        place = [(coordinate + 1) / 2 * side for coordinate in point]
        for y in range(side + 1):
            for x in range(side + 1):
                hat = max(0.0, 1 - abs(place[0] - x)) * max(0.0, 1 - abs(place[1] - y))
                total += hat * float(table[row])
                row += 1
    return gain * total


def feature_grid_logit(
    weights: dict[str, Array],
    point: Sequence[float],
    area: float | None,
    sides: Sequence[int],
    *,
    gain: float,
    speed: float,
    film_speed: float,
) -> float:
    """Returns the output of a network of grids' features with FiLM, unit by unit, from its stored weights.

    Args:
        area: None if FiLM does not depend on it.
    """
    code = [*([] if area is None else area_code(area)), 1.0]
    film = [
        film_speed * sum(c * float(row[j]) for c, row in zip(code, weights["film"], strict=True))
        for j in range(weights["film"].shape[1])
    ]
    values = [gain * feature for feature in grid_inputs(weights["table"], point, sides, None)]
    layers = sum(name.startswith("layers.") for name in weights)
    for layer in range(layers):
        matrix = weights[f"layers.{layer}"]
        width = matrix.shape[1]
        scales, shifts = film[2 * layer * width :][:width], film[(2 * layer + 1) * width :][:width]
        sums = [speed * sum(value * float(matrix[i, j]) for i, value in enumerate(values)) for j in range(width)]
        values = [max(0.0, z * (1 + s) + t) for z, s, t in zip(sums, scales, shifts, strict=True)]
    last = sum(value * float(weights["last"][i, 0]) for i, value in enumerate(values))
    return speed * last
