"""Which masks can exist, checked before any work: areas, number of explanations, their exclusion and their end.

The configuration and `Method` share these checks. This module does not import torch, so that a refusal comes at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inr_xai.errors import UserError, shown

AUTO = "auto"
"""Each image gets as many explanations as carry enough of its class (`inr_xai.fitting.stopping`)."""
MOST_AUDITED = 8
"""The most explanations of an image that an audit can use: with the rest of the image, K of them make 2^(K+1) sets."""
ROOM = 1e-9  # tolerance of K * a <= 1, for areas such as 1/3


@dataclass(frozen=True)
class Exclusion:
    """How later explanations of an image stay apart from the earlier ones.

    Args:
        mode: "exclude" removes the earlier hard masks from the free pixels of later ones; "penalty" adds
            weight * mean(m_k * max_{j<k} m_j) to the loss.
        area: the area a_x of the earlier masks that is removed, if it is larger than the new mask's own area. None
            stands for the largest area fitted; 0 removes the mask of the same area.
        weight: weight of the penalty.
    """

    mode: str = "exclude"
    area: float | None = None
    weight: float = 10.0


@dataclass(frozen=True)
class Stop:
    """When `explanations="auto"` ends; the rule is `inr_xai.fitting.stopping.should_keep`.

    Args:
        share: the part of p_t(x), in [0, 1], that each explanation after the first must carry by itself.
        most: the largest number of explanations; it is lowered to as many as fit into an image.
    """

    share: float = 0.1
    most: int = 5


SMALLEST = {
    "steps": 1,
    "image_batch_size": 1,
    "masks_per_forward": 1,
    "images_per_fit": 1,
    "stride": 1,
    "seed": 0,
    "total_variation": 0,
    "binary": 0,
    "exclusion.weight": 0,
    "shard.count": 1,
}
"""Option -> the smallest value that it may have."""
WEIGHTS = ("total_variation", "binary", "exclusion.weight")
"""The options of SMALLEST that need not be whole numbers."""


def check_numbers(options: Mapping[str, Any]) -> None:
    """Raises UserError unless every option of SMALLEST has a value that is large enough; None is no value."""
    for name, value in options.items():
        if value is None or name not in SMALLEST:
            continue
        whole = name not in WEIGHTS
        if (whole and type(value) is not int) or not (math.isfinite(value) and value >= SMALLEST[name]):
            kind = "a whole number, " if whole else ""
            raise UserError(f"{name}={shown(value)} is out of range; it must be {kind}at least {SMALLEST[name]}")


def check_masks(areas: Sequence[float], explanations: Any, exclusion: Exclusion, stop: Stop) -> None:
    """Raises UserError unless all areas lie in (0, 1), none is repeated, and the explanations fit into an image."""
    if explanations != AUTO and type(explanations) is not int:
        raise UserError(
            f"explanations={shown(explanations)} must be a whole number such as explanations=2, or explanations=auto"
        )
    if len(areas) == 0:
        raise UserError("areas is empty; give at least one fraction of the image to keep, such as areas=[0.1]")
    outside = [area for area in areas if not 0 < area < 1]
    if outside:
        raise UserError(f"areas must lie in (0, 1), each the fraction of the image that a mask keeps; got {outside[0]}")
    repeated = [area for area in areas if list(areas).count(area) > 1]
    if repeated:
        raise UserError(f"areas must not be repeated; {repeated[0]} occurs more than once in {list(areas)}")
    if not 0 <= stop.share <= 1:
        raise UserError(
            f"stop.share={stop.share} is out of range; it must lie in [0, 1], the part of the class's probability that "
            "each further explanation must carry by itself"
        )
    if type(stop.most) is not int or stop.most < 1:
        raise UserError(f"stop.most={stop.most} is out of range; it must be a whole number of explanations, at least 1")
    check_exclusion(exclusion, areas=areas, explanations=1 if explanations == AUTO else int(explanations))


def check_exclusion(exclusion: Exclusion, *, areas: Sequence[float], explanations: int) -> None:
    """Raises UserError unless K explanations of the largest area fit into an image: K * max(a, a_x) <= 1."""
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


def check_nested(
    conditioning: str | None, exclusion: Exclusion, *, areas: Sequence[float], explanations: int, projected: bool
) -> None:
    """Raises UserError unless larger masks always contain the smaller ones: one order of free pixels for all areas.

    Args:
        conditioning: how the area enters the INR; None if the INR has no such option.
        explanations: the largest number of them.
        projected: whether the area rule is AreaProjection, which has one threshold per area on one field.
    """
    if conditioning != "none":
        actual = "an INR without conditioning" if conditioning is None else f"inr.conditioning={conditioning}"
        raise UserError(
            f"nested=true needs one field for all areas, got {actual}; use inr.conditioning=none or leave nested=false"
        )
    if not projected:
        raise UserError("nested=true needs one threshold per area on one field; use area_rule=projection")
    area = max(areas) if exclusion.area is None else exclusion.area
    if explanations > 1 and exclusion.mode == "exclude" and area < max(areas):
        raise UserError(
            f"nested=true needs the same free pixels at every area, got exclusion.area={area:g}; "
            f"use exclusion.area=null or at least {max(areas):g}"
        )


def check_audit(area: Any, control: Any, *, areas: Sequence[float], explanations: int | str, mode: str) -> None:
    """Raises UserError unless a run has the explanations that an audit needs.

    Args:
        area: the area of the regions, one of those fitted.
        control: the number of images of the wrong-target control, at least 1.
        areas, explanations, mode: those of the run; `mode` is its exclusion.mode.
    """
    if area not in areas:
        raise UserError(f"audit.area={shown(area)} was not fitted; choose one of areas={shown(list(areas))}")
    if type(control) is not int or control < 1:
        raise UserError(f"audit.control={shown(control)} must be a number of images, at least 1")
    if explanations == 1:
        raise UserError(
            "an audit needs several explanations of each image, not explanations=1; set explanations=2 or more (or "
            "auto), or audit=null"
        )
    if mode != "exclude":
        raise UserError(
            f"an audit needs disjoint explanations, not exclusion.mode={mode}; set exclusion.mode=exclude, or "
            "audit=null"
        )


def most_explanations(exclusion: Exclusion, *, areas: Sequence[float], most: int) -> int:
    """Returns how many explanations `auto` may find: `most`, or as many as fit into an image, K * max(a, a_x) <= 1.

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
