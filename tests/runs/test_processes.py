"""Which process, on which machine: one that has ended, a zombie, and a number that another process has got."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inr_xai.runs.processes import is_running, machine, start_time

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")


def test_the_machine_has_one_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from inr_xai.runs.processes import machine; print(machine())"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout.strip() == machine()
    assert len(machine()) == 8


@needs_proc
def test_a_process_runs_until_it_ends_also_before_it_is_waited_for() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        started = start_time(process.pid)
        assert started is not None
        assert is_running(process.pid, started)
        assert is_running(process.pid)
        assert not is_running(process.pid, started - 1), "another process had this number before"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # leaves it a zombie
        assert start_time(process.pid) is None
        assert not is_running(process.pid, started)
    assert not is_running(process.pid)
