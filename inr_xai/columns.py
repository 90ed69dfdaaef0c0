"""The names of all scores, in the order of per_image.csv, and of all metrics.

A new column is named here: the relative columns of the summary and the check of `sweep_metric` follow from it. This
module does not import torch, so that a misspelt name is refused at once.
"""

BASELINES = ("blur", "grey", "noise", "photo")
"""What replaces the pixels that a mask does not keep when it is scored."""
UNSEEN = ("noise", "photo")
"""The scoring baselines that no fit uses, so that no mask can be adapted to them."""
MEAN = "mean"
"""Ends the name of a column that is a mean over the baselines."""
GEOMETRY = ("area_error", "grayness", "share_above_half", "rank_violation", "nesting_violation")
GAMES = ("preservation_hard", "preservation_soft", "deletion_hard", "deletion_soft")
GAME_COLUMNS = tuple(f"{game}_{baseline}" for game in GAMES for baseline in (*BASELINES, MEAN))
P_FULL = "p_full"
CHANCE_COLUMNS = (*(f"chance_{baseline}" for baseline in BASELINES), "chance")
UNION_COLUMNS = tuple(f"{game}_{name}" for game in ("union_hard", "remaining_hard") for name in (*BASELINES, MEAN))
"""What an explanation and all earlier ones restore together, and what is left if all of them are removed."""
SCORES = (*GEOMETRY, *GAME_COLUMNS, P_FULL, *CHANCE_COLUMNS, *UNION_COLUMNS, "union_share")
"""Every column of scores of one explanation and area."""
FACTS = ("p_predicted", "right", "carries")
"""Columns of a run's rows that are the same at all areas: the probability of the most likely class, whether that is the
label (1 or 0), and whether the explanation carries more than chance (1 or 0)."""
RELATIVE = (*GAME_COLUMNS, "chance", *UNION_COLUMNS)
"""Columns with a relative column `<column>_rel` in the summary, the ratio of their mean to the mean of p_full."""
SUMMARY_COLUMNS = (*SCORES, *FACTS, *(f"{column}_rel" for column in RELATIVE))
"""Every column of the summary."""
LESS_IS_BETTER = (*GEOMETRY, "deletion_hard", "deletion_soft", "remaining_hard")
"""Columns whose names begin like this are better if they are lower."""

METRICS = (
    "area_error",
    "rank_violation",
    "grayness",
    "nesting_violation",
    "hallucination",
    "random_fidelity",
    "insertion_auc",
    "deletion_auc",
    "pixel_flipping",
    "average_drop",
    "average_increase",
    "average_gain",
    "road",
    "infidelity",
    "faithfulness_correlation",
    "single_deletion",
    "sic",
    "aic",
    "sparseness",
    "complexity",
    "pointing_game",
    "pointing_game_of_masks",
    "energy_pointing_game",
    "relevance_mass",
    "relevance_rank",
    "iou_matched",
    "iou",
    "precision",
    "recall",
    "max_sensitivity",
    "mprt",
    "efficient_mprt",
    "random_logit",
)
"""The metrics of finished explanations (`inr_xai.evaluate`), as the option `evaluate` and --metrics name them."""

METRICS_OF_PROBABILITIES = ("average_drop", "average_increase", "average_gain")
"""The metrics that are shares of a probability, and of no other score."""
METRICS_THAT_REFIT = ("max_sensitivity", "mprt", "efficient_mprt", "random_logit")
"""The metrics that explain changed images, other classes or randomised models, so they are computed only if named."""


def less_is_better(column: str) -> bool:
    """Returns whether the lowest value of a column is the best.

    >>> less_is_better("deletion_hard_mean_rel"), less_is_better("preservation_hard_mean")
    (True, False)
    """
    return column.startswith(LESS_IS_BETTER)
