"""The environment variables of W&B: those that are honoured, and those that W&B must not see."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

HIDDEN = frozenset(
    "WANDB_" + name
    for name in (
        # `WandbSettings.mode` has read it already, and W&B fails if it is empty.
        "MODE",
        # Which run is which is decided by the run folder: one id for all would make many runs one.
        *("RUN_ID", "RESUME", "RESUME_FROM", "FORK_FROM", "RUN_GROUP", "CONFIG", "SWEEP_ID", "SWEEP_PARAM_PATH"),
        *("LAUNCH", "LAUNCH_CONFIG_PATH"),
        # Read here: the folder of the files, and what the run is called.
        *("DIR", "NAME", "TAGS", "JOB_TYPE"),
        # W&B prints nothing in this process; in that of the upload, what it prints is read.
        *("CONSOLE", "SILENT", "QUIET", "SHOW_COLORS", "SHOW_EMOJI", "SHOW_ERRORS", "SHOW_INFO", "SHOW_WARNINGS"),
        # They would change what an offline run writes, or stop the process.
        *("_SKIP_TRANSACTION_LOG", "_SYNC", "_PRIMARY", "_FILES_DIR", "STRICT", "STOP_ON_FATAL_ERROR", "SYMLINK"),
        # A service of another process ends when that one does.
        "SERVICE",
    )
)


ONLINE = ("WANDB_IDENTITY_TOKEN_FILE",)
"""Variables for the upload alone: without the file, W&B's process ends even if its run is offline."""


def name_or(default: str) -> str:
    """Returns what WANDB_NAME calls the run; `default` if it is not set."""
    return os.environ.get("WANDB_NAME", "").strip() or default


def job_type_or(default: str) -> str:
    """Returns WANDB_JOB_TYPE; `default` if it is not set."""
    return os.environ.get("WANDB_JOB_TYPE", "").strip() or default


def folder_or(default: str) -> str:
    """Returns the folder in which W&B makes its own, `wandb`: WANDB_DIR, or `default` if it is not set."""
    return os.environ.get("WANDB_DIR", "").strip() or default


def tags() -> list[str]:
    """Returns the tags of WANDB_TAGS, which are separated by commas."""
    return os.environ.get("WANDB_TAGS", "").split(",")


def unreadable() -> dict[str, str]:
    """Returns the variables whose values W&B refuses, though it would take every other value: name -> reason."""
    import wandb

    refused = {}
    for name, value in os.environ.items():
        if name.startswith("WANDB_") and name not in HIDDEN:
            try:
                wandb.Settings().update_from_env_vars({name: value})
            except Exception as error:
                refused[name] = str(error)
    return refused


def visible(environment: Mapping[str, str], *more: str) -> dict[str, str]:
    """Returns an environment without HIDDEN and without `more`."""
    return {name: value for name, value in environment.items() if name not in HIDDEN and name not in more}


@contextmanager
def hidden(*more: str) -> Iterator[None]:
    """Takes HIDDEN, ONLINE and `more` out of the environment of this process for a while."""
    kept = {name: os.environ.pop(name) for name in (*HIDDEN, *ONLINE, *more) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
