"""The plumbing of W&B, and the only folder that knows it: offline unless asked, quiet, never in the way of a run."""

from inr_xai.loggers.wandb_run import WandbRun, WandbSettings, open_wandb

__all__ = ["WandbRun", "WandbSettings", "open_wandb"]
