"""The environment variables of W&B: those that are honoured, and those that W&B must not see."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

HIDDEN = frozenset(
    "WANDB_" + name
    for name in (
        # `WandbSettings.mode` has read it already, and W&B fails if it is empty.
        "MODE",
        # Which run is which is decided by the run folder: one id for all would make many runs one. Those that W&B's
        # sweep agent sets are read by `agent`.
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


@dataclass(frozen=True)
class Agent:
    """What `wandb agent` says to the program that it starts for one run of a sweep of W&B's.

    Args:
        sweep_id, run_id: W&B's names of the sweep, and of the run that it has already made for this job.
        parameters: option -> the value that the sweep has chosen for it.
    """

    sweep_id: str
    run_id: str
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """What the run is called: its options, as a job of a multirun is.

        >>> Agent("s", "r", {"inr.gain": 3.14159, "steps": 50}).name
        'inr.gain=3.142,steps=50'
        """
        texts = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in self.parameters.items()}
        return ",".join(f"{key}={text}" for key, text in texts.items())


def agent() -> Agent | None:
    """Returns what the agent says that has started this program; None if none has.

    An agent sets all three of WANDB_SWEEP_ID, WANDB_RUN_ID and WANDB_SWEEP_PARAM_PATH, so that one of them alone, which
    a shell may have kept, counts for nothing.
    """
    names = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
    sweep_id, run_id, file = (os.environ.get(name, "").strip() for name in names)
    if not (sweep_id and run_id and file):
        return None
    return Agent(sweep_id, run_id, _parameters(file))


def _parameters(file: str) -> dict[str, Any]:
    """Returns what the file of an agent says, in which each option is a mapping with a key `value`; nothing if damaged.

    A run knows its options without it; W&B's server compares the jobs of a sweep by these.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {str(key): entry["value"] for key, entry in entries if isinstance(entry, dict) and "value" in entry}


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
