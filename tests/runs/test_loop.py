"""What a failed image costs: itself alone, with its reason in the log; an interruption ends the work."""

import logging

import pytest

from inr_xai.errors import RunFault, UserError
from inr_xai.runs.loop import Guard, each_image, each_part


class Failures(list[tuple[str, str]]):
    """The images that failed, with the reasons, in order."""

    def note(self, name: str, reason: str) -> None:
        self.append((name, reason))


def test_a_guarded_block_that_ends_well_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    with Guard("a", failures.note) as guard:
        pass
    assert (guard.failed, failures, caplog.records) == (False, [], [])


@pytest.mark.parametrize(
    ("error", "reason", "traceback"),
    [
        (UserError("no label; set data.targets=predicted"), "no label; set data.targets=predicted", False),
        (ValueError("two\nlines"), "two lines", False),
        (FileNotFoundError(2, "No such file", "a.png"), "[Errno 2] No such file: 'a.png'", False),
        (OSError(), "OSError", False),
        (RuntimeError("a\nbug"), "RuntimeError: a bug", True),
        (
            RuntimeError("CUDA out of memory."),
            "the memory is used up (CUDA out of memory.); give a smaller masks_per_forward, or a smaller input",
            False,
        ),
        (
            MemoryError(),
            "the memory is used up (MemoryError); give a smaller masks_per_forward, or a smaller input",
            False,
        ),
        (KeyError("k"), "KeyError: 'k'", True),
    ],
)
def test_an_error_is_noted_and_logged_with_a_traceback_if_it_is_unexpected(
    error: Exception, reason: str, traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    failures = Failures()
    with Guard("a", failures.note) as guard:
        raise error
    assert (guard.failed, failures) == (True, [("a", reason)])
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, f"a failed: {reason}")
    assert (record.exc_info is not None and record.exc_info[1] is error) is traceback


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), RunFault("the disk is full; free space")])
def test_an_interruption_and_a_fault_of_the_machine_pass_through(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    failures = Failures()
    with pytest.raises(type(error)), Guard("a", failures.note):
        raise error
    assert (failures, caplog.records) == ([], [])


def test_every_image_is_worked_on_and_failures_are_counted() -> None:
    failures, places = Failures(), []

    def work(image_id: str, place: str) -> int:
        places.append(place)
        if image_id == "b":
            raise RuntimeError("no memory")
        return {"a": 0, "c": 2}[image_id]  # of c, two parts failed

    assert each_image(["a", "b", "c"], work, note=failures.note) == 3
    assert places == ["image 1 of 3, a", "image 2 of 3, b", "image 3 of 3, c"]
    assert failures == [("b", "RuntimeError: no memory")]


def test_the_place_says_what_is_worked_on() -> None:
    places = []
    assert each_image(["a"], lambda image_id, place: len(places.append(place) or ""), note=print, what="photo") == 0
    assert places == ["photo 1 of 1, a"]


def test_an_interruption_ends_the_loop() -> None:
    failures, seen = Failures(), []

    def work(image_id: str, place: str) -> int:
        seen.append(image_id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each_image(["a", "b"], work, note=failures.note)
    assert (seen, failures) == (["a"], [])


def test_a_part_that_fails_costs_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    failures, done = Failures(), []

    def work(part: str, image: int) -> None:
        if part == "bad":
            raise UserError("no map")
        done.append((part, image))

    assert each_part("a", ["first", "bad", "last"], read=lambda: 7, work=work, note=failures.note) == 1
    assert (done, failures) == ([("first", 7), ("last", 7)], [("bad", "no map")])
    assert [record.getMessage() for record in caplog.records] == ["bad on a failed: no map"]


def test_an_image_that_cannot_be_read_costs_all_its_parts(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()

    def read() -> None:
        raise UserError("damaged")

    assert each_part("a", ["first", "last"], read=read, work=lambda part, image: None, note=failures.note) == 2
    assert failures == [("first", "damaged"), ("last", "damaged")]
    assert [record.getMessage() for record in caplog.records] == ["a failed: damaged"]
