"""A tiny finished run, maps of another tool for its images, and the results of an evaluation."""

from pathlib import Path

import numpy as np
import pytest

from inr_xai.evaluate.results import Results
from tests.helpers.runs import TINY, explain

IDS = ["00000-disc", "00001-square"]
"""The images of the run."""


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that explains class 1 of two images, of which only the second shows it."""
    out = tmp_path_factory.mktemp("tiny")
    explain(out, "data.limit=2", "explanations=1", "data.targets=1", base=TINY)
    return out


def results_of(run: Path, name: str = "masks") -> Results:
    return Results(run / "evaluation" / f"{name}.csv")


def maps_of(folder: Path, seed: int, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        np.save(folder / f"{name}.npy", np.random.default_rng(seed + place).random((24, 24)))
    return folder
