"""Several processes in one folder: a short lock around each change of a shared file, and a mark of who does what.

A mark is a hidden file that says which process works, and whose time shows that it still does. It stays behind if the
process is killed; then the next one sees that it is dead, and takes its place.
"""

import contextlib
import json
import logging
import math
import os
import re
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote, unquote

from inr_xai.data.names import ASIDE
from inr_xai.errors import RunFault, UserError
from inr_xai.runs.files import write_exclusively, writing
from inr_xai.runs.processes import is_running, machine, start_time

LOCK_FILE, MARK = ".lock", ".working-"
HEARTBEAT, DEAD_AFTER, POLL = 10.0, 60.0, 0.5
"""Seconds between two signs of life, without one until a process of another machine counts as dead, between looks."""
SETTLED = 0.2
"""Seconds after which all that took over a place at once have ended with it, where there are no locks."""
WAIT_OF_REQUEUE = 120.0
"""Seconds that a job waits which Slurm has started again, because its predecessor may still be ending."""
log = logging.getLogger(__name__)
_held = threading.local()
_own: set[str] = set()
"""The tokens of the marks that this process holds."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Keeps other processes and threads out of the folder's shared files for a moment, and yields whether it does.

    A thread may take the lock again while it holds it. Where the file system has no locks, or the folder is not there
    or cannot be written, the work goes on without one: what it writes says what is wrong.
    """
    held: dict[Path, bool] = _held.__dict__.setdefault("folders", {})
    place, locked = folder.absolute(), False
    if place in held:
        yield held[place]
        return
    with ExitStack() as stack:
        with contextlib.suppress(OSError, ImportError):  # Windows has no fcntl
            import fcntl

            try:
                handle = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:  # a network file system locks only files that can be written
                stream = stack.enter_context((folder / LOCK_FILE).open("ab"))
                fcntl.flock(stream, fcntl.LOCK_EX)
            locked = True
        held[place] = locked
        stack.callback(held.pop, place, None)
        yield locked


@dataclass(frozen=True)
class Holder:
    """The process that a mark names.

    Args:
        host: the name of its machine, for people.
        machine: the name of its machine, see `machine`.
        started: its `start_time`; None if unknown.
        since: when it made the mark.
        token: tells this mark from every other.
    """

    host: str
    machine: str
    pid: int
    started: int | None
    since: str
    token: str

    @classmethod
    def here(cls) -> "Holder":
        """Returns this process, as a new mark names it."""
        pid, now = os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S %z")
        return cls(socket.gethostname(), machine(), pid, start_time(pid), now, secrets.token_hex(8))

    def is_alive(self, age: float) -> bool:
        """Returns whether the process still works, if its last sign of life is `age` seconds old."""
        if self.machine != machine():
            return age < DEAD_AFTER
        if self.pid == os.getpid() and self.started == start_time(self.pid):
            return self.token in _own
        return is_running(self.pid, self.started)


class WorkLock:
    """A context in which no other process does the same work in a folder.

    A process that is dead loses its place: one of this machine at once, one of another machine after a minute without
    a sign of life.

    Args:
        folder: the folder, which is made if need be, and removed again if nothing is written there.
        name: the work, as the file name of the mark has it.
        work: what it is, for messages.
        wait: the seconds to wait for another process; infinity waits for as long as that process lives.

    Raises:
        UserError: another process does the work, and has not ended in this time.
        RunFault: the mark cannot be written.
    """

    def __init__(self, folder: Path, name: str, *, work: str, wait: float = 0.0):
        self._folder, self._name, self._work, self._wait = folder, name, work, wait
        self._file = folder / f"{MARK}{name}"
        self._holder = Holder.here()
        self._ended = threading.Event()
        self._lost, self._made = "", False

    def __enter__(self) -> "WorkLock":
        self._holder, self._made = Holder.here(), not self._folder.exists()
        until, told = time.monotonic() + self._wait, False
        _own.add(self._holder.token)
        try:
            while (rival := self._claim()) is not None:
                if time.monotonic() >= until:
                    raise UserError(
                        f"{rival}; wait for it (in a run, lock.wait=SECONDS does), end it, or work in another folder"
                    )
                if not told:
                    log.info("%s; waiting for it%s", rival, "" if self._wait == math.inf else f" {self._wait:g} s")
                    told = True
                time.sleep(POLL)
        except BaseException:
            _own.discard(self._holder.token)
            raise
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        try:
            with folder_lock(self._folder), contextlib.suppress(OSError):
                holder = read_mark(self._file)[0]
                if holder is not None and holder.token == self._holder.token:
                    self._file.unlink()
                if self._made and {file.name for file in self._folder.iterdir()} <= {LOCK_FILE}:
                    (self._folder / LOCK_FILE).unlink(missing_ok=True)
                    self._folder.rmdir()
        finally:
            _own.discard(self._holder.token)

    @property
    def holder(self) -> Holder:
        """This process, as its mark names it while the lock is held."""
        return self._holder

    @property
    def mark(self) -> str:
        """The name of the mark in the folder."""
        return self._file.name

    def require(self) -> None:
        """Raises RunFault if another process has taken the place of this one, which it believed to be dead."""
        if self._is_lost(read_mark(self._file)[0]):
            raise RunFault(self._lost)

    def rivals(self) -> list[Path]:
        """Returns the marks of processes that must not work beside this one."""
        return [self._file]

    def others(self) -> list[Path]:
        """Returns the marks of all other processes that work in the folder."""
        marks = [mark for mark in read_marks(self._folder) if mark.alive]
        return [self._folder / mark.name for mark in marks if mark.holder is None or mark.holder.token not in _own]

    def _claim(self) -> str | None:
        """Makes the mark of this process and returns None, or returns who is in the way, as a sentence."""
        with writing(self._file):
            self._folder.mkdir(parents=True, exist_ok=True)
        with folder_lock(self._folder) as locked:
            now = file_time(self._folder)
            for file in self.rivals():
                holder, age = read_mark(file, now)
                if age is None:
                    continue
                if is_alive(holder, age):
                    return self._sentence(file, holder, age)
                _remove_dead(file, holder)
            marked = self._mark()
            while marked and not locked:  # another process may have moved the new mark away, as that of a dead one
                time.sleep(SETTLED)
                mark = read_mark(self._file)[0]
                if mark is not None:
                    marked = mark.token == self._holder.token
                    break
                marked = self._mark()
            return None if marked else f"{self._work} is taken: another process has just begun with it"

    def _mark(self) -> bool:
        """Makes the mark, and returns False if there is one: two processes may come here where there are no locks."""
        with writing(self._file):
            return write_exclusively(self._file, json.dumps(asdict(self._holder)))

    def _sentence(self, file: Path, holder: Holder | None, age: float) -> str:
        """Says who is in the way."""
        name = file.name.removeprefix(MARK).replace("-", " ")
        who = f"process {holder.pid} of {holder.host}" if holder is not None else f"a process that {file} does not name"
        since = f" since {holder.since}" if holder is not None else ""
        return f"{self._work} is taken: {who} works on {name}{since}, and gave its last sign of life {age:.0f} s ago"

    def _beat(self) -> None:
        """Gives a sign of life from time to time, until the work ends or another process has taken it over.

        It waits for no lock: whoever holds one for long would make all others in the folder look dead.
        """
        while not self._ended.wait(HEARTBEAT):
            holder, age = read_mark(self._file)
            if self._ended.is_set() or self._is_lost(holder):
                return
            with contextlib.suppress(OSError, RunFault):  # an error of a moment; the work itself meets others
                if age is not None:
                    os.utime(self._file)
                    continue
                with folder_lock(self._folder):
                    if not self._ended.is_set():
                        self._mark()

    def _is_lost(self, holder: Holder | None) -> bool:
        """Returns whether the mark is another process's, and notes which one that is."""
        if holder is not None and holder.token != self._holder.token:
            self._lost = (
                f"process {holder.pid} of {holder.host} has taken over {self._work}, because this one gave no "
                "sign of life for a minute; what is done is kept, and the other process goes on"
            )
        return bool(self._lost)


class ShardLock(WorkLock):
    """The lock of one shard of a run: processes whose shards have no image in common may work at once.

    Args:
        index, count: the number of the shard, from 0, and how many there are.
        wait: the seconds to wait for another process; None refuses at once, but waits if Slurm has started the job
            again.
    """

    def __init__(self, folder: Path, index: int, count: int, *, wait: float | None = None):
        self._index, self._count = index, count
        if wait is None:
            wait = WAIT_OF_REQUEUE if int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0 else 0.0
        super().__init__(folder, f"shard-{index}-of-{count}", work=f"shard {index} of {count} of {folder}", wait=wait)

    def rivals(self) -> list[Path]:
        """Returns the marks of shards that have images in common with this one."""
        marks = []
        for file in self._folder.glob(f"{MARK}shard-*"):
            numbers = re.fullmatch(r"shard-(\d+)-of-(\d+)", file.name.removeprefix(MARK))
            if numbers is not None and may_share_images(self._index, self._count, int(numbers[1]), int(numbers[2])):
                marks.append(file)
        return marks


class Mark(NamedTuple):
    """A mark in a folder.

    Args:
        holder: whom it names; None if it cannot be read.
        age: the seconds since the last sign of life.
        alive: whether the process still works, as far as can be known.
    """

    name: str
    holder: Holder | None
    age: float
    alive: bool

    @property
    def work(self) -> str:
        """What the process works on, see `work_of`."""
        return work_of(self.name)


def work_of(mark: str) -> str:
    """Returns what the process works on that has a mark of this name.

    >>> work_of(".working-shard-0-of-4")
    'shard 0 of 4'
    """
    return unquote(mark.removeprefix(MARK)).replace("-", " ")


def read_marks(folder: Path) -> list[Mark]:
    """Returns the marks of all processes that work in a folder, or did so until they were killed."""
    now, marks = file_time(folder), list[Mark]()
    for file in sorted(folder.glob(f"{MARK}*")):
        holder, age = read_mark(file, now)
        if age is not None:
            marks.append(Mark(file.name, holder, age, is_alive(holder, age)))
    return marks


def lock_of_results(run: Path, name: str, *, wait: float = 0.0) -> WorkLock:
    """Returns the lock of what is measured of a run and stored in its folder under a name."""
    return WorkLock(run, f"results-{quote(name, safe='')[:100]}", work=f"{name!r} of {run}", wait=wait)


def may_share_images(index: int, count: int, other_index: int, other_count: int) -> bool:
    """Returns whether two shards can have an image in common.

    >>> may_share_images(0, 2, 1, 2), may_share_images(0, 2, 1, 3), may_share_images(1, 2, 3, 4)
    (False, True, True)
    """
    return (index - other_index) % math.gcd(count, other_count) == 0


def file_time(folder: Path) -> float:
    """Returns the time as the folder's file system has it: the clocks of two machines may differ."""
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder, prefix=ASIDE) as stream:
        return os.fstat(stream.fileno()).st_mtime
    return time.time()


def read_mark(file: Path, now: float = 0.0) -> tuple[Holder | None, float | None]:
    """Returns whom a mark names, and how old it is in seconds.

    The holder is None if the mark cannot be read, and the age is None if there is no mark.
    """
    content, age = read_with_age(file, now)
    try:
        return (None if content is None else Holder(**json.loads(content))), age
    except (ValueError, TypeError):
        return None, age


def read_with_age(file: Path, now: float) -> tuple[str | None, float | None]:
    """Returns the text of a small file, and how old it is in seconds.

    The text is None if it cannot be read, and the age is None if there is no file; what cannot be read may be there.

    Args:
        now: the time, as the file's file system has it.
    """
    try:
        with file.open() as stream:  # opened first, so that a network file system asks for the time anew
            return stream.read(), abs(now - os.fstat(stream.fileno()).st_mtime)
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except OSError:
        return None, 0.0


def is_alive(holder: Holder | None, age: float) -> bool:
    """Returns whether the process of a mark still works; one that the mark does not say counts by its age."""
    return age < DEAD_AFTER if holder is None else holder.is_alive(age)


def _remove_dead(file: Path, holder: Holder | None) -> None:
    """Removes the mark of a dead process.

    Where the file system has no locks, another process may have taken it over a moment ago. So the mark is moved
    away first, and put back if it is not the one that was read, unless a third one stands there by now.
    """
    aside = file.with_name(f"{ASIDE}{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        os.rename(file, aside)
    with contextlib.suppress(OSError):
        if aside.exists() and read_mark(aside)[0] != holder:
            os.link(aside, file)
    aside.unlink(missing_ok=True)
    log.info(
        "%s is left by a process that has ended%s", file, f" (process {holder.pid} of {holder.host})" if holder else ""
    )
