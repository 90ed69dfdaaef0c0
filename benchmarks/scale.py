"""How a run grows: two processes against one, and memory and rate along a run of many images.

    python benchmarks/scale.py                            both parts, about half an hour on two cores
    python benchmarks/scale.py processes --images 400
    python benchmarks/scale.py --quick                    a sample of under a minute

The images are drawn (`data=synthetic`), the classifier is the demo's, and fits are short (5 steps, one area, one
explanation): what is measured is the machinery around them. `processes` explains them by one process, and by two
workers that share a folder, in turns; `flat` explains 2,000 in one run and looks at each quarter of it. One thread a
process. Prints one JSON object a part, and stores it below --results.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from inr_xai.runs.files import write_json
from inr_xai.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("benchmarks/results/scale")
OPTIONS = (
    *("steps=5", "areas=[0.1]", "explanations=1", "logger=none", "report=false", "trainer.accelerator=cpu"),
    *("callbacks.figures=null", "threads=1"),
)
QUARTERS, MANY = 4, 50
LOOK = 0.05
"""Seconds between two looks at a process."""
Figures = dict[str, Any]


@dataclass
class Ended:
    """A process that has ended: its exit status, seconds since it was started, and the most megabytes that it held."""

    status: int
    seconds: float
    megabytes: float


class Worker:
    """A process of the program.

    Args:
        options: KEY=VALUE.
        log: the file to which it prints.
    """

    def __init__(self, options: Sequence[str], log: Path):
        self._began = time.monotonic()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with log.open("a") as stream:
            command = [sys.executable, str(ROOT / "train.py"), *options]
            self._process = subprocess.Popen(command, cwd=log.parent, env=environment, stdout=stream, stderr=stream)
        self.ended: Ended | None = None

    def look(self) -> float | None:
        """Returns the megabytes that the process holds now; None if it has ended."""
        if self.ended is None:
            pid, status, used = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                seconds = time.monotonic() - self._began
                self.ended = Ended(self._process.returncode, seconds, used.ru_maxrss / 1024)
        if self.ended is not None:
            return None
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except OSError:
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def wait(self) -> Ended:
        """Waits for the end of the process."""
        while self.look() is not None:
            time.sleep(LOOK)
        assert self.ended is not None
        return self.ended


def processes(folder: Path, images: int) -> Figures:
    """Explains images by one process, and by two workers in one folder; of many images, the shorter of two tries."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    megabytes: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(2 if images >= MANY else 1):
        for count in seconds:
            run = folder / f"{count}-processes-{turn}"
            began = time.monotonic()
            options = [*OPTIONS, f"data.size={images}", f"out={run}"]
            shared = [[f"shard.count={count}", "shard.steal=true", f"shard.index={index}"] for index in range(count)]
            log = folder / "log.txt"
            workers = [Worker([*options, *(own if count > 1 else [])], log) for own in shared]
            ended = [worker.wait() for worker in workers]
            seconds[count].append(time.monotonic() - began)
            megabytes[count] = [round(one.megabytes) for one in ended]
            require([one.status for one in ended] == [0] * count, log)
            require(stored(run) == images, log)
    best = {count: min(values) for count, values in seconds.items()}
    return {
        "images": images,
        "seconds": {count: round(value, 1) for count, value in best.items()},
        "images_per_second": {count: round(images / value, 2) for count, value in best.items()},
        "speed_up": round(best[1] / best[2], 2),
        "megabytes": megabytes,
    }


def flat(folder: Path, images: int) -> Figures:
    """Explains many images in one run, and looks at its memory and its rate in each quarter."""
    run, log = folder / "flat", folder / "log.txt"
    worker = Worker([*OPTIONS, f"data.size={images}", f"out={run}"], log)
    held: list[list[float]] = [[] for _ in range(QUARTERS)]
    reached = [0.0] * (QUARTERS + 1)
    quarter, first = 0, 0
    while (now := worker.look()) is not None:
        done = stored(run)
        if done and not first:
            first, reached[0] = done, time.monotonic()
        while quarter < QUARTERS and done >= images * (quarter + 1) / QUARTERS:
            quarter += 1
            reached[quarter] = time.monotonic()
        if done and quarter < QUARTERS:
            held[quarter].append(now)
        time.sleep(0.25)
    require(worker.wait().status == 0 and stored(run) == images, log)
    reached = [moment or time.monotonic() for moment in reached]  # the end itself may have come between two looks
    parts = [images / QUARTERS - (first if number == 0 else 0) for number in range(QUARTERS)]
    lengths = [after - before for before, after in pairwise(reached)]
    return {
        "images": images,
        "megabytes": [round(mean(part), 1) if part else None for part in held],
        "images_per_second": [round(part / max(took, 1e-9), 2) for part, took in zip(parts, lengths, strict=True)],
        "seconds": round(worker.wait().seconds, 1),
    }


def stored(run: Path) -> int:
    """Returns how many images are stored."""
    return len(RunFolder(run).done())


def require(holds: bool, log: Path) -> None:
    """Ends the program with what was printed last unless something holds."""
    if not holds:
        raise SystemExit("a run did not end well:\n" + log.read_text()[-2000:])


PARTS: dict[str, tuple[Callable[[Path, int], Figures], int, int]] = {
    "processes": (processes, 200, 16),
    "flat": (flat, 2000, 24),
}
"""Name -> the part, its number of images, and that of a sample."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, measures, prints and stores the figures, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; default: all")
    parser.add_argument("--images", type=int, help="how many, instead of each part's own number")
    parser.add_argument("--quick", action="store_true", help="few images")
    parser.add_argument("--results", type=Path, help=f"where the results go (default: {RESULTS}; a sample: nowhere)")
    args = parser.parse_args(arguments)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))} is no part; choose some of {', '.join(PARTS)}")
    results = args.results or (None if args.quick else RESULTS)
    for name in args.parts or PARTS:
        part, full, sample = PARTS[name]
        folder = Path(tempfile.mkdtemp(prefix="scale_"))
        try:
            figures = part(folder, args.images or (sample if args.quick else full))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps({"part": name} | figures), flush=True)
        if results is not None:
            write_json(results / f"{name}.json", figures | {"cores": os.cpu_count()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
