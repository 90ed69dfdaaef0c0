"""How every program of the package ends: its exit status, an error as one sentence, and what a signal does."""

import _thread
import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from inr_xai.config.sentences import is_fault, sentence
from inr_xai.errors import FAULT, IMAGES_FAILED, INTERRUPTED, REFUSED, UserError

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if hasattr(signal, "SIGHUP") else (signal.SIGINT,)
REPEATED = 0.3
"""Within so many seconds the same signal counts once: a terminal that closes sends its own twice."""


class Interruption(BaseException):
    """A signal asks the program to end; not an Exception, because no image and no part of the work is to blame.

    Args:
        number: the number of the signal.

    >>> str(Interruption(signal.SIGTERM)), Interruption(signal.SIGTERM).status
    ('SIGTERM', 143)
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextmanager
def signals_caught() -> Iterator[list[int]]:
    """Lets SIGHUP, SIGINT and SIGTERM raise an Interruption; a second signal ends the process at once.

    A signal that is ignored, as SIGHUP is under nohup, or that somebody else cares for, is left alone. Yields the list
    to which the number of a signal goes that has come.
    """
    received: list[int] = []
    times: list[float] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        times.append(time.monotonic())
        if not received:
            received.append(number)
            raise Interruption(number)
        if number != received[0] or times[-1] - times[0] > REPEATED:
            os._exit(128 + received[0])

    def lost(unraisable: Any) -> None:
        """Sends the signal again whose exception came where Python has to ignore exceptions, such as in a `__del__`."""
        if not isinstance(unraisable.exc_value, Interruption):
            hook(unraisable)
            return
        number = received.pop()
        times.clear()
        threading.Timer(REPEATED / 3, _thread.interrupt_main, (number,)).start()

    hook, before = sys.unraisablehook, {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [number for number, old in before.items() if old in (signal.SIG_DFL, signal.default_int_handler)]
    for number in ours:
        signal.signal(number, interrupt)
    if ours:
        sys.unraisablehook = lost
    try:
        yield received
    finally:
        sys.unraisablehook = hook
        for number in ours:
            signal.signal(number, before[number])


def run_program(work: Callable[[], int]) -> int:
    """Does the work of a program, prints how it ends if it does not end well, and returns the exit status.

    A refusal and a fault of the machine are one sentence each, or with HYDRA_FULL_ERROR=1 their tracebacks. A bug is
    raised.

    Args:
        work: returns the exit status.
    """
    earlier, logging.raiseExceptions = logging.raiseExceptions, False  # a log that cannot be written costs no more
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with signals_caught() as received:
            try:
                status = work()
            except (Interruption, KeyboardInterrupt) as error:
                status = report_interruption(error)
            except Exception as error:
                status = 0 if received else report_error(error, full=full)
            if received and status != 128 + received[0]:  # the signal was lost, or has become another error
                status = report_interruption(Interruption(received[0]))
    finally:
        written = _flush()
        logging.raiseExceptions = earlier
    return status if written else FAULT


def exit_status(work: Callable[[], int]) -> int:
    """Does the work of a program that counts failures, and returns the exit status, as `run_program` does.

    Args:
        work: returns how many images failed.

    >>> exit_status(lambda: 0), exit_status(lambda: 4)
    (0, 3)
    """
    return run_program(lambda: IMAGES_FAILED if work() else 0)


def runs_and_options(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Returns the folders of finished runs among a program's arguments, and the options to change, KEY=VALUE.

    Raises UserError if there is no folder.
    """
    options = [argument for argument in arguments if "=" in argument and not Path(argument).is_dir()]
    paths = [Path(argument) for argument in arguments if argument not in options]
    if not paths:
        raise UserError("name the folder of a finished run")
    return paths, options


def report_error(error: Exception, *, full: bool) -> int:
    """Prints the sentence of a refusal or a fault, and returns the exit status; raises the error if it is a bug.

    It is no error if the program has ended that reads the output, as in `| head`.

    Args:
        full: whether to print the traceback instead.
    """
    if isinstance(error, BrokenPipeError) and _reader_has_left():
        return 0
    message = sentence(error)
    if message is None:
        raise error
    say("".join(traceback.format_exception(error)) if full else f"error: {message}\n")
    return FAULT if is_fault(error) else REFUSED


def report_interruption(error: BaseException, advice: str = "the same command continues") -> int:
    """Prints how far the work has come and how it can be continued, and returns the exit status."""
    name, status = (str(error), error.status) if isinstance(error, Interruption) else ("SIGINT", INTERRUPTED)
    progress = "".join(f"{note}; " for note in getattr(error, "__notes__", ()))
    say(f"interrupted ({name}): {progress}{advice}\n")
    return status


def say(text: str) -> None:
    """Prints a text as the program's last words; nobody may be there to read it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _reader_has_left() -> bool:
    """Returns whether the output goes to a program that has ended, as that of `| head` does."""
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError):  # the output is no file, or closed
        poll.register(sys.stdout.fileno(), 0)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    return False


def _flush() -> bool:
    """Writes out what is printed, and returns whether the output could be written (or nobody is there to read it)."""
    written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError, ValueError):  # Python would complain when it flushes once more at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                say(f"error: the output cannot be written ({error.strerror}); free or mend where it goes\n")
                written = False
    return written
