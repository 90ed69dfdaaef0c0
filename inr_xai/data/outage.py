"""Data that are out of reach for a while, as when a network file system hangs up: they are waited for.

What tells the fault of the store from that of a file: an error of the system that says so itself (AWAY), or any while a
folder of the data is gone or empty, as that of a file system is which is not mounted.
"""

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from inr_xai.errors import Unreachable

ResultT = TypeVar("ResultT")
AWAY = frozenset(
    getattr(errno, name)
    for name in (
        *("ESTALE", "EIO", "EREMOTEIO", "ETIMEDOUT", "ENOTCONN", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENOLINK", "ECOMM", "ESHUTDOWN"),
        *("ENODEV", "ENXIO", "EKEYEXPIRED"),
    )
    if hasattr(errno, name)
)
"""The numbers of errors that are of the store, not of a file."""
FIRST, LONGEST = 1.0, 60.0
"""Seconds of the first pause between two tries, which doubles, and of the longest."""
BRIEF = 7.0
"""Seconds of all pauses for an error of AWAY while the folders are there, once such an error was a file's own."""
log = logging.getLogger(__name__)


class DataFolders:
    """The folders that a data set reads. An outage is waited for once: further images are then tried once each.

    Args:
        roots: the folders, which hold something.
        wait: seconds for which reading an image is tried again in an outage; 0 never does.
    """

    def __init__(self, *roots: Path, wait: float = 0.0):
        self.roots, self.wait = roots, wait
        self._since: float | None = None
        """When the outage began, by the monotonic clock; None if there is none."""
        self._in_vain = self._with_roots = self._of_files = False

    def read(self, name: str, work: Callable[[], ResultT]) -> ResultT:
        """Returns what `work` returns, which reads the image of a name. It is called again during an outage.

        Raises Unreachable if the outage outlasts the wait, and whatever else `work` raises.
        """
        began, pause = time.monotonic(), FIRST
        while True:
            try:
                result = work()
            except Exception as error:
                number = _system_error(error)
                missing = None if number is None else next((root for root in self.roots if not is_there(root)), None)
                if number is None:
                    raise
                if missing is None and number not in AWAY:
                    self._end()
                    raise
                reason = os.strerror(number) if missing is None else f"{str(missing)!r} is gone or empty"
                self._begin(reason)
                most = min(self.wait, BRIEF) if missing is None and self._of_files else self.wait
                left = 0.0 if self._in_vain else began + most - time.monotonic()
                if left <= 0:
                    self._in_vain, self._with_roots = True, missing is None
                    raise Unreachable(
                        f"{name!r} was not read: the data are out of reach ({reason}), and were waited for "
                        f"{self.wait:g} s; when they are back, the same command reads it"
                    ) from error
            else:
                self._end()
                return result
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST)

    def _begin(self, reason: str) -> None:
        if self._since is None:
            self._since = time.monotonic()
            log.warning("the data are out of reach (%s); they are tried again for %g s", reason, self.wait)

    def _end(self) -> None:
        if self._since is None:
            return
        log.warning("the data are there again, after %.0f s", time.monotonic() - self._since)
        # An error that outlasts the wait while other files can be read is of a file, such as on a bad block of a disk.
        self._of_files |= self._in_vain and self._with_roots
        self._since, self._in_vain = None, False


def is_there(folder: Path) -> bool:
    """Returns whether a folder can be listed and holds something."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _system_error(error: BaseException | None) -> int | None:
    """Returns the number of the system's error from which an error has come; None if there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__
    return None
