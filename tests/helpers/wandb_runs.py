"""A W&B run with something of everything in it, for the tests of W&B."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inr_xai.loggers import WandbRun, WandbSettings, open_wandb
from inr_xai.loggers.pictures import WandbPicture
from tests.helpers.wandb_read import summary

KEY = "0" * 40


def begin(folder: Path, mode: str = "offline", run_id: str = "one", **options: Any) -> WandbRun:
    """Opens a run with a tag and a configuration; `options` are further fields of WandbSettings."""
    settings = WandbSettings(mode=mode, tags=["tag"], **options)
    run = open_wandb(settings, save_dir=folder, run_id=run_id, name="name", config={"inr": {"width": 8}})
    assert run is not None
    return run


def fill(run: WandbRun, figure: Path, first: int = 0) -> None:
    """Logs values of two images on both axes, pictures, a table and a summary."""
    for done in (first, first + 1):
        run.log({"area_error/k1": 0.1 * done}, images_done=done)
        run.log({"loss/total": 2.0 * done}, images_done=done, steps_done=10 * done)
    run.log_images("image/masks", {"a": np.zeros((5, 7, 3), np.uint8), "b": figure}, images_done=first + 1)
    run.log_table("scores", ["sample", "value", "image"], [["x", 1.5, WandbPicture(figure)], ["y", 2.5, None]])
    run.summary({"area_error": 0.25})


def table(folder: Path) -> dict[str, Any]:
    """Returns the table that `fill` logged."""
    path = summary(folder)["summary"]["scores"]["path"]
    return json.loads((folder / "files" / path).read_text())


def own_processes() -> list[int]:
    """Returns the ids of W&B's living processes that this process has started.

    By their names, not by their command lines: where COLUMNS is set, `ps` cuts those.
    """
    command = ["ps", "-e", "-o", "pid=,ppid=,stat=,comm="]
    rows = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    processes = (row.split(None, 3) for row in rows)
    return [
        int(pid)
        for pid, parent, state, name in processes
        if int(parent) == os.getpid() and "wandb-core" in name and not state.startswith("Z")
    ]


def our_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns what loggers of inr_xai have logged."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("inr_xai")]
