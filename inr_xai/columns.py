"""The names of all scores, in the order of per_image.csv; free of torch, so that a misspelt one is refused quickly.

Whoever adds a column names it here: the summary's relative columns and the refusal of a misspelt `sweep_metric` follow.
"""

BASELINES = ("blur", "grey", "noise", "photo")
"""What replaces the pixels that a mask does not keep, while it is scored."""
UNSEEN = ("noise", "photo")
"""The scoring baselines that no fit uses, so that a mask cannot have drawn the class against them."""
MEAN = "mean"
"""Stands in a column's name for the mean over the baselines."""
GEOMETRY = ("area_error", "grayness", "share_above_half", "rank_violation", "nesting_violation")
GAMES = ("preservation_hard", "preservation_soft", "deletion_hard", "deletion_soft")
PLAYED = tuple(f"{game}_{baseline}" for game in GAMES for baseline in (*BASELINES, MEAN))
WHOLE = "p_full"
CHANCES = (*(f"chance_{baseline}" for baseline in BASELINES), "chance")
TOGETHER = tuple(f"{game}_{name}" for game in ("union_hard", "remaining_hard") for name in (*BASELINES, MEAN))
"""What an explanation and all earlier ones restore together, and what is left without all of them."""
SCORES = (*GEOMETRY, *PLAYED, WHOLE, *CHANCES, *TOGETHER, "union_share")
"""Every column of scores of one explanation and area."""
RELATIVE = (*PLAYED, "chance", *TOGETHER)
"""Columns that have a relative column `<column>_rel` in the summary: a ratio of means to p_full."""
SUMMARISED = (*SCORES, *(f"{column}_rel" for column in RELATIVE))
"""Every column of the summary."""
LESS_IS_BETTER = (*GEOMETRY, "deletion_hard", "deletion_soft", "remaining_hard")
"""Beginnings of the names of columns of which less is better."""

METRICS = (
    "area_error",
    "rank_violation",
    "grayness",
    "nesting_violation",
    "insertion_auc",
    "deletion_auc",
    "average_drop",
    "average_increase",
    "average_gain",
    "road",
    "infidelity",
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
"""The metrics of finished explanations (`inr_xai.evaluate.evaluate_run`), as the option `evaluate` and --metrics name them."""


def less_is_better(column: str) -> bool:
    """Whether the best of several values of a column is the smallest.

    >>> less_is_better("deletion_hard_mean_rel"), less_is_better("preservation_hard_mean")
    (True, False)
    """
    return column.startswith(LESS_IS_BETTER)
