"""Several processes in one folder: the short lock, the marks of who works, and what becomes of those of the dead."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from inr_xai.errors import RunFault, UserError
from inr_xai.runs import lock
from inr_xai.runs.lock import (
    MARK,
    Holder,
    ShardLock,
    WorkLock,
    folder_lock,
    lock_of_results,
    may_share_images,
)
from tests.helpers.runs import environment


def mark(folder: Path, name: str = "shard-0-of-1") -> Path:
    """Returns the path of a mark."""
    return folder / f"{MARK}{name}"


def leave(folder: Path, *, age: float = 0.0, name: str = "shard-0-of-1", **changes: object) -> Holder:
    """Writes the mark of another process, whose last sign of life is `age` seconds old, and returns its holder."""
    folder.mkdir(exist_ok=True)
    holder = replace(Holder.here(), **changes)  # type: ignore[arg-type]
    file = mark(folder, name)
    file.write_text(json.dumps(asdict(holder)))
    os.utime(file, (time.time() - age,) * 2)
    return holder


def ended() -> dict[str, object]:
    """Returns the number and the beginning of a process of this machine that has ended."""
    with subprocess.Popen(["sleep", "60"]) as process:
        started = lock.start_time(process.pid)
        process.kill()
    return {"pid": process.pid, "started": started}


ELSEWHERE = {"host": "node7", "machine": "0123abcd", "pid": 4321, "started": 99}


def test_the_short_lock_keeps_threads_apart_and_one_thread_may_take_it_twice(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count() -> None:
        for _ in range(20):
            with folder_lock(tmp_path), folder_lock(tmp_path):
                value = int(counter.read_text())
                time.sleep(0.0001)
                counter.write_text(str(value + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert counter.read_text() == "80"


def test_work_goes_on_without_the_short_lock_where_there_is_no_folder(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "none"):
        assert not (tmp_path / "none").exists()


def test_a_shard_is_taken_once_and_free_again_afterwards(tmp_path: Path) -> None:
    with ShardLock(tmp_path, 0, 1):
        assert mark(tmp_path).exists()
        with pytest.raises(UserError) as caught, ShardLock(tmp_path, 0, 1):
            pass
    since = time.strftime("%Y-%m-%d")
    assert str(caught.value).startswith(
        f"shard 0 of 1 of {tmp_path} is taken: process {os.getpid()} of {socket.gethostname()} works on shard 0 of 1 "
        f"since {since} "
    )
    assert "gave its last sign of life 0 s ago; wait for it (in a run, lock.wait=SECONDS does)" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), ShardLock(tmp_path, 0, 1):
        raise KeyboardInterrupt
    with ShardLock(tmp_path, 0, 1):
        pass


@pytest.mark.parametrize(
    ("shard", "free"), [((1, 2), True), ((3, 4), True), ((0, 1), False), ((1, 3), False), ((2, 4), False)]
)
def test_shards_without_a_common_image_work_at_once(tmp_path: Path, shard: tuple[int, int], free: bool) -> None:
    assert may_share_images(0, 2, *shard) != free
    plan = range(24)  # the images of two shards, written out
    common = set(plan[0::2]) & set(plan[shard[0] :: shard[1]])
    assert bool(common) != free
    with ShardLock(tmp_path, 0, 2):
        if free:
            with ShardLock(tmp_path, *shard):
                assert len(list(tmp_path.glob(f"{MARK}*"))) == 2
        else:
            with pytest.raises(UserError, match=r"works on shard 0 of 2"), ShardLock(tmp_path, *shard):
                pass


@pytest.mark.parametrize(
    ("holder", "age", "free"),
    [
        (ended, 0.0, True),
        (lambda: {"pid": os.getppid(), "started": lock.start_time(os.getppid())}, 3600.0, False),
        (lambda: {"pid": os.getppid(), "started": -1}, 0.0, True),
        (lambda: ELSEWHERE, 50.0, False),
        (lambda: ELSEWHERE, 70.0, True),
        (dict, 0.0, True),
    ],
    ids=["ended", "alive", "number of another", "elsewhere", "elsewhere and silent", "this process, broken off"],
)
def test_the_dead_lose_their_place(
    tmp_path: Path, holder: Callable[[], dict[str, object]], age: float, free: bool
) -> None:
    left = leave(tmp_path, age=age, **holder())
    if free:
        with ShardLock(tmp_path, 0, 1):
            assert json.loads(mark(tmp_path).read_text())["pid"] == os.getpid()
        assert not mark(tmp_path).exists()
    else:
        with pytest.raises(UserError, match=f"process {left.pid} of {left.host} "), ShardLock(tmp_path, 0, 1):
            pass
        assert json.loads(mark(tmp_path).read_text()) == asdict(left)


def test_a_mark_that_cannot_be_read_counts_by_its_age(tmp_path: Path) -> None:
    mark(tmp_path).write_text("half a m")
    with (
        pytest.raises(UserError, match=r"a process that .*working-shard-0-of-1 does not name"),
        ShardLock(tmp_path, 0, 1),
    ):
        pass
    os.utime(mark(tmp_path), (time.time() - 70,) * 2)
    with ShardLock(tmp_path, 0, 1):
        pass


def test_of_many_that_take_over_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file system has no locks, as some clusters do not."""
    for locks in (True, False):
        folder = tmp_path / str(locks)
        leave(folder, **ended())
        if not locks:
            monkeypatch.setattr(lock, "folder_lock", lambda folder: nullcontext())
        begin, winners, refused = threading.Barrier(8), [], []

        def take(folder: Path, begin: threading.Barrier, winners: list[int], refused: list[UserError]) -> None:
            begin.wait(10)
            try:
                with ShardLock(folder, 0, 1):
                    winners.append(1)
                    time.sleep(0.3)
            except UserError as error:
                refused.append(error)

        threads = [threading.Thread(target=take, args=(folder, begin, winners, refused)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (len(winners), len(refused)) == (1, 7)


def test_waiting_ends_with_the_other_process_or_with_a_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "POLL", 0.02)
    caplog.set_level(logging.INFO)
    first = ShardLock(tmp_path, 0, 1)
    first.__enter__()
    threading.Timer(0.2, lambda: first.__exit__(None, None, None)).start()
    began = time.monotonic()
    with ShardLock(tmp_path, 0, 1, wait=20):
        assert 0.1 < time.monotonic() - began < 15
        with pytest.raises(UserError), ShardLock(tmp_path, 0, 1, wait=0.1):
            pass
    waits = [record.getMessage() for record in caplog.records if "; waiting for it" in record.getMessage()]
    assert [text.rpartition("; ")[2] for text in waits] == ["waiting for it 20 s", "waiting for it 0.1 s"]


def test_a_job_that_slurm_starts_again_waits_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ShardLock(tmp_path, 0, 1)._wait == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    assert ShardLock(tmp_path, 0, 1)._wait == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert ShardLock(tmp_path, 0, 1)._wait == 120
    assert ShardLock(tmp_path, 0, 1, wait=0)._wait == 0


def test_signs_of_life_and_the_loss_of_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT", 0.02)
    with ShardLock(tmp_path, 0, 1) as held:
        os.utime(mark(tmp_path), (time.time() - 50,) * 2)
        wait_for(lambda: time.time() - mark(tmp_path).stat().st_mtime < 10)
        mark(tmp_path).unlink()
        wait_for(mark(tmp_path).exists)
        held.require()
        other = leave(tmp_path, **ELSEWHERE)
        wait_for(lambda: held._lost != "")
        with pytest.raises(RunFault, match=rf"process 4321 of node7 has taken over shard 0 of 1 of {tmp_path}"):
            held.require()
    assert json.loads(mark(tmp_path).read_text()) == asdict(other), "the other's mark stays"


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits until something is so."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_folder_that_nothing_was_written_to_is_removed_again(tmp_path: Path) -> None:
    with pytest.raises(UserError), ShardLock(tmp_path / "new", 0, 1):
        raise UserError("no photo there")
    assert not (tmp_path / "new").exists()
    with ShardLock(tmp_path / "new", 0, 1):
        (tmp_path / "new" / "run.json").touch()
    assert (tmp_path / "new" / "run.json").exists()


def test_a_mark_that_cannot_be_written_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(value: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock.json, "dumps", full)
    with pytest.raises(RunFault, match="No space left on device"), ShardLock(tmp_path, 0, 1):
        pass
    assert not mark(tmp_path).exists()


def test_results_of_different_names_are_measured_at_once(tmp_path: Path) -> None:
    with lock_of_results(tmp_path, "masks"), lock_of_results(tmp_path, "../a b"), ShardLock(tmp_path, 0, 1):
        with pytest.raises(UserError, match=f"'masks' of {tmp_path} is taken"), lock_of_results(tmp_path, "masks"):
            pass
        assert all(file.parent == tmp_path for file in tmp_path.rglob("*"))


@pytest.mark.slow
def test_a_killed_process_leaves_its_place_to_the_next_one(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from inr_xai.runs.lock import WorkLock\n"
        "with WorkLock(Path(sys.argv[1]), 'work', work='it'): print('there', flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        with pytest.raises(UserError, match=f"process {process.pid} of "), WorkLock(tmp_path, "work", work="it"):
            pass
        process.kill()
    with WorkLock(tmp_path, "work", work="it"):
        pass
