"""The program from its command line, in this process: as it is, or with a stand-in for the work of a run."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from inr_xai import cli
from inr_xai.config import check


@dataclass
class Program:
    """The command line with a stand-in for `inr_xai.pipeline.run`.

    Args:
        started: the configurations that it was given.
        act: what it does with each of them.
        failures, unmeasured: what its outcome says.
    """

    started: list[DictConfig] = field(default_factory=list)
    act: Callable[[DictConfig], Any] = lambda cfg: None
    failures: int = 0
    unmeasured: int = 0

    def run(self, cfg: DictConfig) -> SimpleNamespace:
        """Checks the configuration, as the real one does, and does `act`."""
        check(cfg)
        self.started.append(cfg)
        self.act(cfg)
        outcome = {"failures": self.failures, "unmeasured": self.unmeasured, "concluded": True}
        return SimpleNamespace(metric=0.25, folder=Path(cfg.out), **outcome)

    def __call__(self, *arguments: str) -> int:
        return status(*arguments)


def status(*arguments: str) -> int:
    """Returns the exit status of the program with these arguments."""
    sys.argv = ["inr-xai", *arguments]
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def has_plugin(name: str) -> bool:
    """Returns whether a plug-in of Hydra is installed, such as hydra_joblib_launcher."""
    return find_spec("hydra_plugins") is not None and find_spec(f"hydra_plugins.{name}") is not None


needs_joblib = pytest.mark.skipif(
    not has_plugin("hydra_joblib_launcher"), reason="Hydra's joblib launcher is not installed (extra sweep)"
)
needs_optuna = pytest.mark.skipif(
    not has_plugin("hydra_optuna_sweeper"), reason="Hydra's Optuna sweeper is not installed (extra sweep)"
)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Lets the program run any number of times in this process, and leaves nothing behind in it."""
    monkeypatch.setattr(sys, "argv", ["inr-xai"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], root.level = handlers, level
    GlobalHydra.instance().clear()


@pytest.fixture
def program(command_line: None, monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program()
    pipeline = ModuleType("inr_xai.pipeline")
    pipeline.run = program.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "inr_xai.pipeline", pipeline)
    return program
