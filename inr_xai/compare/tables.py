"""The tables of a comparison, from its rows alone: methods, wrong-target control, second explanations, and the curve.

Relative values are ratios of means over photos, with bootstrap intervals (METHOD, "Metrics", in docs/method.md).
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from inr_xai.columns import BASELINES, UNSEEN
from inr_xai.compare.store import SUFFIX, RowStore, numbers
from inr_xai.errors import UserError
from inr_xai.metrics.statistics.bootstrap import (
    Interval,
    interval_columns,
    mean_interval,
    paired_difference,
    ratio_of_means,
    sign_flip_p_value,
)
from inr_xai.types import Row

SECOND, CURVE, SEEDS = "_second", "inr_passes_", "_seed1"
"""Parts of the names of methods that have a table of their own."""
NO_RANDOM_NUMBER = frozenset(
    {
        "torchray",
        "torchray_contrastive",
        "gradcam",
        "gradcam_plus_plus",
        "layercam",
        "gradcam_margin",
        "integrated_gradients",
        "integrated_gradients_margin",
        "attention_rollout",
        "attnlrp",
        "occlusion",
        "disc",
    }
)
"""Methods that give the same maps under every seed, so that their stability under seeds says nothing."""


class ScoredPhotos:
    """The scored photos of one method.

    Args:
        photos: image id -> for each area, a dictionary of numbers.
        failed: how many photos have no scores.
        layer: name of the layer that the method read.
    """

    def __init__(self, photos: Mapping[str, Sequence[Mapping[str, float]]], *, failed: int = 0, layer: str = ""):
        self.photos, self.failed, self.layer = dict(photos), failed, layer

    def __len__(self) -> int:
        return len(self.photos)

    def only(self, image_ids: Iterable[str]) -> "ScoredPhotos":
        """Returns these photos alone, in alphabetical order."""
        photos = {name: self.photos[name] for name in sorted(set(image_ids) & self.photos.keys())}
        return ScoredPhotos(photos, failed=self.failed, layer=self.layer)

    def column(self, *names: str, area: float | None = None) -> Float64[Tensor, " n"]:
        """Returns, for each photo, the mean of some columns over all areas, or at one of them."""
        rows = [[row for row in photo if area is None or row["area"] == area] for photo in self.photos.values()]
        means = [
            math.fsum(row[name] for row in of_photo for name in names) / (len(of_photo) * len(names))
            for of_photo in rows
        ]
        return torch.tensor(means, dtype=torch.float64)

    def relative(self, *names: str, area: float | None = None) -> Interval:
        """Returns the ratio of the columns' mean to the mean of p_t(x)."""
        return ratio_of_means(self.column(*names, area=area), self.column("p_full", area=area))

    @property
    def areas(self) -> list[float]:
        return sorted({row["area"] for photo in self.photos.values() for row in photo})


ScoredMethods = dict[str, ScoredPhotos]


def load_scores(rows: RowStore) -> ScoredMethods:
    """Returns every method's scored photos. Raises UserError if there are no results at all."""
    methods = {}
    for method in rows.methods():
        photos = rows.read(method)
        scored = {
            name: numbers(of_photo)
            for name, of_photo in sorted(photos.items())
            if not any(row["failed"] for row in of_photo)
        }
        layers = {row["layer"] for of_photo in photos.values() for row in of_photo} - {""}
        methods[method] = ScoredPhotos(scored, failed=len(photos) - len(scored), layer=", ".join(sorted(layers)))
    if not methods:
        raise UserError(f"{rows.folder} holds no results; run the comparison without --table first")
    return methods


def common_photos(methods: ScoredMethods, name: str) -> ScoredMethods:
    """Returns all methods on the photos that the method `name` has. Raises UserError if it has none."""
    if name not in methods or not len(methods[name]):
        raise UserError(f"--common={name} has no scored photos; choose one of {', '.join(methods)}")
    return {other: scored.only(methods[name].photos) for other, scored in methods.items()}


def methods_table(methods: ScoredMethods) -> list[Row]:
    """Returns a row for each method, the best preservation first."""
    in_other_tables = (SUFFIX, SECOND, CURVE)
    rows = [
        _method_row(name, scored, methods.get(name + SEEDS))
        for name, scored in methods.items()
        if len(scored) and not any(part in name for part in in_other_tables)
    ]
    return sorted(rows, key=lambda row: -row["preservation"])


def _method_row(name: str, scored: ScoredPhotos, reseeded: ScoredPhotos | None) -> Row:
    row: Row = {"method": name, "photos": len(scored), "failed": scored.failed}
    row |= interval_columns("preservation", scored.relative("preservation_hard_mean"))
    row |= interval_columns("preservation_unseen", scored.relative(*_preservation(UNSEEN)))
    row |= interval_columns("deletion", mean_interval(scored.column("deletion_hard_mean")))
    row["deletion_relative"] = scored.relative("deletion_hard_mean").value
    for baseline in BASELINES:
        row[f"preservation_{baseline}"] = scored.relative(f"preservation_hard_{baseline}").value
    for area in scored.areas:
        row[f"preservation_a{area:g}"] = scored.relative("preservation_hard_mean", area=area).value
    for column in ("area_error", "grayness", "nesting_violation", "components", "perimeter"):
        row[column] = float(scored.column(column).mean())
    if reseeded is not None:
        row["seed_iou"] = float(reseeded.only(scored.photos).column("seed_iou").mean())
        row |= {f"seed_iou_a{a:g}": float(reseeded.column("seed_iou", area=a).mean()) for a in scored.areas}
    else:
        row["seed_iou"] = "no random number" if name in NO_RANDOM_NUMBER else math.nan
    for column in ("seconds", "passes"):
        row[column] = float(scored.column(column).mean())
    return row | {"layer": scored.layer}


def control_table(methods: ScoredMethods) -> list[Row]:
    """Returns a row for each fitted method: what masks for a class that the photo does not show reach.

    The probabilities of the wrong class stand beside those of the true class on the same photos. They are absolute,
    under the baselines that no fit uses; the excess is the mean over both baselines, true less wrong.
    """
    rows = []
    for name, control in methods.items():
        method = name.removesuffix(SUFFIX)
        if method == name or method not in methods:
            continue
        shared = control.photos.keys() & methods[method].photos.keys()
        if not shared:
            continue
        true, wrong = methods[method].only(shared), control.only(shared)
        row: Row = {"method": method, "photos": len(shared)}
        for baseline in UNSEEN:
            for which, scored in (("true", true), ("wrong", wrong)):
                row[f"{which}_{baseline}"] = float(scored.column(f"preservation_hard_{baseline}").mean())
        true_values, wrong_values = (scored.column(*_preservation(UNSEEN)) for scored in (true, wrong))
        row |= interval_columns("excess", paired_difference(true_values, wrong_values))
        rows.append(row | {"p_value": sign_flip_p_value(true_values, wrong_values)})
    return rows


def second_table(methods: ScoredMethods, ours: str = "inr_second") -> list[Row]:
    """Returns a row for our second explanation and for each method that was given the same free pixels.

    `ours_less_this` is the difference of probabilities on the photos that both have.
    """
    rows = []
    for name, scored in methods.items():
        if not name.endswith(SECOND) or not len(scored):
            continue
        row: Row = {"method": name, "photos": len(scored)}
        row |= interval_columns("preservation", scored.relative("preservation_hard_mean"))
        row |= interval_columns("preservation_unseen", scored.relative(*_preservation(UNSEEN)))
        shared = scored.photos.keys() & methods[ours].photos.keys() if ours in methods else set()
        excess = Interval(math.nan, math.nan, math.nan)
        if shared and name != ours:
            columns = (methods[method].only(shared).column("preservation_hard_mean") for method in (ours, name))
            excess = paired_difference(*columns)
        row |= interval_columns("ours_less_this", excess)
        shared_pixels = [area["shared_pixels"] for photo in scored.photos.values() for area in photo]
        rows.append(row | {"shared_pixels_most": max(shared_pixels)})
    return sorted(rows, key=lambda row: -row["preservation"])


def curve_table(methods: ScoredMethods) -> list[Row]:
    """Returns quality against classifier passes: a row for each of our fits of different length."""
    rows = [
        {"method": name, "photos": len(scored), "passes": float(scored.column("passes").mean())}
        | interval_columns("preservation", scored.relative("preservation_hard_mean"))
        | interval_columns("preservation_unseen", scored.relative(*_preservation(UNSEEN)))
        | {"seconds": float(scored.column("seconds").mean())}
        for name, scored in methods.items()
        if name.startswith(CURVE) and SUFFIX not in name and len(scored)
    ]
    return sorted(rows, key=lambda row: row["passes"])


def _preservation(baselines: Iterable[str]) -> list[str]:
    return [f"preservation_hard_{baseline}" for baseline in baselines]
