"""What masks can be asked for, checked before any work: areas, explanations, how these stay apart and when they end.

Free of torch, so that a refusal is quick; the configuration and `Method` share it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inr_xai.errors import UserError

AUTO = "auto"
"""As many explanations of each image as carry enough of its class (`inr_xai.fitting.stopping`)."""
MOST = 8
"""Explanations of an image that an audit takes: K of them and the rest of the image make 2^(K+1) sets to ask for."""
ROOM = 1e-9  # tolerance of K * a <= 1, for areas such as 1/3


@dataclass(frozen=True)
class Exclusion:
    """How later explanations of an image stay apart from the earlier ones.

    Args:
        mode: "exclude" takes the earlier hard masks out of the later ones' free pixels; "penalty" adds
            weight * mean(m_k * max_{j<k} m_j) to the loss.
        area: the area a_x of the earlier masks that is taken out, where it is larger than the mask's own; None means
            the largest area fitted, 0 means each area its own.
        weight: of the penalty.
    """

    mode: str = "exclude"
    area: float | None = None
    weight: float = 10.0


@dataclass(frozen=True)
class Stop:
    """When `explanations="auto"` ends; the rule is `inr_xai.fitting.stopping.should_keep`.

    Args:
        share: the part of p_t(x), in [0, 1], that each explanation after the first must carry by itself.
        most: the largest number of explanations; lowered to as many as fit beside each other.
    """

    share: float = 0.1
    most: int = 5


def check_masks(areas: Sequence[float], explanations: int | str, exclusion: Exclusion, stop: Stop) -> None:
    """Raises UserError unless all areas lie in (0, 1), none is repeated, and the explanations fit into an image."""
    if explanations != AUTO and type(explanations) is not int:
        raise UserError(
            f"explanations={explanations} must be a whole number such as explanations=2, or explanations=auto"
        )
    if len(areas) == 0:
        raise UserError("areas is empty; give at least one fraction of the image to keep, such as areas=[0.1]")
    outside = [area for area in areas if not 0 < area < 1]
    if outside:
        raise UserError(f"areas must lie in (0, 1), each the fraction of the image that a mask keeps; got {outside[0]}")
    repeated = [area for area in areas if list(areas).count(area) > 1]
    if repeated:
        raise UserError(f"areas must not be repeated; {repeated[0]} stands more than once in {list(areas)}")
    if not 0 <= stop.share <= 1:
        raise UserError(
            f"stop.share={stop.share} is out of range; it must lie in [0, 1], the part of the class's probability that "
            "each further explanation must carry by itself"
        )
    if type(stop.most) is not int or stop.most < 1:
        raise UserError(f"stop.most={stop.most} is out of range; it must be a whole number of explanations, at least 1")
    check_exclusion(exclusion, areas=areas, explanations=1 if explanations == AUTO else int(explanations))


def check_exclusion(exclusion: Exclusion, *, areas: Sequence[float], explanations: int) -> None:
    """Raises UserError unless K explanations of the largest area fit beside each other: K * max(a, a_x) <= 1."""
    mode, area = exclusion.mode, exclusion.area
    if mode not in ("exclude", "penalty"):
        raise UserError(f"exclusion.mode must be exclude or penalty; got {mode!r}")
    if explanations < 1:
        raise UserError(f"explanations={explanations} is out of range; it must be at least 1")
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


def check_nested(conditioning: str | None, exclusion: Exclusion, *, areas: Sequence[float], explanations: int) -> None:
    """Raises UserError where larger masks cannot contain the smaller: one order of the free pixels for all areas.

    Args:
        conditioning: of the INR; None where it has no such option.
        explanations: the largest number of them.
    """
    if conditioning != "none":
        found = "an INR without conditioning" if conditioning is None else f"inr.conditioning={conditioning}"
        raise UserError(
            f"nested=true needs one field for all areas, got {found}; use inr.conditioning=none or leave nested=false"
        )
    area = max(areas) if exclusion.area is None else exclusion.area
    if explanations > 1 and exclusion.mode == "exclude" and area < max(areas):
        raise UserError(
            f"nested=true needs the same free pixels at every area, got exclusion.area={area:g}; "
            f"use exclusion.area=null or at least {max(areas):g}"
        )


def most_explanations(exclusion: Exclusion, *, areas: Sequence[float], most: int) -> int:
    """How many explanations `auto` may find: `most`, or as many as fit beside each other, K * max(a, a_x) <= 1.

    >>> most_explanations(Exclusion(), areas=[0.1, 0.3], most=5)
    3
    """
    if exclusion.mode == "penalty":
        return most
    return min(most, int(1 / max(*areas, exclusion.area or 0.0) + ROOM))


def require_whole(group: str, **options: int) -> None:
    """Raises UserError unless every option of a group is at least 1."""
    for name, value in options.items():
        if value < 1:
            raise UserError(f"{group}.{name}={value} is out of range; it must be a whole number, at least 1")


def require_positive(group: str, **options: float) -> None:
    """Raises UserError unless every option of a group is positive and finite."""
    for name, value in options.items():
        if not 0 < value < float("inf"):
            raise UserError(f"{group}.{name}={value:g} is out of range; it must be a positive number")
