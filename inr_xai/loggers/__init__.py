"""Logging to W&B, which only this folder imports: offline unless asked, quiet, and never in the way of a run."""

from inr_xai.loggers.wandb_run import WandbRun, WandbSettings, open_wandb

__all__ = ["WandbRun", "WandbSettings", "open_wandb"]
