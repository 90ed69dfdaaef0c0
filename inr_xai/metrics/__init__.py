"""Metrics of masks: pure functions, the scores of a batch, their summary, and thin torchmetrics classes."""

from inr_xai.metrics.baselines import scoring_baselines
from inr_xai.metrics.bootstrap import Interval, mean_interval, paired_difference, ratio_of_means, sign_flip_p_value
from inr_xai.metrics.games import DeletionRatio, PreservationRatio
from inr_xai.metrics.masks import (
    AreaError,
    Grayness,
    NestingViolation,
    RankViolation,
    area_error,
    grayness,
    hard_masks,
    nesting_violation,
    overlap,
    rank_violation,
    share_above_half,
)
from inr_xai.metrics.scores import Scores, score_masks
from inr_xai.metrics.shape import Components, Perimeter, components, perimeter
from inr_xai.metrics.stability import SeedStability, mask_iou
from inr_xai.metrics.summary import format_table, summarise

__all__ = [
    "AreaError",
    "Components",
    "DeletionRatio",
    "Grayness",
    "Interval",
    "NestingViolation",
    "Perimeter",
    "PreservationRatio",
    "RankViolation",
    "Scores",
    "SeedStability",
    "area_error",
    "components",
    "format_table",
    "grayness",
    "hard_masks",
    "mask_iou",
    "mean_interval",
    "nesting_violation",
    "overlap",
    "paired_difference",
    "perimeter",
    "rank_violation",
    "ratio_of_means",
    "score_masks",
    "scoring_baselines",
    "share_above_half",
    "sign_flip_p_value",
    "summarise",
]
