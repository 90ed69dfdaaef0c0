"""What a run shows while it goes on: callbacks that are called inside its fits, and before and after each image."""

from inr_xai.callbacks.base import RunCallback, RunState
from inr_xai.callbacks.curves import Curves, Evolution
from inr_xai.callbacks.figures import Figures
from inr_xai.callbacks.progress import Progress
from inr_xai.callbacks.scores import Scores

__all__ = ["Curves", "Evolution", "Figures", "Progress", "RunCallback", "RunState", "Scores"]
