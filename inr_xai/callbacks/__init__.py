"""Callbacks of a run; the one folder that knows W&B."""

from inr_xai.callbacks.base import RunCallback, RunState
from inr_xai.callbacks.curves import Curves, Evolution
from inr_xai.callbacks.figures import Figures
from inr_xai.callbacks.progress import Progress
from inr_xai.callbacks.scores import Scores
from inr_xai.callbacks.sweep_table import log_sweep
from inr_xai.callbacks.wandb_run import WandbRun, WandbSettings, open_wandb

__all__ = [
    "Curves",
    "Evolution",
    "Figures",
    "Progress",
    "RunCallback",
    "RunState",
    "Scores",
    "WandbRun",
    "WandbSettings",
    "log_sweep",
    "open_wandb",
]
