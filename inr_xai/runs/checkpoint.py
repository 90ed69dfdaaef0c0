"""Checkpoints within a fit: a batch's state in the run folder, from which a stopped run goes on to the same bits.

The option `checkpoint_every` asks for them. A signal then waits for the end of a step: the state is kept before the
handler that was there before is called, be it that of `inr_xai.config.programs` or that of a cluster's launcher.
"""

import io
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor

from inr_xai.config.programs import REPEATED
from inr_xai.draws import GENERATOR
from inr_xai.errors import RunFault, error_text
from inr_xai.fitting.run_scorer import RunScorer
from inr_xai.runs.files import write_chunks
from inr_xai.runs.folder import RunFolder, flatten, is_free
from inr_xai.seeding import sha256
from inr_xai.types import Batch

CHECKPOINTS, SUFFIX = "checkpoints", ".checkpoint"
FORMAT = 2
SIGNALS = [
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
"""Signals that wait for the end of a step: those that end a program, and those with which clusters announce the end."""
DIGEST = 32
"""Bytes of the hash with which a file begins."""
log = logging.getLogger(__name__)


class FitCheckpoint:
    """The checkpoint of the fit of a batch, and a context at whose end its file is removed.

    The file stays if a signal or a fault of the machine ends the context.

    Args:
        facts: what run.json holds.
        precision: of the trainer.
        every: seconds between two checkpoints.
        began: when the work on the batch began, by the monotonic clock.

    Attributes:
        seconds: what earlier sessions have spent on the batch, as far as its checkpoint counts.
    """

    def __init__(
        self,
        folder: RunFolder,
        batch: Batch,
        scorer: RunScorer,
        *,
        facts: Mapping[str, Any],
        precision: object,
        device: torch.device,
        every: float,
        began: float,
    ):
        self.file, self.seconds = checkpoint_file(folder.path, batch.sample_ids), 0.0
        self._folder, self._scorer, self._device, self._images = folder, scorer, device, len(batch)
        self._every, self._began, self._last = every, began, time.monotonic()
        self._facts = {
            "format": FORMAT,
            "ids": list(batch.sample_ids),
            "targets": batch.targets.tolist(),
            "inputs": _inputs_digest(batch.images),
            "configuration": _configuration_digest(facts["config"]),
            "precision": str(precision),
            "draws": GENERATOR,
            "versions": {name: facts["versions"][name] for name in ("inr-xai", "torch")},
        }
        self._signals = _WaitingSignals()

    def __enter__(self) -> "FitCheckpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, Exception) and not isinstance(error, RunFault)):
            self.file.unlink(missing_ok=True)

    @contextmanager
    def fitting(self) -> Iterator[dict[str, Any] | None]:
        """A context for the fit, in which signals wait for the end of a step; see `inr_xai.fitting.fit.FitKeeper`."""
        state = self._read()
        with self._signals.waiting():
            yield state

    def at_boundary(self, state: Callable[[], dict[str, Any]]) -> None:
        """Keeps the state if it is time, or if a signal waits, whose effect it then has."""
        if self._signals.number is None and time.monotonic() - self._last < self._every:
            return
        try:
            self._write(state())
        finally:
            self._signals.act()
        self._last = time.monotonic()

    def _write(self, fit: dict[str, Any]) -> None:
        seconds = self.seconds + time.monotonic() - self._began
        content = {"facts": self._facts, "seconds": seconds, "scorer": self._scorer.state(), "fit": fit}
        stream = io.BytesIO()
        torch.save(_compact(content), stream)
        data = stream.getvalue()
        self._folder.require_there()
        write_chunks(self.file, [sha256(data).digest(), data], within=self._folder.begun)

    def _read(self) -> dict[str, Any] | None:
        """Returns the state of the fit that the file holds; None, and a warning, if it holds none of this fit."""
        if not self.file.exists():
            return None
        try:
            content = read_fit_checkpoint(self.file, self._device)
            different = [key for key, value in self._facts.items() if content["facts"].get(key) != value]
            if different:
                raise ValueError(f"it is of another fit, which differs in {', '.join(different)}")
            self._scorer.go_on_from(content["scorer"])
            self.seconds = float(content["seconds"])
            fit: dict[str, Any] = content["fit"]
        except Exception as error:  # whatever a file of other bytes makes the reader raise
            log.warning("%s is not used, and the fit begins anew: %s", self.file, error_text(error))
            return None
        log.info("the fit of %d images goes on from %s", self._images, self.file)
        return fit


def checkpoint_file(run: Path, sample_ids: Sequence[str]) -> Path:
    """Returns the path of the checkpoint of a batch, whose name is a hash of the batch's ids."""
    name = sha256(json.dumps(list(sample_ids)).encode()).hexdigest()[:DIGEST]
    return run / CHECKPOINTS / f"{name}{SUFFIX}"


def read_fit_checkpoint(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Returns what a checkpoint holds: tensors and plain values alone, so that reading it runs no code.

    Args:
        device: takes the tensors of another device than the CPU.

    Raises:
        Exception: the file is damaged, whatever its reader raises.
    """
    data = file.read_bytes()
    if sha256(data[DIGEST:]).digest() != data[:DIGEST]:
        raise ValueError("its content does not have the checksum that was written with it")

    def place(storage: Any, location: str) -> Any:
        return storage if location == "cpu" else torch.serialization.default_restore_location(storage, str(device))

    stream = io.BytesIO(data[DIGEST:])
    content: dict[str, Any] = torch.load(stream, map_location=place, weights_only=True)
    return content


def remove_ended(run: Path, done: Collection[str]) -> None:
    """Removes the checkpoints of batches that were grouped otherwise since, once all their images are done."""
    for file in (run / CHECKPOINTS).glob(f"*{SUFFIX}"):
        try:
            ended = all(sample_id in done for sample_id in read_fit_checkpoint(file)["facts"]["ids"])
        except FileNotFoundError:  # of another shard, which has ended it
            continue
        except Exception:  # it is damaged, and serves nobody
            ended = True
        if ended:
            file.unlink(missing_ok=True)


class _WaitingSignals:
    """Signals that wait until `act` is called; a second one of the same number acts at once.

    Attributes:
        number: the signal that waits; None if none does.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A context in which signals wait, unless they are ignored; one that still waits at its end acts then."""
        if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
            yield
            return
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._before = {number: old for number, old in handlers.items() if old not in (signal.SIG_IGN, None)}
        for number in self._before:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, old in self._before.items():
                signal.signal(number, old)
        self.act()

    def act(self) -> None:
        """Gives the signal that waits the effect that it had before; that may end the program, or raise."""
        number, self.number = self.number, None
        if number is None:
            return
        old = self._before[number]
        if callable(old):
            old(number, None)
        else:
            signal.signal(number, old)
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._since = number, now
            log.info("%s waits for the end of a step", signal.Signals(number).name)
        elif number != self.number or now - self._since > REPEATED:
            self.number = number
            self.act()


def _inputs_digest(images: Tensor) -> str:
    """Returns a hash of the values of images, their type and their shape."""
    own = images.detach().cpu().contiguous()
    return sha256(f"{own.dtype} {tuple(own.shape)} ".encode(), own.numpy().tobytes()).hexdigest()


def _configuration_digest(config: Mapping[str, Any]) -> str:
    """Returns a hash of the options that a continued run may not change."""
    fixed = {key: value for key, value in flatten(config).items() if not is_free(key)}
    return sha256(json.dumps(fixed, sort_keys=True, default=str).encode()).hexdigest()


def _compact(value: Any) -> Any:
    """Returns a value in which each tensor is alone in its memory, so that no more is written than is used."""
    if isinstance(value, Tensor):
        value = value.detach()
        return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
    if isinstance(value, Mapping):
        return {key: _compact(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_compact(part) for part in value)
    return value
