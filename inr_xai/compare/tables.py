"""Tables of the comparison from its rows alone: methods, the wrong-target control, second explanations, and the curve.

Relative figures are ratios of means over photos, with bootstrap intervals (METHOD, "Metrics", in docs/method.md).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from inr_xai.columns import BASELINES, UNSEEN
from inr_xai.compare.store import SUFFIX, Rows, numbers
from inr_xai.errors import UserError
from inr_xai.metrics.statistics.bootstrap import (
    Interval,
    mean_interval,
    paired_difference,
    ratio_of_means,
    sign_flip_p_value,
)

SECOND, CURVE, SEEDS = "_second", "inr_passes_", "_seed1"
"""What the names of the methods of the other tables have in them."""
NO_RANDOM_NUMBER = frozenset(
    {
        "torchray",
        "torchray_contrastive",
        "gradcam",
        "gradcam_plus_plus",
        "layercam",
        "integrated_gradients",
        "occlusion",
        "disc",
    }
)
"""Methods that give the same maps under every seed, so that their stability under seeds says nothing."""

Line = dict[str, Any]


class Scored:
    """The scored photos of one method.

    Args:
        photos: image_id -> a dictionary of numbers per area.
        failed: how many photos have no scores.
    """

    def __init__(self, photos: Mapping[str, Sequence[Mapping[str, float]]], *, failed: int = 0, layer: str = ""):
        self.photos, self.failed, self.layer = dict(photos), failed, layer

    def __len__(self) -> int:
        return len(self.photos)

    def only(self, image_ids: Iterable[str]) -> "Scored":
        """These photos alone, in their alphabetical order."""
        kept = {name: self.photos[name] for name in sorted(set(image_ids) & self.photos.keys())}
        return Scored(kept, failed=self.failed, layer=self.layer)

    def column(self, *names: str, area: float | None = None) -> Float64[Tensor, " n"]:
        """Per photo, the mean of some columns over areas, or at one of them."""
        rows = [[row for row in photo if area is None or row["area"] == area] for photo in self.photos.values()]
        means = [math.fsum(row[name] for row in some for name in names) / (len(some) * len(names)) for some in rows]
        return torch.tensor(means, dtype=torch.float64)

    def relative(self, *names: str, area: float | None = None) -> Interval:
        """The ratio of the columns' mean to that of p_t(x)."""
        return ratio_of_means(self.column(*names, area=area), self.column("p_full", area=area))

    @property
    def areas(self) -> list[float]:
        return sorted({row["area"] for photo in self.photos.values() for row in photo})


Results = dict[str, Scored]


def load(rows: Rows) -> Results:
    """Every method's scored photos. Raises UserError where there are none at all."""
    results = {}
    for method in rows.methods():
        table = rows.read(method)
        scored = {name: numbers(some) for name, some in sorted(table.items()) if not any(r["failed"] for r in some)}
        layers = {row["layer"] for some in table.values() for row in some} - {""}
        results[method] = Scored(scored, failed=len(table) - len(scored), layer=", ".join(sorted(layers)))
    if not results:
        raise UserError(f"{rows.folder} holds no results; run the comparison without --table first")
    return results


def common_photos(results: Results, method: str) -> Results:
    """All methods on the photos that one of them has. Raises UserError where it has none."""
    if method not in results or not len(results[method]):
        raise UserError(f"--common={method} has no scored photos; choose one of {', '.join(results)}")
    return {name: scored.only(results[method].photos) for name, scored in results.items()}


def methods_table(results: Results) -> list[Line]:
    """A line per method, the best preservation first."""
    apart = (SUFFIX, SECOND, CURVE)
    lines = [
        _method_line(name, scored, results.get(name + SEEDS))
        for name, scored in results.items()
        if len(scored) and not any(part in name for part in apart)
    ]
    return sorted(lines, key=lambda line: -line["preservation"])


def _method_line(name: str, scored: Scored, reseeded: Scored | None) -> Line:
    line: Line = {"method": name, "photos": len(scored), "failed": scored.failed}
    line |= spread("preservation", scored.relative("preservation_hard_mean"))
    line |= spread("preservation_unseen", scored.relative(*(f"preservation_hard_{name}" for name in UNSEEN)))
    line |= spread("deletion", mean_interval(scored.column("deletion_hard_mean")))
    line["deletion_relative"] = scored.relative("deletion_hard_mean").value
    for baseline in BASELINES:
        line[f"preservation_{baseline}"] = scored.relative(f"preservation_hard_{baseline}").value
    for area in scored.areas:
        line[f"preservation_a{area:g}"] = scored.relative("preservation_hard_mean", area=area).value
    for column in ("area_error", "grayness", "nesting_violation", "components", "perimeter"):
        line[column] = float(scored.column(column).mean())
    if reseeded is not None:
        line["seed_iou"] = float(reseeded.only(scored.photos).column("seed_iou").mean())
        line |= {f"seed_iou_a{a:g}": float(reseeded.column("seed_iou", area=a).mean()) for a in scored.areas}
    else:
        line["seed_iou"] = "no random number" if name in NO_RANDOM_NUMBER else math.nan
    for column in ("seconds", "passes"):
        line[column] = float(scored.column(column).mean())
    return line | {"layer": scored.layer}


def control_table(results: Results) -> list[Line]:
    """Per fitted method: what masks of a class that the photo does not show reach, beside the true class's there.

    Absolute probabilities under the baselines that no fit uses; the excess is the mean of both, true less wrong.
    """
    lines = []
    for name, wrong in results.items():
        base = name.removesuffix(SUFFIX)
        if base == name or base not in results:
            continue
        shared = wrong.photos.keys() & results[base].photos.keys()
        if not shared:
            continue
        both = {"true": results[base].only(shared), "wrong": wrong.only(shared)}
        line: Line = {"method": base, "photos": len(shared)}
        for baseline in UNSEEN:
            for which, scored in both.items():
                line[f"{which}_{baseline}"] = float(scored.column(f"preservation_hard_{baseline}").mean())
        true, other = (some.column(*(f"preservation_hard_{name}" for name in UNSEEN)) for some in both.values())
        line |= spread("excess", paired_difference(true, other))
        lines.append(line | {"p_value": sign_flip_p_value(true, other)})
    return lines


def second_table(results: Results, ours: str = "inr_second") -> list[Line]:
    """What the second explanation keeps of the class, beside others that had the same pixels.

    `ours_less_this` is the difference of probabilities on the photos that both have.
    """
    lines = []
    for name, scored in results.items():
        if not name.endswith(SECOND) or not len(scored):
            continue
        line: Line = {"method": name, "photos": len(scored)}
        line |= spread("preservation", scored.relative("preservation_hard_mean"))
        line |= spread("preservation_unseen", scored.relative(*(f"preservation_hard_{name}" for name in UNSEEN)))
        shared = scored.photos.keys() & results[ours].photos.keys() if ours in results else set()
        excess = Interval(math.nan, math.nan, math.nan)
        if shared and name != ours:
            columns = (results[who].only(shared).column("preservation_hard_mean") for who in (ours, name))
            excess = paired_difference(*columns)
        line |= spread("ours_less_this", excess)
        shared_pixels = [row["shared_pixels"] for photo in scored.photos.values() for row in photo]
        lines.append(line | {"shared_pixels_most": max(shared_pixels)})
    return sorted(lines, key=lambda line: -line["preservation"])


def curve_table(results: Results) -> list[Line]:
    """Quality against classifier passes, for our fits of different length."""
    lines = [
        {"method": name, "photos": len(scored), "passes": float(scored.column("passes").mean())}
        | spread("preservation", scored.relative("preservation_hard_mean"))
        | spread("preservation_unseen", scored.relative(*(f"preservation_hard_{name}" for name in UNSEEN)))
        | {"seconds": float(scored.column("seconds").mean())}
        for name, scored in results.items()
        if name.startswith(CURVE) and SUFFIX not in name and len(scored)
    ]
    return sorted(lines, key=lambda line: line["passes"])


def spread(name: str, interval: Interval) -> Line:
    """An interval as three columns."""
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
