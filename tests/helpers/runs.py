"""Helpers of tests of whole runs: tiny configurations, runs in this process or in another one, and their folders."""

import copy
import csv
import functools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn

from inr_xai.callbacks import RunCallback
from inr_xai.classifier.options import IMAGENET_MEAN, IMAGENET_STD
from inr_xai.config import register
from inr_xai.data import Synthetic
from inr_xai.pipeline import RunOutcome, run
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Preprocessing
from tests.conftest import tiny_network

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "from inr_xai.cli import main; main()"
CLASSES = 8
FACTS = {
    "config": {"data": {}, "classifier": {}, "sweep_metric": ""},
    "scoring_pool": [],
    "donor_pool": [],
    "wandb_id": "",
}
"""The least that run.json holds."""
SHORT = ["steps=2", "areas=[0.1,0.3]", "logger=none", "report=false", "trainer.accelerator=cpu", "data.size=3"]
TINY = [
    "allow_targets=[tests]",
    "classifier=custom",
    "classifier.model._target_=tests.helpers.runs.network",
    "classifier.input_size=24",
    "classifier.resize=24",
    "callbacks.figures=null",
    *SHORT,
]
FOLDER = ["data=image_folder", *TINY[:-1]]


def network() -> nn.Sequential:
    """Returns a small random classifier of the synthetic set's classes, for inputs of 24 x 24."""
    module = tiny_network(CLASSES)
    assert isinstance(module, nn.Sequential)
    return module


class Picky(nn.Module):
    """The classifier of `network`, but without finite logits for one image of the synthetic set."""

    def __init__(self, image: str) -> None:
        super().__init__()
        self.network = network()
        mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        preprocessing = Preprocessing((24, 24), 24, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
        self.image = (Synthetic().load(image, preprocessing).image - mean) / std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        is_image = (images - self.image).abs().amax((1, 2, 3)) < 1e-4
        return self.network(images).masked_fill(is_image[:, None], torch.nan)


def certain() -> nn.Module:
    """Returns the classifier of `network`, so sure of class 0 that in single precision all others have p = 0."""
    module = network()
    with torch.no_grad():
        list(module.parameters())[-1][0] = 1000.0  # the bias of the last layer
    return module


class Slow(RunCallback):
    """A callback that gives a test the time to kill the run between two images."""

    def on_sample(self, record: SampleRecord, image: torch.Tensor) -> None:
        if self.state.images_done:
            time.sleep(60)


class Waits(RunCallback):
    """A callback that says by a file that a fit is going on, and keeps it there until another file is made."""

    def on_train_batch_end(self, *_: object) -> None:
        Path("fitting").touch()
        while not Path("go").exists():
            time.sleep(0.05)


class Killed(RunCallback):
    """A callback that kills its own process, as the system does if the memory is used up."""

    def on_sample(self, record: SampleRecord, image: torch.Tensor) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def configured(*overrides: str) -> DictConfig:
    """Composes the project's own configuration with overrides, and does not check it."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides))


configured_once = functools.cache(configured)
"""Composes a configuration once for all tests, which may not change it."""


@functools.cache
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def _sets_value(override: Override) -> bool:
    """Returns whether an override sets a value of the configuration, and does not choose a file of a group."""
    choice = override.package is not None or (ROOT / "conf" / override.key_or_group).is_dir()
    return override.type is OverrideType.CHANGE and not choice


def configured_fast(*overrides: str) -> DictConfig:
    """Returns what `configured` returns, but composes files once for all tests and only sets values as Hydra does."""
    parsed = [_parsed(override) for override in overrides]
    choices = [str(override.input_line) for override in parsed if not _sets_value(override)]
    cfg = copy.deepcopy(configured_once(*choices))
    for override in filter(_sets_value, parsed):
        OmegaConf.update(cfg, override.key_or_group, override.value())
    return cfg


def explain(out: Path, *overrides: str, base: list[str] = TINY) -> RunOutcome:
    """Does a run in this process."""
    cfg = configured_fast(*base, *overrides)
    cfg.out = str(out)
    return run(cfg)


def command(*arguments: str, program: str = PROGRAM) -> list[str]:
    """Returns the command that starts the program in a process of its own."""
    return [sys.executable, "-c", program, *arguments]


def environment() -> dict[str, str]:
    """Returns the environment of a process: one thread, errors as for a user, and these tests importable."""
    inherited = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def process(*arguments: str, folder: Path, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    """Does a run in a process of its own."""
    return subprocess.run(
        command(*arguments, program=program),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def allowing(program: Callable[[Sequence[str]], int]) -> Callable[[Sequence[str]], int]:
    """Returns the `main` of a verb that is allowed the classifiers of these tests, which stored runs name."""
    return lambda arguments: program([*arguments, "allow_targets=[tests]"])


def table(out: Path, name: str = "per_image.csv") -> list[dict[str, str]]:
    """Reads a CSV of the run folder."""
    with (out / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def masks_of(out: Path) -> dict[str, torch.Tensor]:
    """Returns image id -> stored masks."""
    folder = RunFolder(out)
    return {sample_id: folder.read(sample_id).masks for sample_id in sorted(folder.done())}


def same_masks(first_run: Path, second_run: Path) -> bool:
    """Returns whether two folders hold masks of the same images that are equal to the bit."""
    first, second = masks_of(first_run), masks_of(second_run)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def photos(root: Path, *names: str, side: int = 40) -> Path:
    """Writes different smooth photos below `root`, and returns it."""
    for index, name in enumerate(names):
        small = np.random.default_rng(index).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(file)
    return root


def files_below(out: Path) -> Iterator[str]:
    """Yields the names of the files of a folder."""
    return (file.relative_to(out).as_posix() for file in sorted(out.rglob("*")) if file.is_file())


def messages(records: list[logging.LogRecord], of: str = "inr_xai") -> list[str]:
    """Returns what a logger, and those below it, have logged."""
    return [record.getMessage() for record in records if record.name.startswith(of)]
