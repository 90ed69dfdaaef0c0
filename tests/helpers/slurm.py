"""A Slurm for tests, if one answers: `bash scripts/slurm_one_node.sh up` starts one on this machine."""

import functools
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.helpers.program import has_plugin

STARTS = "bash scripts/slurm_one_node.sh up starts one"


@functools.cache
def missing() -> str:
    """Returns why no job of Slurm can be tested here; empty if one can."""
    if not has_plugin("hydra_submitit_launcher"):
        return "Hydra's submitit launcher is not installed (extra sweep)"
    try:
        told = subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return f"no sinfo answers; {STARTS}"
    return "" if told.returncode == 0 and told.stdout else f"sinfo names no node; {STARTS}"


@pytest.fixture
def slurm() -> None:
    """Skips a test, with the reason, where there is no Slurm."""
    if reason := missing():
        pytest.skip(reason)


def told_by(*command: str) -> list[str]:
    """Returns the lines that a command of Slurm prints."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split("\n")[:-1]


def eventually(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Waits for a condition, and returns whether it has come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
