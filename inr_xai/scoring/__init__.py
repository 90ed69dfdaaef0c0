"""The score table of a run: probabilities of masked copies, chance, the geometry of the masks, and means of all."""

from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.scores import ExplanationScores, score_masks
from inr_xai.scoring.summary import format_table, summarise

__all__ = ["ExplanationScores", "format_table", "score_masks", "scoring_baselines", "summarise"]
