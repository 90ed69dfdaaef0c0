"""Logging to W&B, which only this folder imports: offline unless asked, quiet, and never in the way of a run.

`open_wandb` and `WandbRun` are loaded when they are asked for: a run without W&B does without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from inr_xai.loggers.settings import WandbSettings

if TYPE_CHECKING:
    from inr_xai.loggers.opening import open_wandb
    from inr_xai.loggers.wandb_run import WandbRun

__all__ = ["WandbRun", "WandbSettings", "open_wandb"]
HOMES = {"open_wandb": "opening", "WandbRun": "wandb_run"}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
