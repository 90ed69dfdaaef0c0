"""Metrics of masks: pure functions, the scores of a batch, their summary, and thin torchmetrics classes."""

from inr_xai.metrics.baselines import scoring_baselines
from inr_xai.metrics.classes import (
    AreaError,
    DeletionRatio,
    Grayness,
    NestingViolation,
    PreservationRatio,
    RankViolation,
)
from inr_xai.metrics.masks import (
    area_error,
    grayness,
    hard_masks,
    nesting_violation,
    overlap,
    rank_violation,
    share_above_half,
)
from inr_xai.metrics.scores import Scores, score_masks
from inr_xai.metrics.summary import format_table, summarise

__all__ = [
    "AreaError",
    "DeletionRatio",
    "Grayness",
    "NestingViolation",
    "PreservationRatio",
    "RankViolation",
    "Scores",
    "area_error",
    "format_table",
    "grayness",
    "hard_masks",
    "nesting_violation",
    "overlap",
    "rank_violation",
    "score_masks",
    "scoring_baselines",
    "share_above_half",
    "summarise",
]
