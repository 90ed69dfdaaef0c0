"""How far a run has come: counts, workers, rates and states of folders whose every file is made up."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from inr_xai.errors import UserError
from inr_xai.runs.failures import FailureNotes
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.lock import DEAD_AFTER, Holder
from inr_xai.runs.progress import ALIVE, DEAD, FINISHED, RUNNING, SILENT, STOPPED, Worker, progress_of
from inr_xai.runs.store import ShardStore
from tests.helpers.runs import FACTS
from tests.runs.test_claims import worker
from tests.runs.test_folder import record
from tests.runs.test_lock import ELSEWHERE, leave

OLD_RUN = Path(__file__).resolve().parent / "data" / "run_0.1.0"


def clock(ago: float) -> str:
    """Returns a time in the past as a mark has it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - ago))


def store(run: Path, *names: str, age: float = 0.0) -> None:
    """Stores images as a run does, so many seconds ago."""
    folder = RunFolder(run)
    for name in names:
        folder.commit(record(name))
        os.utime(folder.masks_file(name), (time.time() - age,) * 2)
        ResultIndex(folder).add(record(name))


def begin(run: Path, *, summary: bool = True, **facts: Any) -> Path:
    """Begins a run of which two images are done, one an hour and one half a minute ago, and one has failed."""
    folder = RunFolder(run)
    folder.write_run(FACTS | facts)
    store(run, "a", age=3600)
    store(run, "b/c", age=30)
    notes = FailureNotes(folder)
    notes.begin(["d"], set())
    notes.add("d", "no class")
    if summary:
        folder.write_summary({"images": 2})
    return run


def test_images_in_tars_are_counted_by_when_they_were_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tmp_path, planned=12)
    folder, now = RunFolder(run, ShardStore()), time.time()
    for name, age in {"e": 500, "f": 900, "g": 20}.items():
        monkeypatch.setattr("inr_xai.runs.tar_members.time.time", lambda age=age: now - age)
        assert folder.commit(record(name))
    monkeypatch.undo()
    own = worker(run, 0, since=clock(1200))
    for name in ("e", "h"):  # the first is done by now
        assert own.take(name) == 0
    FailureNotes(folder).add("g", "failed in the hands of another worker")
    progress = progress_of(run)
    assert (progress.done, progress.failed, progress.left, progress.in_flight) == (5, 1, 6, 1)
    assert progress.recent == pytest.approx(3 / 10, rel=0.01)
    assert progress.session == pytest.approx(4 / 20, rel=0.01)
    assert progress.idle == pytest.approx(20, abs=3)


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    run = begin(tmp_path, planned=12)
    store(run, "e", age=500)
    store(run, "f", age=900)
    first = worker(run, 0, since=clock(1200))
    second = worker(run, 1, since=clock(100), host="node8", pid=99)
    dead = worker(run, 2, age=DEAD_AFTER + 5)
    for name in ("e", "d", "g", "h"):  # the first is done and the second has failed by now
        assert first.take(name) == 0
    assert second.take("i") == 0
    assert dead.take("j") == 0
    progress = progress_of(run)
    assert (progress.planned, progress.done, progress.failed, progress.left) == (12, 4, 1, 7)
    assert (progress.state, progress.exit_status, progress.living, progress.in_flight) == (RUNNING, 4, 2, 3)
    assert progress.recent == pytest.approx(2 / 10, rel=0.01)
    assert progress.session == pytest.approx(3 / 20, rel=0.01)
    assert progress.seconds_left == pytest.approx(7 / 0.2 * 60, rel=0.01)
    assert progress.session_seconds == pytest.approx(1200, abs=5)
    assert progress.idle == pytest.approx(30, abs=3)
    assert [(one.work, one.host, one.pid, one.state, set(one.images)) for one in progress.workers] == [
        ("shard 0 of 4", "node7", 4321, ALIVE, {"g", "h"}),
        ("shard 1 of 4", "node8", 99, ALIVE, {"i"}),
        ("shard 2 of 4", "node7", 4321, DEAD, {"j"}),
    ]
    assert all(age == pytest.approx(0, abs=3) for one in progress.workers for age in one.images.values())


def test_the_rate_of_a_young_session_is_that_of_its_own_time(tmp_path: Path) -> None:
    run = begin(tmp_path, planned=5)
    worker(run, since=clock(60))
    progress = progress_of(run)
    assert progress.recent == progress.session == pytest.approx(1, rel=0.05)
    assert progress.seconds_left == pytest.approx(2 * 60, rel=0.05)


@pytest.mark.parametrize(
    ("age", "changes", "state", "lives"),
    [
        (0.0, {}, ALIVE, True),
        (30.0, {}, SILENT, True),
        (DEAD_AFTER + 1, {}, DEAD, False),
        (DEAD_AFTER + 1, {**asdict(Holder.here()), "pid": os.getppid(), "started": None}, SILENT, False),  # stopped
        (0.0, asdict(Holder.here()), DEAD, False),  # this process, which has no such mark
    ],
)
def test_a_silent_worker_lives_for_a_minute(
    tmp_path: Path, age: float, changes: dict[str, Any], state: str, lives: bool
) -> None:
    run = begin(tmp_path, planned=5)
    worker(run, age=age, **changes)
    (found,) = progress_of(run).workers
    assert (found.state, found.lives) == (state, lives)
    assert progress_of(run).state == (RUNNING if lives else STOPPED)


def test_images_of_a_worker_whose_mark_another_one_has_are_those_of_a_dead_one(tmp_path: Path) -> None:
    run = begin(tmp_path, planned=5)
    assert worker(run, 1, host="before").take("x") == 0
    assert worker(run, 1, host="now").take("y") == 0
    now, before = progress_of(run).workers
    assert (now.host, now.state, set(now.images)) == ("now", ALIVE, {"y"})
    assert (before.host, before.state, before.silent_for, set(before.images)) == ("before", DEAD, None, {"x"})


@pytest.mark.parametrize(
    ("planned", "summary", "failed", "state", "status"),
    [
        (3, True, True, FINISHED, 3),
        (2, True, False, FINISHED, 0),
        (4, True, True, STOPPED, 5),
        (3, False, True, STOPPED, 5),  # killed before it made its tables
        (1, True, True, FINISHED, 3),  # data.limit was lowered
        (None, True, False, FINISHED, 0),
        (None, False, False, STOPPED, 5),
    ],
)
def test_what_a_run_is_when_nobody_works_on_it(
    tmp_path: Path, planned: int | None, summary: bool, failed: bool, state: str, status: int
) -> None:
    run = begin(tmp_path, summary=summary, **({} if planned is None else {"planned": planned}))
    if not failed:
        store(run, "d")
        if summary:
            RunFolder(run).write_summary({"images": 3})
    progress = progress_of(run)
    assert (progress.state, progress.exit_status, progress.failed) == (state, status, int(failed))
    assert (progress.recent, progress.session, progress.seconds_left, progress.living) == (None, None, None, 0)


def test_who_evaluates_a_run_does_not_explain_it(tmp_path: Path) -> None:
    run = begin(tmp_path, planned=3)
    leave(run, name="results-masks", **ELSEWHERE)
    progress = progress_of(run)
    assert [one.work for one in progress.workers] == ["results masks"]
    assert (progress.state, progress.explainers) == (FINISHED, [])


def test_a_run_that_has_just_begun_and_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json does not exist; is .* the folder of a run"):
        progress_of(tmp_path)
    leave(tmp_path)
    with pytest.raises(UserError, match="does not exist"):  # the mark of a dead process
        progress_of(tmp_path)
    leave(tmp_path, **ELSEWHERE)
    progress = progress_of(tmp_path)
    assert (progress.state, progress.planned, progress.left, progress.done, progress.idle) == (
        RUNNING,
        None,
        None,
        0,
        None,
    )


def test_a_run_of_an_old_version(tmp_path: Path) -> None:
    progress = progress_of(OLD_RUN)
    assert (progress.state, progress.planned, progress.done, progress.left) == (FINISHED, None, 2, None)


def test_a_torn_line_of_failures_does_not_hide_the_others(tmp_path: Path) -> None:
    run = begin(tmp_path, planned=4)
    with (run / "failures.csv").open("a") as stream:
        stream.write("x,y,z\n")
    assert progress_of(run).reasons == [("no class", 1)]


def test_failures_are_those_that_are_not_tried_again_or_done(tmp_path: Path) -> None:
    run = begin(tmp_path, planned=4)
    notes = FailureNotes(RunFolder(run), (1, 2))
    for name in ("x", "y", "z"):
        notes.add(name, f"'{name}.jpg' has no class")
    store(run, "z")
    notes.begin(["x"], set())
    progress = progress_of(run)
    assert (progress.failed, progress.reasons) == (2, [("'y.jpg' has no class", 1), ("no class", 1)])


def test_everything_is_said_in_plain_values(tmp_path: Path) -> None:
    run = begin(tmp_path, planned=4)
    assert worker(run).take("x") == 0
    plain = progress_of(run).plain()
    assert (plain["planned"], plain["done"], plain["left"], plain["state"], plain["exit_status"]) == (
        4,
        2,
        1,
        RUNNING,
        4,
    )
    assert plain["reasons"] == [{"reason": "no class", "images": 1}]
    (one,) = plain["workers"]
    assert set(one) == set(Worker.__annotations__)
    assert list(one["images"]) == ["x"]
