"""Launchers: their files suit their plug-ins, what cannot work is refused, and a job asked to stop blames no image."""

import contextlib
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from inr_xai.config import hydra_nodes, launchers, register
from inr_xai.config.hydra_nodes import hydra_nodes_checked
from inr_xai.config.launchers import (
    check_launcher,
    check_slurm,
    lost_jobs_told,
    refusal_of_slurm,
    register_launchers,
    requeue_orderly,
)
from inr_xai.config.programs import Interruption
from inr_xai.errors import RunFault, UserError
from tests.helpers.program import Program, needs_joblib, needs_submitit, status
from tests.helpers.runs import ROOT


def test_the_launchers_are_there() -> None:
    files = {file.stem for file in (ROOT / "conf" / "hydra" / "launcher").glob("*.yaml")}
    assert files == {"local", "local_submitit", "slurm"} == set(launchers.FILES.values())


def launcher_of(name: str) -> dict[str, Any]:
    """Returns what Hydra composes for a launcher."""
    register()
    GlobalHydra.instance().clear()
    with hydra_nodes_checked(), initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=[f"hydra/launcher={name}"], return_hydra_config=True)
    node = OmegaConf.to_container(cfg.hydra.launcher, resolve=False)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


@needs_joblib
@needs_submitit
@pytest.mark.parametrize(("plugin", "ours"), launchers.FILES.items())
def test_a_plug_in_s_own_name_means_the_same(plugin: str, ours: str) -> None:
    file = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/hydra/launcher" / f"{ours}.yaml"), resolve=False)
    assert isinstance(file, dict)
    values = {key: value for key, value in file.items() if key != "defaults"}
    node = launcher_of(plugin)
    assert node == launcher_of(ours)
    assert values == {key: node[key] for key in values}


@needs_joblib
def test_a_key_that_a_plug_in_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Plugins.instance()
    stored = ConfigStore.instance().repo["hydra"]["launcher"]
    older = OmegaConf.create({"_target_": "older", "n_jobs": 7})
    OmegaConf.set_struct(older, True)
    monkeypatch.setitem(stored, "joblib.yaml", ConfigNode("joblib.yaml", older, "hydra/launcher", None, None))
    register_launchers()
    assert older == {"_target_": "older", "n_jobs": 0}


@pytest.mark.slow
def test_single_runs_read_no_file_of_a_launcher(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(hydra_nodes, "register_launchers", lambda: asked.append(True))
    assert program("dry_run=true") == 0
    assert asked == []
    assert program("-m", "seed=0,1", "dry_run=true") == 0
    assert asked == [True]


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize(("name", "plugin"), [("local", "joblib"), ("slurm", "submitit_slurm")])
def test_a_missing_plug_in_is_named_with_the_command(
    name: str, plugin: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Plugins.instance()  # which puts the plug-ins into the store
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{plugin}.yaml", raising=False)
    assert status("-m", f"hydra/launcher={name}", "seed=0,1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: hydra/launcher={plugin} is not one of the choices of hydra/launcher: ")
    assert "; others come with pip install 'inr-xai[sweep]'" in line


@needs_submitit
@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "timeout_min=abc",
            "hydra.launcher.timeout_min=abc: Value 'abc' of type 'str' could not be converted to Integer",
        ),
        ("gpus_per_task=-1", "hydra.launcher.gpus_per_task=-1 is out of range; it must be at least 0"),
        (
            "timeout_min=3",
            "hydra.launcher.timeout_min=3 leaves a job no time, since Slurm asks it to stop up to 180 s before "
            "(hydra.launcher.signal_delay_s=120); give hydra.launcher.timeout_min=4 or more",
        ),
    ],
)
@pytest.mark.slow
def test_values_that_cannot_work_are_refused(option: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("-m", "seed=0,1", "hydra/launcher=slurm", f"hydra.launcher.{option}") == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_short_limit_goes_with_a_short_delay() -> None:
    check_launcher({"_target_": launchers.SLURM, "timeout_min": 2, "signal_delay_s": 30})
    check_launcher({"_target_": launchers.SLURM, "timeout_min": 4, "signal_delay_s": 120})
    with pytest.raises(UserError, match="n_jobs=-2 is out of range"):
        check_launcher({"n_jobs": -2})


@needs_submitit
@pytest.mark.parametrize("name", ["slurm", "submitit_slurm"])
def test_slurm_is_asked_for_where_it_is(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("-m", "shards=2", f"hydra/launcher={name}", "out=here") == 2
    assert capsys.readouterr().err.startswith(f"error: hydra/launcher={name} needs Slurm's sbatch and srun")
    assert not (tmp_path / "here").exists()


def test_jobs_that_no_node_could_start_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sbatch", "srun", "sinfo"):
        script = '#!/bin/sh\n[ "$5" = --partition -o -n "$SINFO_PARTITION" ] && echo 4 || printf "2\\n16\\n"\n'
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SINFO_PARTITION", "small")  # which sbatch does not read
    node = {"_target_": launchers.SLURM, "cpus_per_task": 16}
    check_slurm(node, "slurm")
    check_slurm(node | {"cpus_per_task": 32, "additional_parameters": {"clusters": "other"}}, "slurm")
    check_slurm(node | {"cpus_per_task": None}, "slurm")
    for partition, most in ((None, 16), ("small", 4)):
        with pytest.raises(UserError) as refused:
            check_slurm(node | {"cpus_per_task": 32, "partition": partition}, "slurm")
        assert str(refused.value) == (
            "hydra.launcher.cpus_per_task=32 is more than a node of Slurm has, and the jobs would wait without end; "
            f"give hydra.launcher.cpus_per_task={most} or fewer"
        )
    with monkeypatch.context() as patch:
        patch.setenv("SBATCH_CLUSTERS", "other")
        check_slurm(node | {"cpus_per_task": 32}, "slurm")
    (tmp_path / "sinfo").write_text("#!/bin/sh\nexit 1\n")
    check_slurm(node | {"cpus_per_task": 32}, "slurm")


@needs_joblib
@pytest.mark.parametrize(
    ("name", "options", "gpus", "jobs"),
    [
        ("local", [], 3, 3),
        ("joblib", [], 3, 3),
        ("local", ["trainer.accelerator=cpu"], 3, 1),
        ("local", [], 0, 1),
        ("joblib", [], 0, 1),
    ],
)
@pytest.mark.slow
def test_joblib_does_as_many_jobs_at_once_as_there_are_gpus(
    program: Program, monkeypatch: pytest.MonkeyPatch, name: str, options: list[str], gpus: int, jobs: int
) -> None:
    started: list[tuple[int, str]] = []

    def launch(launcher: Any, job_overrides: Any, initial_job_idx: int) -> list[Any]:
        started.append((launcher.joblib["n_jobs"], os.environ["INR_XAI_GPUS"]))
        return []

    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(launchers, "cores", lambda: 4)
    monkeypatch.setattr(import_module("hydra_plugins.hydra_joblib_launcher._core"), "launch", launch)
    assert program("-m", "shards=1", f"hydra/launcher={name}", "threads=4", "out=here", *options) == 0
    assert started == [(jobs, "0,1,2" if jobs == 3 else "")]
    assert "INR_XAI_GPUS" not in os.environ


class Handler:
    """Stands for submitit's handler of a signal."""

    def __init__(self, act: Callable[[], None]):
        self.act = act

    def checkpoint_and_try_requeue(self, number: int, frame: types.FrameType | None) -> None:
        self.act()


Handler.__module__ = "submitit.core.job_environment"


@pytest.fixture
def asked() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Lets the process have a handler as under submitit, which does as a test says."""
    before = signal.getsignal(signal.SIGUSR2)
    yield lambda act: signal.signal(signal.SIGUSR2, Handler(act).checkpoint_and_try_requeue) and None  # type: ignore[func-returns-value]
    signal.signal(signal.SIGUSR2, before)


def test_a_job_that_is_started_again_notes_it_first_and_ends(asked: Any) -> None:
    order: list[str] = []
    asked(lambda: (order.append("requeued"), sys.exit(-1)))

    def work() -> None:
        with requeue_orderly(lambda: order.append("noted")), contextlib.suppress(Exception):  # as around an image
            signal.raise_signal(signal.SIGUSR2)
        order.append("an image was blamed")

    with pytest.raises(SystemExit):
        work()
    assert order == ["noted", "requeued"]


def test_a_job_that_is_not_started_again_blames_no_image(asked: Any) -> None:
    def refuse() -> None:
        raise RuntimeError("Job not requeued because: timed-out too many times.")

    asked(refuse)

    def work() -> None:
        with requeue_orderly(lambda: None), contextlib.suppress(Exception):  # as around an image
            signal.raise_signal(signal.SIGUSR2)

    with pytest.raises(RunFault, match=r"not started again \(Job not requeued because: timed-out too many times\.\)"):
        work()
    assert isinstance(getattr(signal.getsignal(signal.SIGUSR2), "__self__", None), Handler)


def test_a_note_that_cannot_be_written_keeps_no_job_from_going_on(asked: Any) -> None:
    asked(lambda: sys.exit(-1))
    with pytest.raises(SystemExit), requeue_orderly(lambda: 1 / 0):
        signal.raise_signal(signal.SIGUSR2)


def test_other_handlers_and_interruptions_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGUSR2)

    def work() -> None:
        with requeue_orderly(lambda: None):
            assert signal.getsignal(signal.SIGUSR2) is before
            raise Interruption(signal.SIGTERM)

    with pytest.raises(Interruption):
        work()


@needs_submitit
def test_a_job_without_a_result_has_failed_and_the_others_are_waited_for(tmp_path: Path) -> None:
    from submitit.core.core import Job
    from submitit.core.utils import UncompletedJobError

    class Lost(Job[Any]):
        def wait(self) -> None:
            raise UncompletedJobError("no output")

        @property
        def state(self) -> str:
            return "OUT_OF_MEMORY"

    results = Job.results
    with lost_jobs_told("the same command continues"):
        (lost,) = Lost(tmp_path, "12_3").results()
        with pytest.raises(
            RunFault, match=r"job 12_3 has ended without a result \(state OUT_OF_MEMORY\), and its output"
        ):
            _ = lost.return_value
    assert Job.results is results


def test_what_slurm_says_is_a_refusal() -> None:
    class FailedJobError(RuntimeError):
        pass

    text = (
        "sbatch: error: invalid partition specified: no\nsbatch: error: Batch job submission failed: Invalid partition"
    )
    refused = refusal_of_slurm(FailedJobError(text))
    assert str(refused).startswith(
        "Slurm does not take the jobs (invalid partition specified: no; Batch job submission"
    )
    error = ValueError("sbatch: error: no")
    assert refusal_of_slurm(error) is error
