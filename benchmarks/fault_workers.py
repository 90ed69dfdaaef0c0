"""Faults of several workers that explain the images of one folder together, and take those of each other."""

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault_part import DONE, Part
from fault_runs import Process, finish, start

from inr_xai.runs import claims, lock

WORKERS = 4
TWICE = "was stored by another worker meanwhile"
"""What the log says of a fit whose image somebody else has stored."""
PATIENCE = {"DEAD_AFTER": 3.0, "HEARTBEAT": 0.4, "DOUBTFUL": 1.0}
"""Seconds after which a silent worker is dead, and so on, where workers are stopped: a minute would be too long."""


def kill_workers(part: Part) -> None:
    """SIGKILL of random workers at random moments; each is started again, and another takes what it had in hand."""
    _disturb(part, part.count(30, 2), signal.SIGKILL)


def stop_workers(part: Part) -> None:
    """SIGSTOP of random workers, which go on when they count as dead, and find their claims taken by others."""
    with _impatient():
        _disturb(part, part.count(30, 1), signal.SIGSTOP)
    if not part.quick:
        part.require(part.figures["fits_done_twice"] > 0, "no claim was taken of a worker that woke up again")


def _disturb(part: Part, faults: int, number: signal.Signals) -> None:
    """Runs folders to their ends, whose workers get a signal now and then, until there were so many faults."""
    part.options = [option for option in part.options if not option.startswith("data.size")]
    part.options.append(f"data.size={part.count(60, 12)}")
    expected, _ = part.undisturbed()
    twice = runs = 0
    while part.cases < faults:
        name = part.new_name()
        workers = Workers(part, name)
        while part.cases < faults and workers.any_works():
            time.sleep(part.draw.uniform(0.0, 0.6))
            part.cases += workers.disturb(number)
        texts = workers.end()
        run, what = part.folder / name, f"run {name} after fault {part.cases}"
        ended = finish(*part.options, f"out={name}", folder=part.folder)
        part.require(ended.status == DONE and ended.is_clean, f"{what} does not end well", ended)
        part.require_equal(expected, run, what, shards=True)
        part.require_verified(run, what)
        lines = committed(run)
        part.require(set(lines.values()) == {1}, f"{what}: {lines.most_common(3)} images were committed so often")
        twice += sum(text.count(TWICE) for text in texts)
        runs += 1
    part.figures = {"runs": runs, "fits_done_twice": twice}


class Workers:
    """The workers of one folder.

    Args:
        run: the name of the run folder.
    """

    def __init__(self, part: Part, run: str):
        self._part, self._command = part, [*part.options, f"out={run}", f"shard.count={WORKERS}", "shard.steal=true"]
        self._all: list[Process] = []
        self._now = {index: self._start(index) for index in range(WORKERS)}
        self._sleeping: dict[int, float] = {}

    def any_works(self) -> bool:
        """Returns whether a worker has not ended."""
        self._wake()
        return not all(process.has_ended() for process in self._now.values())

    def disturb(self, number: signal.Signals) -> bool:
        """Sends a signal to one of those that work, and returns whether it got it."""
        self._wake()
        at_work = [index for index, it in self._now.items() if not it.has_ended() and index not in self._sleeping]
        if not at_work or (number == signal.SIGSTOP and len(at_work) == 1):
            return False
        index = self._part.draw.choice(at_work)
        if not self._now[index].send(number, after=0.0):
            return False
        if number == signal.SIGSTOP:
            self._sleeping[index] = time.monotonic()
        else:
            self._now[index].wait()
            self._now[index] = self._start(index)
        return True

    def end(self) -> list[str]:
        """Waits for all workers, and returns what they printed."""
        while self.any_works():
            time.sleep(0.05)
        ended = [process.wait() for process in self._all]
        for one in ended:
            killed = one.status == -signal.SIGKILL
            self._part.require(killed or (one.status == DONE and one.is_clean), "a worker does not end well", one)
        return [one.text for one in ended]

    def _start(self, index: int) -> Process:
        process = start(*self._command, f"shard.index={index}", folder=self._part.folder)
        self._all.append(process)
        return process

    def _wake(self) -> None:
        """Lets those go on that were stopped for long enough to count as dead."""
        for index, since in list(self._sleeping.items()):
            if time.monotonic() - since > PATIENCE["DEAD_AFTER"] + self._part.draw.uniform(0.2, 1.0):
                self._now[index].send(signal.SIGCONT, after=0.0)
                del self._sleeping[index]


def committed(run: Path) -> Counter[str]:
    """Returns how many lines the index of a run has for each image."""
    lines = [line for file in sorted((run / "index").glob("*.images")) for line in file.read_text().splitlines()]
    return Counter(json.loads(re.split("\t", line)[1])["id"] for line in lines)


@contextmanager
def _impatient() -> Iterator[None]:
    """Lets silent workers count as dead sooner, in this process and those that are forked from it."""
    places = [(module, name) for module in (lock, claims) for name in PATIENCE if hasattr(module, name)]
    before = [getattr(*place) for place in places]
    for module, name in places:
        setattr(module, name, PATIENCE[name])
    try:
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)
