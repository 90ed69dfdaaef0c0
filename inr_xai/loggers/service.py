"""W&B's own process, `wandb-core`: how it is started, quietly, and how it is left behind if it hangs or is gone."""

import atexit
import contextlib
import os
import tempfile
from functools import cache
from pathlib import Path

from inr_xai.loggers import environment
from inr_xai.loggers.background import Background

LEAVE_SECONDS = 5.0
"""So long, in seconds, W&B's process may take to end."""
FOLDERS = ("WANDB_CACHE_DIR", "WANDB_DATA_DIR")
"""Where W&B's process writes its logs and stages files; without them it prints its logs."""


def set_up() -> dict[str, str]:
    """Loads W&B, silenced; it reads its environment here, once per process.

    Returns:
        The environment variables that W&B refuses, which it goes without: name -> reason.
    """
    # W&B's analytics would be sent from offline runs too, and hold up the end of the process if no server answers.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    with environment.hidden():
        import wandb

        refused = environment.unreadable()
        _find_folders()
    with environment.hidden(*refused):
        wandb.setup(wandb.Settings(silent=True))
    return refused


def leave() -> None:
    """Ends W&B's process within LEAVE_SECONDS, so that the next run has a new one; for use after a failure."""
    Background(_ignore).close(seconds=LEAVE_SECONDS, last=_tear_down)


def leave_at_exit() -> None:
    """Ends W&B's process within LEAVE_SECONDS when this process ends, before W&B waits for it as long as it takes."""
    atexit.unregister(_prepared().close_at_exit)
    atexit.register(_prepared().close_at_exit)  # what is registered last is called first


class _Leaving:
    """A thread that waits for the end of this process: at that time, Python starts no new ones."""

    def __init__(self) -> None:
        self._background = Background(_ignore)

    def close_at_exit(self) -> None:
        self._background.close(seconds=LEAVE_SECONDS, last=_tear_down)


@cache
def _prepared() -> _Leaving:
    return _Leaving()


def _tear_down() -> None:
    """Ends W&B's process, unless the caller's own program has a run open in it."""
    import wandb

    if wandb.run is None:
        with contextlib.suppress(SystemExit):  # W&B would end this process if its own has failed
            wandb.teardown()


def _ignore(error: Exception) -> None:
    """W&B's process is gone already: the run has said so."""


def _find_folders() -> None:
    """Gives W&B a temporary folder in place of each of its own that cannot be written to, such as those of no home."""
    from wandb import env

    for name, folder in zip(FOLDERS, (str(env.get_cache_dir()), env.get_data_dir()), strict=True):
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            usable = os.access(folder, os.W_OK | os.X_OK) and ("HOME" in os.environ or name in os.environ)
        except OSError:
            usable = False
        if not usable:
            os.environ[name] = tempfile.mkdtemp(prefix="inr_xai-wandb-")
