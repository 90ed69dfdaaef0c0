"""GPUs of one machine that several jobs share: each takes one that is free, and gives it back however it ends."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from inr_xai.config.launchers import cores, jobs_at_once
from inr_xai.runs import gpus
from tests.helpers.runs import environment


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the locks of these tests from others, and takes back what a job changes in its process."""
    monkeypatch.setattr(gpus.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(gpus.VISIBLE, "before")
    monkeypatch.delenv(gpus.GPUS, raising=False)
    monkeypatch.setattr(gpus, "_of_process", [])
    monkeypatch.setattr(gpus, "POLL", 0.01)


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        ("", 0, []),
        ("", 2, ["0", "1"]),
        ("3,5", 2, ["3", "5"]),
        ("GPU-ab, GPU-cd", 2, ["GPU-ab", "GPU-cd"]),
        ("7", 0, []),
    ],
)
def test_the_gpus_are_those_that_torch_sees_by_their_own_names(
    visible: str, count: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.VISIBLE, visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert gpus.visible_gpus() == names


def test_a_job_that_shares_no_gpus_changes_nothing() -> None:
    with gpus.own_gpu() as name:
        assert name is None
    with gpus.shared_gpus([]), gpus.own_gpu() as name:
        assert name is None
    assert os.environ[gpus.VISIBLE] == "before"
    assert gpus.GPUS not in os.environ


HOLDS = """
import time
from inr_xai.runs.gpus import own_gpu
with own_gpu() as name:
    print(name, flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Starts another job, and returns it when it has a GPU."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDS], env=environment() | {"TMPDIR": str(folder)}, stdout=subprocess.PIPE, text=True
    )


def test_each_job_has_its_own_gpu_and_a_killed_one_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gpus.shared_gpus(["0", "1"]):
        with holder(tmp_path) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "0\n"
            with gpus.own_gpu() as name:
                assert name == os.environ[gpus.VISIBLE] == "1"
            monkeypatch.setattr(gpus, "_of_process", [])
            other.send_signal(signal.SIGKILL)
            other.wait()
        with gpus.own_gpu() as name:
            assert name == "0"


def test_a_job_waits_for_the_gpu_of_its_process(tmp_path: Path) -> None:
    taken = gpus.lock_file("1").open("w")
    fcntl.flock(taken, fcntl.LOCK_EX)
    gpus._of_process.append("1")  # CUDA has begun on it, for an earlier job of this process
    timer = threading.Timer(0.1, taken.close)
    began = time.monotonic()
    timer.start()
    with gpus.shared_gpus(["0", "1"]), gpus.own_gpu() as name:
        assert name == "1"
        assert time.monotonic() - began >= 0.09
    timer.join()


def test_jobs_at_a_time_are_the_gpus_or_what_the_cores_allow() -> None:
    assert jobs_at_once(3, None) == 3
    assert jobs_at_once(0, None) == cores()
    assert jobs_at_once(0, 2 * cores()) == 1
    assert jobs_at_once(0, 1) == cores()
