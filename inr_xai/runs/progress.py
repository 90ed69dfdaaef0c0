"""How far a run has come, from its folder alone: what is done, failed, in hand and left, by whom, and how fast.

Nothing here needs the data, the classifier or torch, so the answer comes at once, also while the run goes on.
"""

import re
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from inr_xai.errors import IMAGES_FAILED, LEFT_ALONE, WORKED_ON, UserError
from inr_xai.runs.claims import DOUBTFUL, Claim, read_claims
from inr_xai.runs.failures import FailureNotes
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.lock import DEAD_AFTER, Mark, file_time, read_marks, work_of

RECENT = 600.0
"""Seconds over which the rate of now is measured."""
ALIVE, SILENT, DEAD = "alive", "silent", "dead"
"""What a worker is: it gave a sign of life lately; it gave none lately, but may be there; it has ended."""
RUNNING, FINISHED, STOPPED = "running", "finished", "stopped"
"""What a run is: somebody works on it; it is done, with its tables; nobody works on it, and something is left."""
STATUS = {RUNNING: WORKED_ON, STOPPED: LEFT_ALONE}
"""Exit status of `inr-xai status` by what the run is; that of a finished run depends on its failures."""


@dataclass(frozen=True)
class Worker:
    """A process that works on a run, or has done so until it was killed.

    Args:
        work: what it works on, such as "shard 0 of 4"; "results masks" measures or draws what is in the run.
        state: ALIVE, SILENT or DEAD.
        silent_for: the seconds since its last sign of life; None if there is no trace of it but images in hand.
        since: when it began, by the clock of its machine.
        images: the images that it has in hand, and for how many seconds each; empty if it is the only worker, which
            does not note them.
    """

    host: str
    pid: int
    work: str
    state: str
    silent_for: float | None
    since: str
    images: Mapping[str, float]

    @property
    def explains(self) -> bool:
        """Whether it explains images."""
        return self.work.startswith("shard")

    @property
    def lives(self) -> bool:
        """Whether it is alive, or may be: silence of a minute is too much."""
        return self.state != DEAD and self.silent_for is not None and self.silent_for < DEAD_AFTER


@dataclass(frozen=True)
class RunProgress:
    """How far a run has come.

    Args:
        planned: the number of images of all shards; None if an earlier version has not noted it.
        done, failed: the numbers of images that are explained, and that could not be.
        reasons: the reasons of failures and how many images each has; the most frequent first.
        workers: who works in the folder.
        tables: whether the tables of the run speak of all that is done.
        recent, session: images a minute in the last RECENT seconds, and since the first of the workers began; None
            if nobody works.
        session_seconds: how long ago that was.
        idle: the seconds since the last image was stored; None if there is none, or if that is not known.
    """

    planned: int | None
    done: int
    failed: int
    reasons: Sequence[tuple[str, int]]
    workers: Sequence[Worker]
    tables: bool
    recent: float | None
    session: float | None
    session_seconds: float | None
    idle: float | None

    @property
    def explainers(self) -> list[Worker]:
        """The workers that explain images."""
        return [worker for worker in self.workers if worker.explains]

    @property
    def living(self) -> int:
        """The number of workers that explain images and are alive."""
        return sum(worker.lives for worker in self.explainers)

    @property
    def in_flight(self) -> int:
        """The number of images that living workers have noted as in hand."""
        return sum(len(worker.images) for worker in self.explainers if worker.lives)

    @property
    def left(self) -> int | None:
        """The number of images that are neither done nor failed, those in hand included; None if it is not known."""
        return None if self.planned is None else max(self.planned - self.done - self.failed, 0)

    @property
    def state(self) -> str:
        """RUNNING, FINISHED or STOPPED."""
        if self.living:
            return RUNNING
        return FINISHED if self.tables and not self.left else STOPPED

    @property
    def seconds_left(self) -> float | None:
        """The seconds until all images are done, by the rate of now; None if it is not known."""
        rate = self.recent or self.session
        return None if self.left is None or not rate else 60 * self.left / rate

    @property
    def exit_status(self) -> int:
        """What `inr-xai status` ends with."""
        return STATUS.get(self.state, IMAGES_FAILED if self.failed else 0)

    def plain(self) -> dict[str, Any]:
        """Returns everything as plain values, for a program that reads it."""
        names = ("state", "exit_status", "planned", "done", "failed", "in_flight", "left", "living", "tables")
        return {
            **{name: getattr(self, name) for name in names},
            "reasons": [{"reason": reason, "images": images} for reason, images in self.reasons],
            "images_per_minute": {"recent": self.recent, "session": self.session},
            "session_seconds": self.session_seconds,
            "seconds_left": self.seconds_left,
            "seconds_since_last_image": self.idle,
            "workers": [vars(worker) | {"images": dict(worker.images)} for worker in self.workers],
        }


def progress_of(path: str | Path) -> RunProgress:
    """Looks at a run's folder, and returns how far the run has come.

    Raises UserError if the folder holds no run and nobody begins one there, or if run.json is damaged.
    """
    folder = RunFolder(path)
    marks = read_marks(folder.path)
    begins = not folder.exists() and any(mark.alive for mark in marks)  # it still builds its classifier
    planned = None if begins else folder.read_run().get("planned")
    times = sorted(place.mtime / 1e9 for place in folder.images.places())
    failures = _failures(folder)
    claims = [claim for claim in read_claims(folder.path) if claim.sample_id not in failures]
    stored = folder.stored({claim.sample_id for claim in claims})  # claims stay for a while when their images are done
    workers = _workers(marks, [claim for claim in claims if claim.sample_id not in stored])
    now, began = file_time(folder.path), _began(workers)
    return RunProgress(
        planned=planned,
        done=len(times),
        failed=len(failures),
        reasons=grouped(failures.values()),
        workers=workers,
        tables=_tables_are_there(folder, len(times)),
        recent=None if began is None else _rate(times, max(began, now - RECENT), now),
        session=None if began is None else _rate(times, began, now),
        session_seconds=None if began is None else max(now - began, 0.0),
        idle=max(now - times[-1], 0.0) if times else None,
    )


def grouped(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Returns reasons and how often each is given, the most frequent first.

    Those that differ only in what is quoted, in a path or in a number are one, in which dots stand for these.

    >>> grouped(["'a.jpg' has 3 bytes", "no class", "'b.jpg' has 40 bytes"])
    [('... has ... bytes', 2), ('no class', 1)]
    """
    groups: dict[str, Counter[str]] = {}
    for reason in reasons:
        groups.setdefault(re.sub(r"'[^']*'|\"[^\"]*\"|\S*[/\\]\S*|\d[\w.]*", "...", reason), Counter())[reason] += 1
    named = [
        (next(iter(texts)) if len(texts) == 1 else common, sum(texts.values())) for common, texts in groups.items()
    ]
    return sorted(named, key=lambda pair: (-pair[1], pair[0]))


def duration(seconds: float) -> str:
    """Returns a time as hours, minutes and seconds.

    >>> duration(75), duration(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _failures(folder: RunFolder) -> dict[str, str]:
    """Returns the images that could not be explained, with the reasons; those that are tried again are none of them."""
    for attempt in range(3):
        with suppress(UserError):
            failures = folder.read_failures()
            break
        time.sleep(0.1 * (attempt + 1))  # another process may be in the middle of a line
    else:
        failures = FailureNotes(folder).read(())
    stored = folder.stored(failures)
    return {name: why for name, why in failures.items() if name not in stored}


def _workers(marks: Sequence[Mark], claims: Collection[Claim]) -> list[Worker]:
    """Returns who works in the folder, each with its claims."""
    claimed: dict[str, list[Claim]] = {}
    for claim in claims:
        claimed.setdefault(claim.holder.token, []).append(claim)
    workers = []
    for mark in marks:
        state = DEAD if not mark.alive else SILENT if mark.age > DOUBTFUL else ALIVE
        host, pid, since, token = "an unknown machine", 0, "", ""
        if mark.holder is not None:
            host, pid, since, token = mark.holder.host, mark.holder.pid, mark.holder.since, mark.holder.token
        images = {claim.sample_id: claim.age for claim in claimed.pop(token, [])}
        workers.append(Worker(host, pid, mark.work, state, mark.age, since, images))
    for own in claimed.values():  # of workers whose marks are gone, or have become those of others
        holder, work = own[0].holder, work_of(own[0].mark)
        images = {claim.sample_id: claim.age for claim in own}
        workers.append(Worker(holder.host, holder.pid, work, DEAD, None, holder.since, images))
    return workers


def _began(workers: Sequence[Worker]) -> float | None:
    """Returns when the first of the living workers began, in seconds since 1970; None if none lives."""
    times = [_moment(worker.since) for worker in workers if worker.explains and worker.lives]
    return min((moment for moment in times if moment is not None), default=None)


def _moment(since: str) -> float | None:
    """Returns when a worker began, in seconds since 1970; None if it does not say so.

    >>> _moment("2026-11-29 18:00:00 +0100")
    1795971600.0
    """
    for form in ("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S"):  # earlier versions left the time zone out
        with suppress(ValueError, OverflowError):
            return datetime.strptime(since, form).timestamp()
    return None


def _rate(times: Sequence[float], start: float, now: float) -> float:
    """Returns the images a minute between two moments, given when images were stored, in order."""
    return 60 * (len(times) - bisect_right(times, start)) / max(now - start, 1.0)


def _tables_are_there(folder: RunFolder, done: int) -> bool:
    """Returns whether summary.json speaks of as many images as are done, as it does when a run has ended."""
    with suppress(UserError):
        return folder.read_summary().get("images") == done
    return False
