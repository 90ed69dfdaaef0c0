"""Fixtures of all tests: one thread per process, no W&B files in the user's home, a tiny classifier, real photos."""

import functools
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# These come before our own modules: while jaxtyping's import hook is at work, Python finds no compiled files of other
# packages, so that importing them takes much longer.
import lightning  # noqa: F401
import matplotlib.figure  # noqa: F401
import pytest
import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.data import Synthetic
from inr_xai.data.scenes.scene import Scenes
from inr_xai.types import Preprocessing
from tests.helpers.program import command_line, program  # noqa: F401

SIDE = 24


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Limits torch to one thread, here and in programs that tests start: with two workers, more wait for each other."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_counts() -> None:
    """Lets Ctrl-C be what it is at a terminal: a shell that starts the tests in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def scenes_drawn_once() -> Iterator[None]:
    """Remembers the scenes of the synthetic set: every run draws the same 64 as donors of pixels."""
    scenes: dict[tuple[object, ...], Scenes] = {}
    draw = Synthetic._draw

    @functools.wraps(draw)
    def remembered(data: Synthetic, sample_id: str, kind: int) -> Scenes:
        key = (data._seed, data._image_size, data._with_object, data._with_texture, sample_id, kind)
        if key not in scenes:
            scenes[key] = draw(data, sample_id, kind)
        return Scenes(scenes[key].images.clone(), scenes[key].coverage.clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Synthetic, "_draw", remembered)
        yield


@pytest.fixture(autouse=True)
def levels_as_before() -> Iterator[None]:
    """Takes back what a program sets, which expects to have the process for itself."""
    level = logging.getLogger("inr_xai").level
    yield
    logging.getLogger("inr_xai").setLevel(level)


@pytest.fixture(autouse=True)
def wandb_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps tests from the user's W&B login and home."""
    base = tmp_path_factory.getbasetemp() / "wandb_home"
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(base / name.lower()))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with photos and a classifier of ImageNet, which the environment variable INR_XAI_DATA names."""
    root = os.environ.get("INR_XAI_DATA")
    if root is None:
        pytest.skip("INR_XAI_DATA is not set: no folder with imagenet-samples and a classifier")
    return Path(root)


def tiny_network(classes: int = 5) -> nn.Module:
    """Returns a small random CNN whose probabilities differ between classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(72, classes),
        )
        with torch.no_grad():
            network[-1].weight.mul_(6)
    return network


@pytest.fixture
def tiny() -> FrozenClassifier:
    return tiny_classifier()


def tiny_classifier() -> FrozenClassifier:
    """Returns a classifier of 24 x 24 images with 5 classes."""
    preprocessing = Preprocessing((SIDE, SIDE), SIDE, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return FrozenClassifier(tiny_network(), preprocessing=preprocessing)


def pictures(count: int, side: int = SIDE, seed: int = 0) -> torch.Tensor:
    """Returns different smooth random images, values in [0, 1]."""
    noise = torch.rand(count, 3, side // 4, side // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(side, side), mode="bilinear")
