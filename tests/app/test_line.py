"""The line: one job at a time, in the order of arrival, each with its place; a stop costs nothing that had ended."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from inr_xai.app.job import Snapshot, WatchedJob
from inr_xai.app.line import STOPPED, Line
from inr_xai.app.photo import DroppedPhoto
from inr_xai.app.question import Question
from inr_xai.errors import UserError
from inr_xai.method import Method
from tests.conftest import tiny_classifier

QUESTION = Question(DroppedPhoto(Image.new("RGB", (1, 1)), "a"), tiny_classifier(), None, Method())


class Work:
    """Work that waits until it is released, and notes what it does and how much of it at once."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)
        self.order: list[str] = []
        self.at_once, self.most_at_once = 0, 0
        self.act: Callable[[WatchedJob], Any] = lambda job: job.owner.upper()

    def __call__(self, job: WatchedJob) -> Any:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.order.append(job.owner)
        self.begun.release()
        assert self.may_end.acquire(timeout=5)
        self.at_once -= 1
        return self.act(job)

    def end(self, job: WatchedJob) -> None:
        """Lets a job end, and waits for it."""
        self.may_end.release()
        ended(job)


def ended(job: WatchedJob) -> None:
    """Waits for the end of a job."""
    for _ in range(500):
        if job.has_ended:
            return
        job.wait(0.01)
    raise AssertionError("the job has not ended")


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def line(work: Work) -> Iterator[Line]:
    line = Line(work, most=2)
    yield line
    for _ in range(5):
        work.may_end.release()
    line.close()


def jobs_of(line: Line, owners: str) -> list[WatchedJob]:
    """Puts a job of each owner into the line."""
    jobs = [WatchedJob(QUESTION, owner) for owner in owners]
    for job in jobs:
        line.join(job)
    return jobs


def test_jobs_are_done_one_at_a_time_and_each_knows_its_place(line: Line, work: Work) -> None:
    a, b, c = jobs_of(line, "abc")
    work.begun.acquire(timeout=5)
    assert [line.place(job) for job in (a, b, c)] == [0, 1, 2]
    work.end(a)
    work.begun.acquire(timeout=5)
    assert [line.place(job) for job in (a, b, c)] == [0, 0, 1]
    work.end(b)
    work.end(c)
    assert (work.order, work.most_at_once) == (["a", "b", "c"], 1)
    assert [job.answer for job in (a, b, c)] == ["A", "B", "C"]


def test_a_full_line_takes_nobody_else(line: Line, work: Work) -> None:
    jobs_of(line, "abc")
    with pytest.raises(UserError, match="2 others wait already"):
        line.join(WatchedJob(QUESTION, "d"))


def test_who_waits_can_leave_and_who_asks_again_has_one_place(line: Line, work: Work) -> None:
    a, b, c = jobs_of(line, "abc")
    work.begun.acquire(timeout=5)
    line.stop("b")
    assert (b.has_ended, b.stopped, b.error, line.place(c)) == (True, True, STOPPED, 1)
    again = WatchedJob(QUESTION, "c")
    line.join(again)
    assert c.stopped
    assert line.place(again) == 1
    assert not a.is_stopping
    line.stop("a")
    assert a.is_stopping
    assert not a.has_ended  # it ends by itself, at its next step
    work.end(a)
    assert a.answer == "A"
    work.end(again)
    assert work.order == ["a", "c"]


def test_what_a_job_raises_costs_it_alone(line: Line, work: Work, caplog: pytest.LogCaptureFixture) -> None:
    def fail(job: WatchedJob) -> None:
        if job.owner == "a":
            raise UserError("set classifier.head=none")
        if job.owner == "b":
            raise RuntimeError("a bug")
        job.stopped = True
        raise UserError("it was stopped")

    work.act = fail
    a, b, c = jobs_of(line, "abc")
    for job in (a, b, c):
        work.end(job)
    assert [job.error for job in (a, b, c)] == ["set head='none'", "RuntimeError: a bug", STOPPED]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


def test_what_fails_after_a_stop_is_said_if_something_had_ended(
    line: Line, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: WatchedJob) -> None:
        job.stopped = True
        if job.owner == "c":
            raise OSError("no space left")
        raise UserError("no file")

    work.act = fail
    a, b, c = jobs_of(line, "abc")
    a.show(Snapshot(1, 2, 6, 6, {}, 0.0))
    b.show(Snapshot(1, 2, 5, 6, {}, 0.0))
    for job in (a, b, c):
        work.end(job)
    assert [job.error for job in (a, b, c)] == ["no file", STOPPED, "no space left"]
    assert len(caplog.records) == 2


def test_closing_stops_what_is_worked_on_and_what_waits(work: Work) -> None:
    line = Line(work)
    a, b = jobs_of(line, "ab")
    work.begun.acquire(timeout=5)
    work.may_end.release()
    line.close()
    assert (a.is_stopping, a.answer, b.stopped, work.order) == (True, "A", True, ["a"])
