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


@dataclass(frozen=True)
class Plateau:
    """When the fit of an image ends early; the rule is in `inr_xai.fitting.plateau`.

    Args:
        steps: an image's fit ends when its hard masks have not gained for so many steps; None never ends it early.
    """

    steps: int | None = None


RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 1_000_000),
    "image_batch_size": (1, 65_536),
    "masks_per_forward": (1, 65_536),
    "images_per_fit": (1, 65_536),
    "threads": (1, 1024),
    "stride": (1, 4096),
    "seed": (0, 2**63 - 1),
    "stop.most": (1, 64),
    "plateau.steps": (1, 1_000_000),
    "decay": (1e-6, 1.0),
    "total_variation": (0.0, 1e6),
    "binary": (0.0, 1e6),
    "exclusion.weight": (0.0, 1e6),
    "shards": (1, 100_000),
    "shard.count": (1, 100_000),
    "lock.wait": (0.0, 604_800.0),
    "outage.wait": (0.0, 604_800.0),
    "checkpoint_every": (0.0, 604_800.0),
    "data.limit": (1, 10**9),
    "data.every": (1, 10**9),
    "data.size": (1, 100_000),
    "data.image_size": (96, 4096),
    "data.seed": (-(2**63), 2**63 - 1),
    "data.pool_size": (4, 100_000),
    "data.count": (1, 100_000),
    "data.side": (2, 16),
    "data.range": (-1e38, 1e38),
    "data.targets_per_mosaic": (1, 256),
    "classifier.input_size": (1, 4096),
    "classifier.resize": (1, 8192),
    "classifier.mean": (-1e6, 1e6),
    "classifier.std": (1e-6, 1e6),
    "inr.width": (1, 4096),
    "inr.depth": (1, 64),
    "inr.frequencies": (1, 4096),
    "inr.levels": (1, 64),
    "inr.features": (1, 256),
    "inr.base": (1, 4096),
    "inr.growth": (1.0, 16.0),
    "inr.table_size": (2, 2**24),
    "inr.sides": (1, 4096),
    "inr.gain": (1e-6, 1e6),
    "inr.scale": (1e-6, 1e6),
    "inr.sigma": (1e-6, 1e4),
    "inr.omega": (1e-6, 1e4),
    "inr.first_omega": (1e-6, 1e4),
    "inr.hidden_omega": (1e-6, 1e4),
    "inr.feature_scale": (1e-12, 1e4),
    "inr.octaves": (1, 64),
    "inr.speed": (1e-6, 1e6),
    "inr.film_speed": (1e-6, 1e6),
    "area_rule.start": (0.0, 1e9),
    "area_rule.end": (1e-4, 1e9),
    "area_rule.hold": (1e-3, 1e3),
    "area_rule.growth": (1.0, 1e9),
    "objective.deletion": (1e-6, 1e6),
    "perturbation.sigma": (1e-3, 1000.0),
    "perturbation.levels": (2, 64),
    "perturbation.colour": (-1e6, 1e6),
    "start.scale": (1e-3, 100.0),
    "start.gradient": (0.0, 100.0),
    "optimizer.lr": (0.0, 1e4),
    "optimizer.eps": (0.0, 1e4),
    "optimizer.weight_decay": (0.0, 1e4),
    "store.megabytes": (1, 1_000_000),
    "callbacks.seconds": (0.0, 1e6),
    "callbacks.cell": (1.0, 6.0),
    "callbacks.dpi": (50, 1200),
    "callbacks.every": (1, 1_000_000),
    "logger.finish_timeout": (0.0, 86_400.0),
}
"""Option -> the smallest and the largest value that it may have; whole numbers stand for an option that is one.

In the groups data, classifier and so on, an argument has the same range in every `_target_` of the group that has it.
"""
MOST_AREAS, MOST_EXPLANATIONS, MOST_MASKS = 100, 64, 1000
"""Areas, explanations, and masks of one image: figures, tables and masks files have a place for each."""
LARGEST_SIDE = 8192
"""Pixels of a side of a classifier's input."""
MOST_NUMBERS = 50_000_000
"""Numbers that the INR of one image may consist of; as many fill 200 MB, and Adam keeps two more for each."""
MOST_CONTROL = 100_000
"""Images of an audit's control."""


def check_numbers(options: Mapping[str, Any]) -> None:
    """Raises UserError unless every option of RANGES has a value within its range; None is no value."""
    for name, value in options.items():
        if value is None or name not in RANGES:
            continue
        smallest, largest = RANGES[name]
        whole = type(smallest) is int
        number = type(value) is int or (not whole and type(value) is float)
        if not (number and smallest <= value <= largest):
            kind = "a whole number, " if whole else "a positive number, " if 0 < smallest < 0.01 else ""
            limit = ("at most", largest) if number and value > largest else ("at least", smallest)
            bound = f"{limit[0]} {limit[1] if whole else f'{limit[1]:.15g}'}"
            text = f"{value:g}" if type(value) is float else shown(value)
            raise UserError(f"{name}={text} is out of range; it must be {kind}{bound}")


def check_masks(areas: Sequence[float], explanations: Any, exclusion: Exclusion, stop: Stop) -> None:
    """Raises UserError unless areas lie in (0, 1), no two have one label, and the explanations fit into an image."""
    if explanations != AUTO and type(explanations) is not int:
        raise UserError(
            f"explanations={shown(explanations)} must be a whole number such as explanations=2, or explanations=auto"
        )
    if len(areas) == 0:
        raise UserError("areas is empty; give at least one fraction of the image to keep, such as areas=[0.1]")
    outside = [area for area in areas if isinstance(area, list | dict | str) or not 0 < area < 1]
    if outside:
        raise UserError(f"areas must lie in (0, 1), each the fraction of the image that a mask keeps; got {outside[0]}")
    if len(areas) > MOST_AREAS:
        raise UserError(f"areas has {len(areas)} entries; give at most {MOST_AREAS}, and render others afterwards")
    labels = [f"{area:g}" for area in areas]
    for area, label in zip(areas, labels, strict=True):
        if list(areas).count(area) > 1:
            raise UserError(f"areas must not be repeated; {area} occurs more than once in {list(areas)}")
        if label == "1":
            raise UserError(f"areas must lie in (0, 1), also when written with six digits; got {area}")
        if labels.count(label) > 1:
            raise UserError(f"areas must differ in their first six digits; {label} names two of {list(areas)}")
    if not 0 <= stop.share <= 1:
        raise UserError(
            f"stop.share={stop.share} is out of range; it must lie in [0, 1], the part of the class's probability that "
            "each further explanation must carry by itself"
        )
    if type(stop.most) is not int or not 1 <= stop.most <= MOST_EXPLANATIONS:
        bound = "at least 1" if type(stop.most) is not int or stop.most < 1 else f"at most {MOST_EXPLANATIONS}"
        raise UserError(f"stop.most={stop.most} is out of range; it must be a whole number of explanations, {bound}")
    count = 1 if explanations == AUTO else int(explanations)
    check_exclusion(exclusion, areas=areas, explanations=count)
    if count > MOST_EXPLANATIONS or count * len(areas) > MOST_MASKS:
        raise UserError(
            f"explanations={count} with {len(areas)} areas is too much for one image; give at most {MOST_EXPLANATIONS} "
            f"explanations, and {MOST_MASKS} masks in all"
        )


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


def check_plateau(plateau: Plateau, *, steps: int) -> None:
    """Raises UserError unless `plateau.steps` is None or a whole number below the steps of a fit."""
    check_numbers({"plateau.steps": plateau.steps})
    if plateau.steps is not None and plateau.steps >= steps:
        instead = f"give at most plateau.steps={steps - 1}, or null" if steps > 1 else "give plateau.steps=null"
        raise UserError(
            f"plateau.steps={plateau.steps} must be less than steps={steps}, the length of a fit; {instead}"
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
    if type(control) is not int or not 1 <= control <= MOST_CONTROL:
        bound = f"at most {MOST_CONTROL}" if type(control) is int and control > MOST_CONTROL else "at least 1"
        raise UserError(f"audit.control={shown(control)} must be a number of images, {bound}")
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


def require_numbers(group: str, **options: float | None) -> None:
    """Raises UserError unless every option of a group lies within its range of RANGES; None is no value."""
    check_numbers({f"{group}.{name}": value for name, value in options.items()})


def require_probabilities(head: str | None, what: str) -> None:
    """Raises UserError if the classifier's head is `none`, whose outputs are scores, for what needs probabilities."""
    if head == "none":
        raise UserError(
            f"{what} needs probabilities of classes, and with classifier.head=none the outputs are scores that are none"
        )


def require_capacity(numbers: float) -> None:
    """Raises UserError if the INR of one image would consist of too many numbers."""
    if numbers > MOST_NUMBERS:
        raise UserError(
            f"inr would have {numbers:.2g} numbers for each image; give at most {MOST_NUMBERS:g}, with smaller options "
            "(width, depth, frequencies, levels, features, table_size, sides)"
        )


def require_size(size: tuple[int, int], *, areas: Sequence[float], stride: int) -> None:
    """Raises UserError unless the INR is evaluated within an image, and each mask has a pixel and leaves one out.

    Args:
        size: height and width of the classifier's input in pixels.
    """
    height, width = size
    if stride > min(size):
        raise UserError(
            f"stride={stride} is larger than the classifier's input of {height} x {width} pixels; give at most "
            f"stride={max(1, min(size) // 4)}"
        )
    for area in areas:
        kept = math.floor(area * height * width + 1e-6)
        if not 1 <= kept < height * width:
            which = "no pixel" if kept < 1 else "every pixel"
            raise UserError(
                f"areas holds {area:g}, which keeps {which} of the classifier's input of {height} x {width}; give "
                f"areas from {1 / (height * width):.2g} to {1 - 1 / (height * width):.6g}"
            )


def height_and_width(size: Any, option: str) -> tuple[int, int]:
    """Returns height and width, which one number gives for both. Raises UserError for anything else."""
    sides = list(size) if isinstance(size, (list, tuple)) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in sides):
        raise UserError(
            f"classifier.{option}={size!r} is not allowed; give pixels from 1 to {LARGEST_SIDE}, or [height, width]"
        )
    return sides[0], sides[1]


def check_statistics(mean: Any, std: Any) -> None:
    """Raises UserError unless both statistics of a normalisation have one finite number per channel, std above 0."""
    for name, values in (("mean", mean), ("std", std)):
        numbers = isinstance(values, list | tuple) and all(type(value) in (int, float) for value in values)
        if not numbers or not values or not all(math.isfinite(value) for value in values):
            raise UserError(f"classifier.{name}={values!r} is not allowed; give finite numbers, one per channel")
    if len(mean) != len(std) or not all(value > 0 for value in std):
        raise UserError(
            f"classifier.mean has {len(mean)} and classifier.std {len(std)} values ({list(std)}); "
            "give one of each per channel, every std above 0"
        )
