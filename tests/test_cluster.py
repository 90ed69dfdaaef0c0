"""Shards of one run in several processes: on this machine, as submitit starts them, and on a Slurm if there is one."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from inr_xai.runs.folder import RunFolder
from tests.helpers.program import needs_joblib, needs_submitit
from tests.helpers.runs import TINY, command, environment, process, table
from tests.helpers.slurm import eventually, slurm, told_by  # noqa: F401

pytestmark = pytest.mark.slow

SMALL = [*TINY, "data.size=4", "explanations=1", "threads=1", "out=o"]
SLURM = [
    "hydra/launcher=slurm",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.timeout_min=10",
]


def assert_one_run(out: Path, *, images: int, shards: int) -> None:
    """Asserts that all shards have explained all images once, in one folder, which is one row of the table."""
    (row,) = table(out, "sweep.csv")
    assert (row["job"], row["images"], row["failures"], row["status"]) == ("0", str(images), "0", "done")
    assert [path.name for path in sorted(out.iterdir()) if path.is_dir() and path.name[0] != "."] == ["0"]
    run = out / "0"
    assert len(RunFolder(run).done()) == images
    rows = Counter(row["sample_id"] for row in table(run))
    assert len(rows) == images
    assert len(set(rows.values())) == 1
    assert {file.name for file in (run / "jobs").iterdir()} == {f"{index}-of-{shards}.json" for index in range(shards)}
    logs = sorted(run.glob("inr_xai*.log"))
    assert [log.name for log in logs] == [f"inr_xai-{index}-of-{shards}.log" for index in range(shards)]
    assert not list(run.glob(".working-*"))


@needs_joblib
def test_processes_of_this_machine_share_a_run(tmp_path: Path) -> None:
    done = process("-m", *SMALL, "shards=2", "hydra/launcher=local", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_one_run(tmp_path / "o", images=4, shards=2)


@needs_submitit
def test_jobs_of_submitit_on_this_machine_share_a_run(tmp_path: Path) -> None:
    done = process("-m", *SMALL, "shards=2", "hydra/launcher=local_submitit", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_one_run(tmp_path / "o", images=4, shards=2)
    assert len(list((tmp_path / "o" / ".submitit").glob("*/*_result.pkl"))) == 2


@pytest.mark.usefixtures("slurm")
def test_jobs_of_slurm_share_a_run(tmp_path: Path) -> None:
    """Under the plug-in's own name of the launcher; the other tests take ours."""
    options = ["steps=2", "explanations=1", "data.size=6", "logger=none", "report=false", "callbacks.figures=null"]
    options += ["trainer.accelerator=cpu", "threads=1", "out=o"]
    done = process("-m", *options, "shards=3", "hydra/launcher=submitit_slurm", *SLURM[1:], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_one_run(tmp_path / "o", images=6, shards=3)
    (script,) = (tmp_path / "o" / ".submitit").glob("*/*_submission.sh")
    assert {"#SBATCH --gpus-per-task=1", "#SBATCH --job-name=demo"} <= set(script.read_text().splitlines())


def jobs(name: str) -> dict[str, tuple[str, str]]:
    """Returns index in the array -> name and state of the jobs of a name that Slurm has."""
    lines = told_by("squeue", "--noheader", "--array", "--name", name, "--format", "%K %F_%K %T")
    return {index: (number, state) for index, number, state in map(str.split, lines)}


@pytest.mark.usefixtures("slurm")
def test_a_job_that_is_asked_to_stop_is_started_again_and_continues(tmp_path: Path) -> None:
    """As before its time is up, and before it is preempted; in the midst of a fit."""
    name = f"stopped-{tmp_path.parent.name}"
    waits = "callbacks.scores={_target_:tests.helpers.runs.Waits}"
    arguments = ["-m", *SMALL, "shards=2", *SLURM, f"hydra.launcher.name={name}", waits]
    note = tmp_path / "o" / "0" / "jobs" / "0-of-2.json"
    with subprocess.Popen(
        command(*arguments),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as launcher:
        try:
            assert eventually((tmp_path / "fitting").exists, seconds=120)
            assert eventually(note.exists, seconds=60)
            assert eventually(lambda: len(list(note.parents[1].glob(".working-*"))) == 2, seconds=60)
            number = jobs(name)["0"][0]
            told_by("scancel", "--signal=USR2", number)
            assert eventually(lambda: json.loads(note.read_text())["status"] == "interrupted", seconds=30)
            assert eventually(lambda: jobs(name)["0"][1] == "PENDING", seconds=60)
            assert [mark.name for mark in note.parents[1].glob(".working-*")] == [".working-shard-1-of-2"]
            assert not list((tmp_path / "o" / "0" / "masks").glob("*"))
            (tmp_path / "go").touch()
            told_by("scontrol", "update", f"JobId={number}", "StartTime=now")
            printed, _ = launcher.communicate(timeout=240)
        finally:
            (tmp_path / "go").touch()
            launcher.kill()
    assert launcher.returncode == 0, printed
    assert_one_run(tmp_path / "o", images=4, shards=2)
    assert len(re.findall("configuration:", (note.parents[1] / "inr_xai-0-of-2.log").read_text())) == 2


@pytest.mark.usefixtures("slurm")
def test_a_killed_job_costs_no_other_and_is_told_in_one_sentence(tmp_path: Path) -> None:
    name = f"killed-{tmp_path.parent.name}"
    waits = "callbacks.scores={_target_:tests.helpers.runs.Waits}"
    arguments = ["-m", *SMALL, "shards=2", *SLURM, f"hydra.launcher.name={name}", waits]
    with subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as launcher:
        try:
            assert eventually((tmp_path / "fitting").exists, seconds=120)
            number = jobs(name)["0"][0]
            told_by("scancel", number)
            assert eventually(lambda: "0" not in jobs(name), seconds=60)
            (tmp_path / "go").touch()
            _, errors = launcher.communicate(timeout=240)
        finally:
            (tmp_path / "go").touch()
            launcher.kill()
    assert launcher.returncode == 1
    line = errors.splitlines()[-1]
    assert re.match(r"error: job \d+_0 has ended without a result \(state CANCELLED", line), errors
    assert line.endswith(f"continue with the same command and out={tmp_path / 'o'}")
    assert "Traceback" not in errors
    (row,) = table(tmp_path / "o", "sweep.csv")
    assert row["status"] == "done"  # the other job has taken its images
    assert len(RunFolder(tmp_path / "o" / "0").done()) == 4
    again = process("-m", *SMALL, "shards=2", waits, folder=tmp_path)  # without Slurm, which adds nothing but time
    assert again.returncode == 0, again.stderr
    assert_one_run(tmp_path / "o", images=4, shards=2)
