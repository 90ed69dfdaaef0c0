"""Logging to W&B, which only this folder imports: offline unless asked, quiet, and never in the way of a run."""

from inr_xai.loggers.opening import open_wandb
from inr_xai.loggers.settings import WandbSettings
from inr_xai.loggers.wandb_run import WandbRun

__all__ = ["WandbRun", "WandbSettings", "open_wandb"]
