"""How a program ends: one sentence and a status for refusals, faults, signals, and output that nobody can take."""

import errno
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool

import pytest
from hydra.errors import InstantiationException

from inr_xai.config.programs import Interruption, exit_status, run_program, signals_caught
from inr_xai.errors import RunFault, UserError
from tests.helpers.runs import environment

NUMBERS = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def hangup_ends() -> Iterator[None]:
    """Gives SIGHUP its default effect: who starts the tests with nohup has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class OutOfMemoryError(RuntimeError):
    """An error of the name that torch gives its own."""


def failing(error: BaseException, cause: BaseException | None = None) -> Callable[[], int]:
    """Returns work that raises an error."""

    def work() -> int:
        raise error from cause

    return work


def send(number: int) -> None:
    """Sends this process a signal, whose handler runs at once."""
    os.kill(os.getpid(), number)
    time.sleep(5)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("steps=0 is out of range"), 2, "steps=0 is out of range"),
        (RunFault("the disk is full; free space"), 1, "the disk is full; free space"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/a.csv"),
            1,
            "out/a.csv: No space left on device; mend that, then the same command continues (HYDRA_FULL_ERROR=1 shows "
            "where it happened)",
        ),
        (MemoryError(), 1, "the memory is used up (MemoryError); give a smaller masks_per_forward or image_batch_size"),
        (OutOfMemoryError("CUDA out of\n memory."), 1, "the memory is used up (CUDA out of memory.); give a smaller"),
        (BrokenProcessPool("a worker died"), 1, "a process that worked on a job was killed (the system does so if"),
    ],
)
def test_a_refusal_and_a_fault_are_one_sentence(
    error: Exception, status: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert exit_status(failing(error)) == status
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith(f"error: {message}")
    assert exit_status(failing(InstantiationException("Error in call to target"), error)) == status
    assert capsys.readouterr().err == printed.err
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert exit_status(failing(error)) == status
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        run_program(failing(ZeroDivisionError()))
    with pytest.raises(SystemExit, match="7"):
        run_program(failing(SystemExit(7)))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_one_line_and_its_status(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(other) for other in NUMBERS]

    def work() -> int:
        try:
            send(number)
        except BaseException as error:
            error.add_note("3 of 8 images are done")
            raise
        return 0

    assert exit_status(work) == 128 + number
    assert (
        capsys.readouterr().err == f"interrupted ({number.name}): 3 of 8 images are done; the same command continues\n"
    )
    assert [signal.getsignal(other) for other in NUMBERS] == before


def test_a_signal_that_becomes_another_error_or_none_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    def swallow() -> int:
        try:
            send(signal.SIGTERM)
        except Interruption:
            return 0
        return 0

    def disguise() -> int:
        try:
            send(signal.SIGTERM)
        except Interruption as error:
            raise RuntimeError("a worker has ended") from error
        return 0

    for work in (swallow, disguise):
        assert run_program(work) == 143
        assert capsys.readouterr().err == "interrupted (SIGTERM): the same command continues\n"


def test_a_signal_that_comes_where_exceptions_are_ignored_comes_again(capsys: pytest.CaptureFixture[str]) -> None:
    class Ending:
        def __del__(self) -> None:
            send(signal.SIGTERM)

    def work() -> int:
        ending = Ending()
        del ending
        until = time.monotonic() + 20
        while time.monotonic() < until:
            time.sleep(0.01)
        return 0

    began = time.monotonic()
    assert run_program(work) == 143
    assert time.monotonic() - began < 15
    assert capsys.readouterr().err == "interrupted (SIGTERM): the same command continues\n"


def test_who_cares_for_a_signal_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup SIGHUP is ignored, and a launcher may have a handler of its own."""
    received: list[int] = []
    before = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with signals_caught() as ours:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert (received, ours) == ([signal.SIGTERM], [])
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_another_thread_leaves_the_signals_alone() -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(exit_status(lambda: 4)))
    thread.start()
    thread.join(10)
    assert statuses == [3]


def test_a_log_that_cannot_be_written_costs_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def work() -> int:
        logging.StreamHandler(Full()).handle(logging.makeLogRecord({"msg": "a line"}))
        return 0

    assert run_program(work) == 0
    assert capsys.readouterr() == ("", "")
    assert logging.raiseExceptions


PROGRAM = """
import os, signal, sys, threading, time
from inr_xai.config.programs import run_program

def cleanup():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # the same signal a moment later counts once
        threading.Timer(0.6, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        time.sleep(30)
    return 0

def write():
    for _ in range(5000):
        print("a long line that fills the pipe at some time")
    return 0

sys.exit(run_program({"cleanup": cleanup, "write": write}[sys.argv[1]]))
"""


def program(work: str, shell: str = "exec {}") -> subprocess.CompletedProcess[str]:
    """Does some work in a process of its own, started by a shell."""
    command = shell.format(f"'{sys.executable}' -c \"$PROGRAM\" {work}")
    return subprocess.run(
        ["bash", "-c", command],
        env=environment() | {"PROGRAM": PROGRAM},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_signal_ends_the_process_at_once() -> None:
    began = time.monotonic()
    done = program("cleanup")
    assert (done.returncode, done.stderr) == (143, "")
    assert time.monotonic() - began < 20


def test_output_that_nobody_reads_or_that_cannot_be_written() -> None:
    left = program("write", "{} | head -1; exit ${{PIPESTATUS[0]}}")
    assert (left.returncode, left.stdout, left.stderr) == (0, "a long line that fills the pipe at some time\n", "")
    full = program("write", "{} > /dev/full")
    assert full.returncode == 1
    assert full.stderr.startswith("error: No space left on device; mend that")
    assert full.stderr.count("\n") == 1
