"""A W&B session of its own for each test that asks for it, and a server to talk to."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import wandb
from PIL import Image

from tests.helpers.wandb_double import Double, serve
from tests.helpers.wandb_runs import KEY


@pytest.fixture
def fresh_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes W&B, which reads its environment once per process, read that of each test. Nobody is logged in."""
    wandb.teardown()
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    wandb.teardown()


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    with serve() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


@pytest.fixture
def figure(tmp_path: Path) -> Path:
    path = tmp_path / "figure.png"
    Image.fromarray(np.full((5, 7, 3), 200, np.uint8)).save(path)
    return path
