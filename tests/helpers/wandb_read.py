"""Reads W&B's offline files back through W&B's own `wandb leet inspect`; a run must have ended before it is read."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

WANDB = [sys.executable, "-m", "wandb"]


def parts(save_dir: Path) -> list[Path]:
    """Returns the folders of the runs below `save_dir`, in the order in which they were begun."""
    return sorted((save_dir / "wandb").glob("offline-run-*"))


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Returns the records of a type, such as "history", "metric" or "run"."""
    lines = [json.loads(line) for line in _inspect(folder).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def history(folder: Path) -> list[dict[str, Any]]:
    """Returns the logged lines without W&B's own keys; nested keys are joined by dots."""
    items = [record["item"] for record in records(folder, "history")]
    return [{key: value for key, value in item.items() if not key.startswith("_")} for item in items]


def summary(folder: Path) -> dict[str, Any]:
    """Returns a run's name, project, configuration, final values and state."""
    return json.loads(_inspect(folder, "--summary"))


def table(folder: Path, key: str) -> dict[str, Any]:
    """Returns the content of a table: its columns and its rows, in which media are objects with paths."""
    files = next(artifact_files(item) for item in reversed(records(folder, "artifact")) if _is_of(item, key))
    return json.loads(files[f"{key}.table.json"].read_text())


def artifact_files(artifact: dict[str, Any]) -> dict[str, Path]:
    """Returns name -> the file on the disk that will be uploaded, for an artifact of a run's records."""
    contents = artifact["manifest"]["contents"]
    return {entry["path"]: Path(entry["local_path"]) for entry in contents if "local_path" in entry}


def _is_of(artifact: dict[str, Any], key: str) -> bool:
    return any(entry["path"] == f"{key}.table.json" for entry in artifact["manifest"]["contents"])


@cache
def _inspect(folder: Path, *options: str) -> str:
    command = [*WANDB, "leet", "inspect", *options, "--json", str(folder)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
