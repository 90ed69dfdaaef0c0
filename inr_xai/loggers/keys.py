"""What W&B's summary of a run is called: one table that maps summary.json to few names, in sections by their prefix.

summary.json and the CSV files hold every column. W&B gets what a person reads: with three explanations at most
40 keys, the tables and charts among them.
"""

import math
from collections.abc import Mapping
from typing import Any

from inr_xai.columns import P_FULL, UNSEEN

SCORES = {
    "preservation": ("preservation_hard_mean_rel",),
    "unseen_preservation": tuple(f"preservation_hard_{baseline}_rel" for baseline in UNSEEN),
    "deletion": ("deletion_hard_mean_rel",),
    "chance": ("chance_rel",),
}
"""Name at W&B -> the columns of summary.json whose mean it is."""
HEADLINE = SCORES | {"area_error": ("area_error",)}
"""Of explanation 1, under `headline/`; `carries`, of all explanations, is there too."""
EXPLANATION = SCORES | {"carries": ("carries",), "remaining": ("remaining_hard_mean_rel",)}
"""Of the k-th explanation, under `explanation_<k>/`."""
RUN = ("seconds_per_image", "passes_per_image", "images", "failures")
"""Keys of summary.json that stand under `run/`."""
EVALUATION = (
    *("insertion_auc", "deletion_auc", "pointing_game", "road", "average_drop", "energy_pointing_game"),
    *("relevance_mass", "sparseness", "max_sensitivity"),
)
"""The metrics that may stand under `evaluation/`, the most telling ones first."""
MOST_METRICS = 4
"""So many of EVALUATION are shown: the first that were measured."""
AUDIT = ("share_of_object", "concentrated", "no_claim")
"""What stands under `audit/`: the part of the class's probability that the object alone brings, and the shares of the
images whose evidence is concentrated, and of which nothing is claimed."""
AGAINST_AREA, LOSS, EVOLUTION = "charts/against_area", "charts/loss", "charts/evolution"
GALLERY, FAILURES = "tables/gallery", "tables/failures"
HISTOGRAMS = ("preservation_hard_mean", "deletion_hard_mean", "chance", "area_error", "p_full")
"""Columns of explanation 1 whose values of all images are a histogram, `histograms/<column>`."""
SWEEP_TABLE, SWEEP_PARALLEL, SWEEP_BARS = "sweep/table", "sweep/parallel", "sweep/bars"
AXES = ("images_done", "steps_done")
UNSUMMED = ("histograms/", "charts/evolution")
"""Keys that begin so are in the history alone, not in the summary."""


def summary_keys(summary: Mapping[str, Any], sweep_metric: str | None = None) -> dict[str, float]:
    """Returns W&B's summary of a run: name -> value, for the values that are there and finite.

    Args:
        summary: the content of summary.json.
        sweep_metric: the key of it that stands at W&B under its own name as well.

    >>> keys = summary_keys({"p_full/k1": 0.9, "chance_rel/k1": 0.25, "carries/k1": 0.5, "images": 4}, "images")
    >>> [name for name in keys if name.startswith("headline/")], keys["images"]
    (['headline/chance', 'headline/carries'], 4)
    """
    values = {f"headline/{name}": _mean(summary, columns, 1) for name, columns in HEADLINE.items()}
    values["headline/carries"] = _carries(summary)
    for k in explanations(summary):
        values |= {f"explanation_{k}/{name}": _mean(summary, columns, k) for name, columns in EXPLANATION.items()}
    values |= {f"run/{name}": summary.get(name) for name in RUN}
    if sweep_metric is not None:
        values[sweep_metric] = summary.get(sweep_metric)
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def explanations(summary: Mapping[str, Any]) -> list[int]:
    """Returns the numbers of the explanations that at least one image has, from 1."""
    found: list[int] = []
    while f"{P_FULL}/k{len(found) + 1}" in summary:
        found.append(len(found) + 1)
    return found


def _mean(summary: Mapping[str, Any], columns: tuple[str, ...], k: int) -> float | None:
    """Returns the mean of columns of the k-th explanation; None if one of them is missing."""
    values = [summary.get(f"{column}/k{k}") for column in columns]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _carries(summary: Mapping[str, Any]) -> float | None:
    """Returns the share of all explanations that carry more than chance; None if that is unknown."""
    pairs = [(summary.get(f"carries/k{k}"), summary.get(f"images/k{k}", 1)) for k in explanations(summary)]
    known = [(share, images) for share, images in pairs if share is not None]
    return sum(share * images for share, images in known) / sum(n for _, n in known) if known else None
