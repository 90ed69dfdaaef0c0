"""Runs that a campaign of faults disturbs: how they are started and stopped, and what two run folders differ in.

A process is a fork of this one, which has imported everything: so it begins its own work at once, and a fault can hit
any moment of that work. A cold process is a new interpreter, as a user starts it.
"""

import csv
import io
import itertools
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
COLD = "import sys; mark = sys.argv.pop(1); from inr_xai.cli import main; open(mark, 'w').close(); main()"
"""The program of a cold process, which leaves a mark as soon as its own work begins."""
LIMIT = 300.0  # seconds after which a process counts as hanging
SIDE, CLASSES = 24, 8  # of the classifier's inputs in pixels; of its outputs
LAYERS = (
    "{_target_: torch.nn.Conv2d, in_channels: 3, out_channels: 8, kernel_size: 5, stride: 4}",
    "{_target_: torch.nn.ReLU}",
    "{_target_: torch.nn.AdaptiveAvgPool2d, output_size: 2}",
    "{_target_: torch.nn.Flatten}",
    "{_target_: torch.nn.Linear, in_features: 32, out_features: 8}",
)
VARYING = (
    *("seconds", "seconds_per_image", "sessions", "wandb_id", "config", "versions", "classifier_passes", "concluded"),
)
"""Keys of JSON files that may differ between two runs of the same result; configurations are compared by themselves."""
STORED = ("sample_id", "target", "frame", "areas", "rows", "drawing", "extra")
"""What a masks file says of its image whichever session and shard made it."""
STEPS = ("steps_before", "steps_after")
"""What it says of its place in the run, which is another one if the run is divided into shards."""
BY_STEPS = ("curves.csv",)
"""Files that follow from these places."""
REPEATABLE = (".csv", ".md", ".tex", ".npz", ".txt")
"""Suffixes of files that have to be equal as they are, besides masks files and JSON."""


def make_network(folder: Path) -> list[str]:
    """Writes the weights of a tiny classifier, and returns the options of a short run with it."""
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 8, 5, stride=4), nn.Linear(32, CLASSES)
    with torch.no_grad():
        last.weight *= 30  # different images have different probabilities
    network = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), last)
    torch.save(network.state_dict(), folder / "network.pth")
    return [
        "classifier=custom",
        "classifier.model._target_=torch.nn.Sequential",
        f"classifier.model._args_=[{','.join(LAYERS)}]",
        f"classifier.checkpoint={folder / 'network.pth'}",
        f"classifier.input_size={SIDE}",
        f"classifier.resize={SIDE}",
        "steps=2",
        "areas=[0.1,0.3]",
        "logger=none",
        "trainer.accelerator=cpu",
        "callbacks.figures=null",
    ]


@dataclass
class Ended:
    """How a process ended.

    Args:
        status: its exit status; minus the number of the signal that killed it; None if it had to be stopped.
        text: what it printed, on both streams.
        seconds, cpu_seconds: the time that passed, and the time that it used the processor, which does not grow with
            other work on the machine.
    """

    status: int | None
    text: str
    seconds: float
    cpu_seconds: float

    @property
    def errors(self) -> list[str]:
        """The lines that begin as a refusal does."""
        return [line for line in self.text.splitlines() if line.startswith("error: ")]

    @property
    def is_clean(self) -> bool:
        """Returns whether nothing printed is a traceback."""
        return "Traceback (most recent call last)" not in self.text

    def shown(self) -> str:
        """Returns the status with the last lines that were printed, for a report."""
        return f"status {self.status}: " + " / ".join(self.text.strip().splitlines()[-4:])[-600:]


@dataclass
class Process:
    """A started process. `began` is when its own work began."""

    pid: int
    terminal: Path
    began: float = field(default_factory=time.monotonic)
    _status: int | None = None
    _cpu_seconds: float = 0.0

    def has_ended(self) -> bool:
        """Returns whether the process has ended."""
        if self._status is None:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._status, self._cpu_seconds = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        return self._status is not None

    def send(self, number: signal.Signals, after: float) -> bool:
        """Sends a signal so many seconds after the work began; returns False if the process has ended before."""
        while time.monotonic() < self.began + after:
            if self.has_ended():
                return False
            time.sleep(min(0.01, max(0.0, self.began + after - time.monotonic())))
        if self.has_ended():
            return False
        os.kill(self.pid, number)
        return True

    def wait(self, limit: float = LIMIT) -> Ended:
        """Returns how the process ended; one that does not end is killed."""
        hanging = False
        while not self.has_ended():
            if time.monotonic() > self.began + limit and not hanging:
                os.kill(self.pid, signal.SIGKILL)
                hanging = True
            time.sleep(0.005)
        text = self.terminal.read_text(errors="replace")
        return Ended(None if hanging else self._status, text, time.monotonic() - self.began, self._cpu_seconds)


_numbers = itertools.count()


def start(
    *arguments: str, folder: Path, cold: bool = False, file_limit: int | None = None, memory: int | None = None
) -> Process:
    """Starts the program.

    Args:
        folder: where it works, and where a file keeps what it prints.
        cold: start a new interpreter, and return when its own work begins.
        file_limit: the largest file that it may write, in bytes.
        memory: the address space that it may take, in bytes.
    """
    number = next(_numbers)
    terminal, mark = folder / f"terminal-{number}.txt", folder / f"mark-{number}"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        limits = {resource.RLIMIT_FSIZE: file_limit, resource.RLIMIT_AS: memory}
        _become(arguments, folder, terminal=terminal, mark=mark if cold else None, limits=limits)
    process = Process(pid, terminal)
    while cold and not mark.exists() and not process.has_ended():
        time.sleep(0.005)
    process.began = time.monotonic()
    return process


def finish(*arguments: str, folder: Path, cold: bool = False) -> Ended:
    """Starts the program and waits for its end."""
    return start(*arguments, folder=folder, cold=cold).wait()


def _become(
    arguments: Sequence[str], folder: Path, *, terminal: Path, mark: Path | None, limits: Mapping[int, int | None]
) -> None:
    """Makes this forked process the program, and ends it as the interpreter would."""
    status = 1
    try:
        handle = os.open(terminal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.chdir(folder)
        os.environ.pop("HYDRA_FULL_ERROR", None)
        os.environ["OMP_NUM_THREADS"] = "1"
        for kind, most in limits.items():
            if most is not None:
                resource.setrlimit(kind, (most, most))
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # a shell ignores some of them for what it starts in the background
        if mark is not None:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            os.execve(sys.executable, [sys.executable, "-c", COLD, str(mark), *arguments], environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["inr-xai", *arguments]
        from inr_xai.cli import main

        main()
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
    except KeyboardInterrupt:
        traceback.print_exc()
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status & 0xFF)


def differences(expected: Path, actual: Path, *, shards: bool = False, partial: bool = False) -> list[str]:
    """Returns in what the results of a run folder differ from those of an undisturbed run: nothing if they are equal.

    Compared are all masks to the bit with what is stored beside them, all tables as they are, and the facts of JSON
    files but for times. Figures have to be there. A file that is not whole must not be left over.

    Args:
        shards: whether one of the runs was divided into shards, so that its images have other places in the run.
        partial: whether the run is not finished: only the masks files that it has are compared.
    """
    found = [f"left over: {name}" for name in names_below(actual) if ".writing-" in name and not partial]
    wanted, present = ({name for name in names_below(folder) if is_result(name)} for folder in (expected, actual))
    if partial:
        present = {name for name in present if name.startswith("masks/")}
        found += [f"not expected: {name}" for name in sorted(present - wanted)]
    else:
        found += [f"{name} is in one folder only" for name in sorted(wanted ^ present)]
    for name in sorted(wanted & present):
        if shards and name in BY_STEPS:
            continue
        try:
            equal = _content(expected / name, shards=shards) == _content(actual / name, shards=shards)
        except Exception as error:  # whatever a damaged file raises is a finding
            found.append(f"{name} cannot be read: {type(error).__name__}: {error}")
            continue
        if not equal:
            found.append(f"{name} differs")
    return found


def names_below(folder: Path) -> Iterator[str]:
    """Yields the names of the files of a folder."""
    return (file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file())


def is_result(name: str) -> bool:
    """Returns whether a file of a run folder is compared: hidden ones, logs, and notes of jobs are not."""
    if name.startswith("jobs/"):
        return False
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and name.endswith((".safetensors", ".json", ".png", *REPEATABLE))


def _content(file: Path, *, shards: bool) -> Any:
    """Returns what has to be equal of a file."""
    if file.suffix == ".safetensors":
        with safetensors.safe_open(str(file), framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            meta = json.loads((opened.metadata() or {}).get("inr_xai", "{}"))
        bits = {name: (tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for name, tensor in tensors.items()}
        return bits, {key: meta.get(key) for key in (STORED if shards else (*STORED, *STEPS))}
    if file.suffix == ".json":
        return _without_varying(json.loads(file.read_text()))
    if file.suffix == ".png":
        return file.stat().st_size > 0
    text = file.read_bytes().decode("latin-1")
    if file.suffix != ".csv":
        return text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    return text.split("\n")[0], [{key: row[key] for key in row if "seconds" not in str(key)} for row in rows]


def _without_varying(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_varying(part) for key, part in value.items() if key not in VARYING}
    return [_without_varying(part) for part in value] if isinstance(value, list) else value
