"""The lines of W&B's charts of a run, from the files of its folder: scores against the area, and losses by step."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inr_xai.loggers.keys import explanations

AGAINST_AREA = {
    "preservation": "preservation_hard_mean_rel",
    "chance": "chance_rel",
    "deletion": "deletion_hard_mean_rel",
    "remaining": "remaining_hard_mean_rel",
}
"""Name in the chart -> column of summary.json; all are relative to the probability of the whole image."""
AREA_COLUMNS = ("area", "score", "line", "quantity", "explanation")
LOSS_COLUMNS = ("step", "loss", "line")
MOST_POINTS = 100
"""A line of losses has no more points."""


def lines_against_area(summary: Mapping[str, Any], areas: Sequence[float]) -> list[list[Any]]:
    """Returns the points of the chart of scores against area, as rows of AREA_COLUMNS; a line for each explanation."""
    return [
        [area, value, f"{quantity} {k}", quantity, k]
        for k in explanations(summary)
        for quantity, column in AGAINST_AREA.items()
        for area in sorted(areas)
        if _is_finite(value := summary.get(f"{column}/k{k}/a{area:g}"))
    ]


def lines_of_losses(curves: Path) -> list[list[Any]]:
    """Returns the mean loss of all images at the steps of the fit of each explanation, as rows of LOSS_COLUMNS.

    The mean at a step is over the images whose fit took it. A long line is thinned evenly, with both ends.

    Args:
        curves: curves.csv of a run; none if it is not there.
    """
    sums: dict[tuple[int, int], list[float]] = {}
    for explanation, step, loss, images in _read_curves(curves):
        entry = sums.setdefault((explanation, step), [0.0, 0.0])
        entry[0] += loss * images
        entry[1] += images
    lines: dict[int, list[list[Any]]] = {}
    for (explanation, step), (total, count) in sorted(sums.items()):
        if math.isfinite(total):
            lines.setdefault(explanation, []).append([step, total / count, f"explanation {explanation}"])
    return [point for line in lines.values() for point in thinned(line, MOST_POINTS)]


def thinned(points: Sequence[Any], most: int) -> list[Any]:
    """Returns at most so many of the points, evenly spread, the first and the last among them.

    >>> thinned(range(10), 4), thinned([1, 2], 4)
    ([0, 3, 6, 9], [1, 2])
    """
    if len(points) <= most:
        return list(points)
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]


def _read_curves(file: Path) -> Iterator[tuple[int, int, float, int]]:
    """Yields explanation, step, loss and number of images of each line of curves.csv."""
    if not file.is_file():
        return
    with file.open(newline="") as stream:
        for line in csv.DictReader(stream):
            yield int(line["explanation"]), int(line["step"]), float(line["loss"]), int(line["images"])


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
