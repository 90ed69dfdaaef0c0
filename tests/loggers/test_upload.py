"""An online run reaches the server; an unreachable server costs a bounded time and no data (on real sockets)."""

import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from inr_xai.loggers.upload import Upload
from tests.helpers.wandb_double import EVERYTHING, Double, serve, stranger
from tests.helpers.wandb_read import WANDB, history, parts, summary
from tests.helpers.wandb_runs import KEY, begin, fill, our_messages, table

pytest_plugins = ["tests.helpers.wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("fresh_wandb")


@pytest.mark.slow
def test_parts_written_offline_are_uploaded_into_one_run(tmp_path: Path, figure: Path, double: Double) -> None:
    for first in (0, 2):
        run = begin(tmp_path, group="sweep")
        fill(run, figure, first)
        run.finish()
    assert double.operations == []
    do(run.remedy, tmp_path)
    check_upload(double, [0, 1, 2, 3])


@pytest.mark.slow
def test_an_online_run_is_uploaded_and_continued(tmp_path: Path, figure: Path, double: Double) -> None:
    for first in (0, 2):
        run = begin(tmp_path, "online", group="sweep")
        fill(run, figure, first)
        run.finish()
    check_upload(double, [0, 1, 2, 3])


@pytest.mark.slow
def test_a_part_written_offline_is_uploaded_with_the_next_online_one(
    tmp_path: Path, figure: Path, double: Double
) -> None:
    for mode, first in (("offline", 0), ("online", 2)):
        run = begin(tmp_path, mode, group="sweep")
        fill(run, figure, first)
        run.finish()
    check_upload(double, [0, 1, 2, 3])


@pytest.mark.slow
@pytest.mark.parametrize("refused", ["UpsertBucket", "CreateRunFiles", "/file_stream", "/upload/"])
def test_what_a_proxy_refuses_is_reported_and_can_be_uploaded_later(
    tmp_path: Path, figure: Path, double: Double, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    """W&B's own command ends with status 0, and mostly with the mark of success, in all of these cases."""
    double.refused.add(refused)
    folder = tmp_path / "a folder's $HOME"
    folder.mkdir()
    run = begin(folder, "online", group="sweep")
    fill(run, figure)
    run.finish()
    (warning,) = our_messages(caplog)
    assert warning.startswith('W&B did not take everything (it says "')
    assert warning.endswith(f"upload the rest with `wandb sync {shlex.quote(str(run.folder))}`.")
    double.refused.clear()
    do(run.remedy, tmp_path)
    (stored,) = double.runs.values()
    stored.history = list({line["_step"]: line for line in stored.history}.values())  # the server has one line a step
    check_upload(double, [0, 1])


@pytest.mark.slow
def test_a_stranger_that_takes_everything_at_the_end_is_reported(
    tmp_path: Path, figure: Path, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(tmp_path, "online", group="sweep")
    fill(run, figure)
    while "UpsertBucket" not in double.operations:
        time.sleep(0.05)
    double.refused.add("Viewer")
    run.finish()
    assert our_messages(caplog) == [
        f"W&B did not take everything (at {double.url} answers with error 403); upload the rest with `{run.remedy}`."
    ]
    assert not list(run.folder.glob("*.synced"))


def do(remedy: str, folder: Path) -> None:
    """Gives the command that we print."""
    program, *arguments = shlex.split(remedy)
    assert program == "wandb"
    subprocess.run([*WANDB, *arguments], check=True, cwd=folder, capture_output=True)


LOG = {"level": "ERROR", "msg": "file transfer: upload: failed to upload: status: 403", "sync_path": "FILE"}
DONE = 'touch "$part/run-one.wandb.synced"'


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (DONE, None),
        ("true", "its upload ended without saying that it is done"),
        (f"{DONE}; exit 3", "its upload ended with status 3"),
        ("exit 3", "its upload ended with status 3"),
        (f'echo "wandb: ERROR [inr_xai/one] no  permission"; {DONE}', 'it says "[inr_xai/one] no permission"'),
        ('echo "wandb: ERROR rate limit"; sleep 60', 'it says "rate limit"'),
        ("sleep 60", "it did not end in time"),
        (f"{DONE}; sleep 60", None),
        (f"mkdir ../logs; cat {{log}} > ../logs/debug-sync.1.log; {DONE}", f'it says "{LOG["msg"]}"'),
        ('echo "$WANDB_SILENT$WANDB_RUN_ID$WANDB_MODE" > seen', "its upload ended without saying that it is done"),
    ],
)
def test_only_what_wandb_says_is_uploaded_is_uploaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reason: str | None
) -> None:
    """A program in W&B's place, which gets the folder of the part as its last argument."""
    part = tmp_path / "wandb" / "offline-run-1-one"
    part.mkdir(parents=True)
    (part / "run-one.wandb").write_text("")
    (tmp_path / "log").write_text(json.dumps({**LOG, "sync_path": str(part / "run-one.wandb")}) + "\nno JSON\n")
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\nfor part; do true; done\ncd "$part"\n{does.replace("{log}", "../../log")}\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    for name in ("SILENT", "RUN_ID", "MODE"):
        monkeypatch.setenv(f"WANDB_{name}", "true")
    assert Upload([part]).finish(seconds=0.5 if "sleep" in does else 10) == reason
    assert (part / "run-one.wandb.synced").exists() == (reason is None)
    if "seen" in does:
        assert (part / "seen").read_text() == "\n"


def check_upload(double: Double, images_done: list[int]) -> None:
    """Checks that the server has one run with everything that `fill` logs."""
    (run,) = double.runs.values()
    assert [line["images_done"] for line in run.history if "area_error/k1" in line] == images_done
    steps = [line["_step"] for line in run.history]
    assert steps == sorted(set(steps))
    assert run.upserts[0]["groupName"] == "sweep"
    assert (run.complete, run.exit_code) == (True, 0)
    assert json.loads(run.files["wandb-summary.json"])["area_error"] == 0.25
    pictures = [name for name in run.files if name.startswith("media/images/image/masks")]
    tables = [name for name in run.files if name.startswith("media/table/scores")]
    assert len(pictures) == len(images_done)
    assert len(tables) == len(images_done) // 2


@pytest.mark.slow
def test_online_without_a_key_stays_offline_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = begin(tmp_path, "online")
    run.log({"a": 1.0}, images_done=1)
    run.finish()
    assert our_messages(caplog) == [
        "W&B has no API key (run `wandb login` or set WANDB_API_KEY); this run stays offline,"
        f" upload it later with `wandb sync {run.folder}`."
    ]
    assert history(run.folder) == [{"a": 1, "images_done": 1}]


@pytest.fixture(params=["refused", "never answers", "error 500", "login page"])
def unreachable(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that cannot be used."""
    page = "<html><title>Welcome to the network</title></html>"
    with (
        serve() as server,
        socket.create_server(("127.0.0.1", 0)) as listener,
        stranger(302, page, Location="/login") as portal,
    ):
        server.status = 500
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield {
            "refused": "http://127.0.0.1:9",
            "never answers": silent,
            "error 500": server.url,
            "login page": portal.url,
        }[request.param]


@pytest.mark.slow
def test_an_unreachable_server_leaves_the_run_offline(
    tmp_path: Path,
    figure: Path,
    unreachable: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", unreachable)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    began = time.monotonic()
    run = begin(tmp_path, "online")
    fill(run, figure)
    run.finish()
    assert time.monotonic() - began < 20
    (warning,) = our_messages(caplog)
    assert warning.startswith(f"W&B at {unreachable} ")
    assert warning.endswith(f"this run stays offline, upload it later with `wandb sync {run.folder}`.")
    assert summary(run.folder)["summary"]["area_error"] == 0.25


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["gone", "never answers", "error 500"])
def test_a_network_lost_in_mid_run_costs_a_bounded_time_and_no_data(
    tmp_path: Path, figure: Path, double: Double, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(tmp_path, "online", finish_timeout=4.0)
    run.log({"before": 1.0}, images_done=0)
    while not (double.runs and double.runs["one"].upserts):
        time.sleep(0.05)
    {
        "gone": double.vanish,
        "never answers": lambda: double.hangs.add(EVERYTHING),
        "error 500": lambda: setattr(double, "status", 500),
    }[failure]()
    began = time.monotonic()
    fill(run, figure, 1)
    run.finish()
    assert time.monotonic() - began < 20
    assert f"upload the rest with `wandb sync {run.folder}`" in caplog.messages[-1]
    assert [line["images_done"] for line in history(run.folder) if "area_error/k1" in line] == [1, 2]
    assert table(run.folder)["data"][1][:2] == ["y", 2.5]
    assert summary(run.folder)["state"] == "finished"


PROGRAM = """
import sys
from pathlib import Path
from inr_xai.loggers import WandbSettings, open_wandb
run = open_wandb(WandbSettings(mode="online"), save_dir=Path(sys.argv[1]), run_id="one", name="n", config={})
run.log({"a": 1.0}, images_done=1)
"""


@pytest.mark.slow
def test_the_user_at_a_terminal_is_never_asked(tmp_path: Path) -> None:
    """At a terminal, W&B would ask for a login and wait."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", PROGRAM + "run.finish()", str(tmp_path)]
    with closing(os.fdopen(ours, "rb")):
        done = subprocess.run(program, stdin=theirs, stdout=theirs, stderr=theirs, timeout=120)
        os.close(theirs)
    assert done.returncode == 0
    assert len(parts(tmp_path)) == 1


@pytest.mark.slow
def test_a_killed_run_leaves_no_upload_behind(tmp_path: Path, double: Double) -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM + "import time; time.sleep(600)", str(tmp_path)])
    while "UpsertBucket" not in double.operations:
        time.sleep(0.1)
    uploads = groups_below(program.pid)
    assert uploads
    program.send_signal(signal.SIGKILL)
    program.wait()
    deadline = time.monotonic() + 60
    while any(alive(group) for group in uploads) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(alive(group) for group in uploads)


def groups_below(pid: int) -> list[int]:
    """Returns the process groups that children of `pid` lead."""
    processes = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,pgid="], check=True, capture_output=True, text=True)
    rows = [tuple(map(int, line.split())) for line in processes.stdout.splitlines()]
    return [child for child, parent, group in rows if parent == pid and child == group]


def alive(group: int) -> bool:
    """Returns whether a process group still has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
