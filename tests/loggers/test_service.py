"""W&B's own process may be killed or hang, and its folders may be gone: one warning, and the run goes on."""

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from inr_xai.loggers import service, wandb_run
from tests.helpers.runs import environment
from tests.helpers.wandb_read import history
from tests.helpers.wandb_runs import begin, our_messages, own_processes

pytest_plugins = ["tests.helpers.wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("fresh_wandb")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Begins without a process of W&B, and forgets those that a test has killed.

    W&B itself does not look how they ended, and Python warns.
    """
    os.environ.pop("WANDB_SERVICE", None)
    wandb.teardown()
    yield
    wandb.teardown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.slow
def test_a_killed_process_costs_one_warning_and_the_next_run_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(tmp_path)
    (core,) = own_processes()
    os.kill(core, signal.SIGKILL)
    for done in range(3):
        run.log({"a": 1.0}, images_done=done)
    run.finish()
    (warning,) = our_messages(caplog)
    assert warning.startswith("W&B failed (")
    assert warning.endswith("the run goes on without it, the CSV files are complete.")
    second = begin(tmp_path, run_id="two")
    second.log({"a": 1.0}, images_done=1)
    second.finish()
    assert history(second.folder) == [{"a": 1, "images_done": 1}]


@pytest.mark.usefixtures("forgotten")
@pytest.mark.slow
def test_a_process_that_hangs_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_run, "CLOSE_SECONDS", 0.5)
    monkeypatch.setattr(service, "LEAVE_SECONDS", 0.5)
    run = begin(tmp_path)
    (core,) = own_processes()
    os.kill(core, signal.SIGSTOP)
    try:
        began = time.monotonic()
        run.log({"a": 1.0}, images_done=1)
        run.finish()
        assert time.monotonic() - began < 3
        assert our_messages(caplog) == [f"W&B did not close its files in {run.folder}; the CSV files are complete."]
    finally:
        os.kill(core, signal.SIGKILL)


@pytest.mark.slow
def test_a_folder_that_is_removed_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = begin(tmp_path)
    run.log({"a": 1.0}, images_done=1)
    shutil.rmtree(tmp_path / "wandb")
    run.finish()
    (warning,) = our_messages(caplog)
    assert warning.startswith(f"W&B could not write all of {run.folder} ")


PROGRAM = """
import os, signal, sys
from pathlib import Path
from inr_xai.loggers import WandbSettings, open_wandb
from tests.helpers.wandb_runs import own_processes
run = open_wandb(WandbSettings(mode="offline"), save_dir=Path(sys.argv[1]), run_id="one", name="n", config={})
if "kill" in sys.argv:
    (core,) = own_processes()
    os.kill(core, signal.SIGKILL)
run.log({"a": 1.0}, images_done=1)
run.log_table("table", ["a"], [[1]])
run.finish()
"""


@pytest.mark.slow
@pytest.mark.parametrize("option", ["", "kill"])
def test_nothing_is_printed_without_home_and_tools_or_after_a_kill(tmp_path: Path, option: str) -> None:
    """W&B would print its log, and a traceback at the end; its process finds neither git nor a cache folder."""
    without = {key: value for key, value in environment().items() if key not in ("HOME", "XDG_CACHE_HOME", "PATH")}
    without |= {} if option else {"PATH": "", "HOME": "/proc/nowhere"}
    without |= {"PATH": os.environ["PATH"]} if option else {}
    without["MPLCONFIGDIR"] = str(tmp_path)  # Matplotlib would speak of its own cache folder
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), option]
    done = subprocess.run(program, env=without, capture_output=True, text=True, timeout=120, check=True)
    warning = r"W&B failed \(.*\); the run goes on without it, the CSV files are complete\.\n" if option else ""
    assert done.stdout == ""
    assert re.fullmatch(warning, done.stderr), done.stderr
    if not option:
        (folder,) = (tmp_path / "wandb").glob("offline-run-*")
        assert {"a": 1, "images_done": 1} in history(folder)
