"""What areas and explanations can be asked for, checked before any work; free of torch, so a refusal is quick."""

import math
from collections.abc import Sequence

from inr_xai.errors import UserError

AUTO = "auto"
"""As many explanations of each image as carry enough of its class (`inr_xai.stopping`)."""
MOST = 8
"""Explanations of an image that an audit takes: K of them and the rest of the image make 2^(K+1) sets to ask for."""
ROOM = 1e-9  # tolerance of K * a <= 1, for areas such as 1/3


def check_areas(areas: Sequence[float]) -> None:
    """Raises UserError unless there are areas, all of them inside (0, 1) and none repeated."""
    if len(areas) == 0:
        raise UserError("areas is empty; give at least one fraction of the image to keep, such as areas=[0.1]")
    outside = [area for area in areas if not 0 < area < 1]
    if outside:
        raise UserError(f"areas must lie in (0, 1), each the fraction of the image that a mask keeps; got {outside[0]}")
    repeated = [area for area in areas if list(areas).count(area) > 1]
    if repeated:
        raise UserError(f"areas must not be repeated; {repeated[0]} stands more than once in {list(areas)}")


def check_exclusion(mode: str, area: float | None, *, areas: Sequence[float], explanations: int) -> None:
    """Raises UserError unless K explanations of the largest area fit beside each other: K * max(a, a_x) <= 1."""
    if mode not in ("exclude", "penalty"):
        raise UserError(f"exclusion.mode must be exclude or penalty; got {mode!r}")
    if explanations < 1:
        raise UserError(f"explanations must be at least 1; got {explanations}")
    if area is not None and not 0 <= area < 1:
        raise UserError(
            f"exclusion.area must lie in (0, 1), or be 0 (each area excludes its own) or null (the largest); got {area}"
        )
    largest = max(*areas, area or 0.0)
    if mode == "exclude" and explanations * largest > 1 + ROOM:
        raise UserError(
            f"{explanations} explanations of area {largest:g} do not fit into one image: explanations * "
            f"max(areas, exclusion.area) must be at most 1; use explanations={int(1 / largest + ROOM)} or areas up to "
            f"{math.floor(1000 / explanations) / 1000:g}"
        )


def check_stop(share: float, most: int) -> None:
    """Raises UserError where the rule that ends `explanations=auto` asks for what cannot be."""
    if not 0 <= share <= 1:
        raise UserError(
            f"stop.share={share} is out of range; it must lie in [0, 1], the part of the class's probability that "
            "each further explanation must carry by itself"
        )
    if type(most) is not int or most < 1:
        raise UserError(f"stop.most={most} is out of range; it must be a whole number of explanations, at least 1")


def most_explanations(mode: str, area: float | None, *, areas: Sequence[float], most: int) -> int:
    """How many explanations `auto` may find: `most`, or as many as fit beside each other, K * max(a, a_x) <= 1.

    >>> most_explanations("exclude", None, areas=[0.1, 0.3], most=5)
    3
    """
    return most if mode == "penalty" else min(most, int(1 / max(*areas, area or 0.0) + ROOM))
