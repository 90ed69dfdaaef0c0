"""The run's own score table: what masked copies score, beside chance and the masks' geometry, and its means."""

from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.scores import Scores, score_masks
from inr_xai.scoring.summary import format_table, summarise

__all__ = ["Scores", "format_table", "score_masks", "scoring_baselines", "summarise"]
