"""Claims: which images a worker has in hand, so that several work in one folder and no image is explained twice.

A claim is a file of the run's folder `claims`, made by O_EXCL and never changed: of several workers one makes it, also
on a network file system. If a worker dies, another takes over by making the file of the next number. So no lock is
needed, and nothing has to be moved or removed at the right moment. A worker is dead if its process has ended, or if the
mark of its shard gave no sign of life for a minute; one that was only stopped finds the claim of another when it wakes.
"""

import contextlib
import itertools
import json
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from inr_xai.runs.files import write_exclusively, writing
from inr_xai.runs.lock import DEAD_AFTER, HEARTBEAT, Holder, file_time, is_alive, read_mark, read_with_age
from inr_xai.runs.structure import require

CLAIMS = "claims"
"""The folder of the claims, within the run folder."""
KEPT = 120.0
"""Seconds that a worker's claim stays after its image is stored: a network file system may show the file later."""
DOUBTFUL = 2.5 * HEARTBEAT
"""Seconds without a sign of life after which a worker may be dead."""
HOLDER = {"host": str, "machine": str, "pid": int, "started": (int, None), "since": str, "token": str}
SHAPE = {"id": str, "mark": str, "holder": HOLDER}
"""The shape of a claim's file."""


@dataclass(frozen=True)
class Claim:
    """One worker's claim of one image.

    Args:
        mark: the name of the worker's mark in the run folder.
        number: how many claims of the image were broken before.
        age: seconds since it was made.
    """

    sample_id: str
    mark: str
    holder: Holder
    number: int
    age: float


class Claims:
    """The claims of a run, to which one worker adds its own.

    Args:
        run: the run folder.
        mark: the name of this worker's mark there.
        holder: this worker, as its mark names it.
    """

    def __init__(self, run: Path, mark: str, holder: Holder):
        self._run, self._mark, self._holder = run, mark, holder
        self._ended: list[tuple[float, str]] = []

    def take(self, sample_id: str) -> int | None:
        """Claims an image, and returns how many claims of it were broken for that; None if a living worker has it.

        Raises RunFault as `writing` does.
        """
        while True:
            number = self._count(sample_id)
            if number and (held := is_held(self._run, self._file(sample_id, number - 1))) is not False:
                if held:
                    return None
                continue  # it has just been removed
            if self._make(sample_id, number):
                return number

    def release(self, sample_ids: Collection[str]) -> None:
        """Gives claims back: those of images that are stored or have failed. Their files go a while later."""
        now = time.monotonic()
        self._ended += [(now, sample_id) for sample_id in sample_ids]
        while self._ended and self._ended[0][0] < now - KEPT:
            self._remove(self._ended.pop(0)[1])

    def tidy(self) -> None:
        """Removes all claims, if no other worker is there."""
        with contextlib.suppress(OSError):
            for file in (self._run / CLAIMS).iterdir():
                file.unlink(missing_ok=True)
            (self._run / CLAIMS).rmdir()

    def _make(self, sample_id: str, number: int) -> bool:
        """Makes the claim of a number, and returns False if it is there."""
        file = self._file(sample_id, number)
        text = json.dumps({"id": sample_id, "mark": self._mark, "holder": asdict(self._holder)})
        with writing(file):
            try:
                return write_exclusively(file, text)
            except FileNotFoundError:
                file.parent.mkdir(exist_ok=True)
                return write_exclusively(file, text)

    def _file(self, sample_id: str, number: int) -> Path:
        from inr_xai.seeding import sha256  # late: it brings torch

        return self._run / CLAIMS / f"{sha256(sample_id.encode(errors='surrogatepass')).hexdigest()[:32]}.{number}"

    def _remove(self, sample_id: str) -> None:
        """Removes all claims of an image, the last one first: one that is left over stands for all."""
        for number in reversed(range(self._count(sample_id))):
            self._file(sample_id, number).unlink(missing_ok=True)

    def _count(self, sample_id: str) -> int:
        """Returns how many claims of an image there are."""
        return next(number for number in itertools.count() if not self._file(sample_id, number).exists())


def is_held(run: Path, file: Path) -> bool | None:
    """Returns whether the worker that a claim's file names is alive; None if the file is gone.

    A claim that cannot be read counts by its age.
    """
    now = file_time(run)
    claim, age = _read(file, now)
    if claim is None:
        return None if age is None else age < DEAD_AFTER
    return silence(run, claim, now) is not None


def silence(run: Path, claim: Claim, now: float) -> float | None:
    """Returns the seconds since the last sign of life of a claim's worker; None if it is dead.

    Args:
        now: the time, as the run's file system has it.
    """
    holder, age = read_mark(run / claim.mark, now)
    if age is None or (holder is not None and holder.token != claim.holder.token):
        return None  # the worker has ended, and another one may have its shard
    return age if age < DEAD_AFTER and is_alive(holder, age) else None


def read_claims(run: Path) -> Iterator[Claim]:
    """Yields the claims in a run's folder, of each image the last one; what cannot be read is none."""
    last: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for file in (run / CLAIMS).iterdir():
            if match := re.fullmatch(r"([0-9a-f]{32})\.(\d+)", file.name):
                last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    now = file_time(run) if last else 0.0
    for name, number in sorted(last.items()):
        claim, _ = _read(run / CLAIMS / f"{name}.{number}", now)
        if claim is not None:
            yield claim


def doubtful(run: Path, sample_ids: Collection[str]) -> bool:
    """Returns whether any of these images is claimed by a worker that may be dead, or has just been seen to be."""
    now = file_time(run)
    silences = [silence(run, claim, now) for claim in read_claims(run) if claim.sample_id in sample_ids]
    return any(seconds is None or seconds > DOUBTFUL for seconds in silences)


def _read(file: Path, now: float) -> tuple[Claim | None, float | None]:
    """Returns a claim and the age of its file in seconds; None for what cannot be read, and for what is not there."""
    content, age = read_with_age(file, now)
    if content is None or age is None:
        return None, age
    try:
        values = json.loads(content)
        require(values, SHAPE)
        holder = Holder(**{name: values["holder"][name] for name in HOLDER})
        return Claim(values["id"], values["mark"], holder, int(file.suffix[1:]), age), age
    except ValueError:
        return None, age
