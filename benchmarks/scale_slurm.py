"""Shards of a run on a real Slurm while jobs die: the results are those of one undisturbed process, to the bit.

    bash scripts/slurm_one_node.sh up
    python benchmarks/scale_slurm.py data=image_folder data.root=PATH data.targets=predicted data.limit=200 \\
        classifier=torchvision classifier.name=squeezenet1_0 classifier.checkpoint=FILE
    bash scripts/slurm_one_node.sh down

One process explains the images first. Then four jobs of an array do so in one folder, at most two at once: of the first
the process is killed, the job started again, and killed once more; the second is asked to stop, as before a preemption,
and is started again; the third begins late; the fourth is held back and never begins. Prints what was done and when,
what `inr-xai status` says meanwhile, and one JSON object; the exit status is 1 if an image is missing, was stored twice
or has other bits. Fits are short: what is tested is the machinery.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fault_runs import differences
from fault_workers import committed
from scale import OPTIONS, RESULTS, ROOT, Worker, require, stored

from inr_xai.runs.files import write_json
from inr_xai.runs.lock import MARK, read_mark

JOBS = 4
KILLED, PREEMPTED, LATE, HELD = range(JOBS)
"""The jobs that are killed twice, asked to stop, held back for a while, and for ever."""
LAUNCHER = (
    *("hydra/launcher=slurm", "hydra.launcher.gpus_per_task=null", "hydra.launcher.cpus_per_task=1"),
    *("hydra.launcher.mem_gb=2", "hydra.launcher.timeout_min=60", "hydra.launcher.signal_delay_s=30"),
)
LIMIT = 3600.0
"""Seconds after which something that has not happened never will."""


class Array:
    """The jobs of a multirun on Slurm.

    Args:
        options: those of the run.
        folder: that of the multirun.
    """

    def __init__(self, options: Sequence[str], folder: Path, log: Path):
        self._began, self._said = time.monotonic(), 0.0
        self.run, self.log = folder / "0", log
        self.launcher = Worker(["-m", f"shards={JOBS}", *LAUNCHER, *options, f"out={folder}"], log)
        self.until(lambda: len(self._states()) == JOBS, "all jobs are known to Slurm")
        self.name = next(iter(self._states())).split("_")[0]

    @property
    def seconds(self) -> float:
        """The seconds since the multirun was started."""
        return time.monotonic() - self._began

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for a condition, and says when it came true; `inr-xai status` speaks now and then meanwhile."""
        while not condition():
            require(self.seconds < LIMIT, self.log)
            if self.seconds - self._said > 30 and (self.run / "run.json").exists():
                self._said = self.seconds
                status = [sys.executable, "-m", "inr_xai", "status", str(self.run)]
                subprocess.run(status, cwd=ROOT, check=False)
            time.sleep(0.2)
        print(f"{self.seconds:6.1f} s  {what}", flush=True)

    def state(self, job: int) -> str:
        """Returns the state of a job as squeue has it; empty if it knows it no more."""
        return self._states().get(f"{self.name}_{job}", "")

    def worker(self, job: int) -> int | None:
        """Returns the number of the process that explains a job's shard; None if it has not begun."""
        holder, _ = read_mark(self.run / f"{MARK}shard-{job}-of-{JOBS}")
        return None if holder is None else holder.pid

    def control(self, *command: str, job: int) -> None:
        """Gives Slurm an order about a job."""
        subprocess.run([*command, f"{self.name}_{job}"], check=False)

    def start_now(self, job: int) -> None:
        """Lets a job that was put back begin at once, and not two minutes later."""
        self.until(lambda: self.state(job) in ("PENDING", "RUNNING"), f"job {job} is put back")
        number = told("squeue", "--noheader", "--array", "--format=%i %A").get(f"{self.name}_{job}", "")
        subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], check=False, capture_output=True)

    def _states(self) -> dict[str, str]:
        return told("squeue", "--noheader", "--array", "--format=%i %T")


def told(*command: str) -> dict[str, str]:
    """Returns the lines that a command of Slurm prints, as first word -> second."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line.strip()}


def disturb(array: Array, images: int) -> None:
    """Kills, stops and holds back jobs until the images are done."""
    for job in (LATE, HELD):
        array.control("scontrol", "hold", job=job)
    kill_worker(array, more=images // 20, earlier=None, what=f"job {KILLED} works")
    first = array.worker(KILLED)
    array.control("scontrol", "requeue", job=KILLED)
    array.start_now(KILLED)
    kill_worker(array, more=images // 20, earlier=first, what=f"job {KILLED} works again")
    array.control("scontrol", "release", job=LATE)
    array.until(lambda: array.worker(PREEMPTED) is not None, f"job {PREEMPTED} works")
    array.control("scancel", "--signal=USR2", job=PREEMPTED)
    array.until(lambda: array.state(PREEMPTED) != "RUNNING", f"job {PREEMPTED} has stopped")
    array.start_now(PREEMPTED)
    array.until(lambda: stored(array.run) == images, f"all {images} images are stored")
    require(array.state(HELD) == "PENDING", array.log)
    array.control("scancel", job=HELD)


def kill_worker(array: Array, *, more: int, earlier: int | None, what: str) -> None:
    """Kills the process of the job KILLED when so many more images are stored; `earlier` is one that was killed."""
    array.until(lambda: array.worker(KILLED) not in (None, earlier), what)
    wanted = stored(array.run) + more
    array.until(lambda: stored(array.run) >= wanted, f"{more} more images are stored")
    pid = array.worker(KILLED)
    require(pid is not None, array.log)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    array.until(lambda: array.state(KILLED) != "RUNNING", f"job {KILLED} is killed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, does everything, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="options of the run, such as data.root=PATH")
    parser.add_argument("--folder", type=Path, help="where everything is made, and stays (default: a temporary folder)")
    parser.add_argument("--results", type=Path, help=f"where the figures go, such as {RESULTS}")
    args = parser.parse_args(arguments)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="scale_slurm_"))
    folder.mkdir(exist_ok=True)
    try:
        figures = measure([*OPTIONS, *args.overrides], folder.resolve())
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures))
    if args.results is not None:
        write_json(args.results / "slurm.json", figures)
    return 1 if figures["faults"] else 0


def measure(options: Sequence[str], folder: Path) -> dict[str, Any]:
    """Explains the images by one process and by jobs that die, and compares the results."""
    log, alone = folder / "log.txt", folder / "alone"
    undisturbed = Worker([*options, f"out={alone}"], log).wait()
    require(undisturbed.status == 0, log)
    images = stored_images(alone)
    print(f"{undisturbed.seconds:6.1f} s  one process, {images} images", flush=True)
    array = Array(options, folder / "jobs", log)
    disturb(array, images)
    ended = array.launcher.wait()
    print(f"{ended.seconds:6.1f} s  the multirun has ended with status {ended.status}", flush=True)
    again = Worker([*options, f"out={array.run}"], log).wait()  # the tables of all images, whoever was killed
    lines = committed(array.run)
    faults = differences(alone, array.run, shards=True)
    faults += [f"{name} was stored {count} times" for name, count in lines.items() if count != 1]
    faults += [] if again.status == 0 else ["the run does not end well"]
    return {
        "images": images,
        "seconds_of_one_process": round(undisturbed.seconds, 1),
        "seconds_of_the_jobs": round(ended.seconds, 1),
        "stored": len(lines),
        "faults": faults,
        "cores": os.cpu_count(),
    }


def stored_images(run: Path) -> int:
    """Returns how many images a finished run has."""
    count: int = json.loads((run / "summary.json").read_text())["images"]
    return count


if __name__ == "__main__":
    sys.exit(main())
