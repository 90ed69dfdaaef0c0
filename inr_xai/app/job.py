"""One question at work: what forms can be seen, it can be stopped, and what had ended until then is kept."""

import io
import threading
import time
from dataclasses import dataclass, fields, replace
from typing import Any

import lightning
import numpy as np
import torch
from PIL import Image as PillowImage

from inr_xai.app.question import Question
from inr_xai.explanation.explain import explain
from inr_xai.explanation.explanation import Explanation
from inr_xai.figures.pixels import eight_bits, overlay, pixels_of
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.stack import FitStopped
from inr_xai.method import Method

EVERY = 0.4
"""Seconds between two pictures of the masks that form."""


@dataclass(frozen=True)
class Snapshot:
    """The masks of an explanation as they are after a step of its fit.

    Args:
        explanation, step: counted from 1.
        explanations, steps: how many there are, at most.
        pictures: the photo as each mask keeps it, JPEG, by area.
        seconds_left: an estimate for all explanations together.
    """

    explanation: int
    explanations: int
    step: int
    steps: int
    pictures: dict[float, bytes]
    seconds_left: float

    @property
    def share(self) -> float:
        """The part of all steps that is done, in [0, 1]."""
        return (self.explanation - 1 + self.step / self.steps) / self.explanations


class WatchedJob:
    """A question that waits, is worked on, or has ended. One thread works on it, and others watch it or stop it.

    Attributes:
        owner: whose it is.
        snapshots: the newest of each explanation, by its number.
        answer: the explanation, from the end on; None if there is none.
        error: why there is none.
        stopped: whether it was stopped before all was done.
        abandoned: whether its owner has left, so that nobody waits for its answer.
    """

    def __init__(self, question: Question, owner: str = ""):
        self.question, self.owner = question, owner
        self.snapshots: dict[int, Snapshot] = {}
        self.answer: Any = None
        self.error: str | None = None
        self.stopped = self.has_ended = self.abandoned = False
        self._stop, self._changed = threading.Event(), threading.Condition()

    def stop(self) -> None:
        """Ends the work at the next step."""
        self._stop.set()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    @property
    def has_fitted(self) -> bool:
        """Whether an explanation is fitted to its last step, which a stop does not cost."""
        return any(snapshot.step == snapshot.steps for snapshot in list(self.snapshots.values()))

    def end(self, answer: Any = None, error: str | None = None) -> None:
        """Notes how it ends."""
        with self._changed:
            self.answer, self.error, self.has_ended = answer, error, True
            self._changed.notify_all()

    def show(self, snapshot: Snapshot) -> None:
        """Notes how far the masks have come."""
        with self._changed:
            self.snapshots[snapshot.explanation] = snapshot
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Returns when there is something new to see, or after so many seconds."""
        with self._changed:
            if not self.has_ended:
                self._changed.wait(seconds)

    def explain(self) -> Explanation:
        """Does the work. Raises UserError as `inr_xai.explain` does, or if it is stopped before anything has ended."""
        asked = self.question
        options = {field.name: getattr(asked.method, field.name) for field in fields(Method)}
        explained = explain(
            asked.classifier,
            asked.photo.picture,
            asked.target,
            options.pop("areas"),
            options.pop("explanations"),
            names=[asked.photo.name],
            progress=False,
            callbacks=[_Watcher(self)],
            **options,
        )
        assert isinstance(explained, Explanation)
        return explained


class _Watcher(lightning.Callback):
    """Shows a job's masks now and then while they are fitted, and ends the fit if the job is stopped."""

    def __init__(self, job: WatchedJob):
        self._job, self._began, self._shown = job, 0.0, 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._began = self._began or time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, MaskModule):
            return
        now, last = time.monotonic(), batch + 1 == len(pl_module.progress)
        if self._job.is_stopping and not last:
            self._job.stopped = True
            raise FitStopped
        if batch == 0 or last or now - self._shown >= EVERY:
            self._shown = now
            self._job.show(self._snapshot(pl_module, batch + 1, now - self._began))

    def _snapshot(self, module: MaskModule, step: int, spent: float) -> Snapshot:
        with torch.no_grad():
            (masks,) = module.current_masks(module.progress[step - 1])
        (image,) = module.images
        photo = pixels_of(image)
        pictures = {
            area: jpeg_of(picture_of_array(overlay(photo, mask.float().cpu().numpy())))
            for area, mask in zip(module.method.areas, masks, strict=True)
        }
        taken = Snapshot(module.explanation, module.method.most, step, len(module.progress), pictures, 0.0)
        return replace(taken, seconds_left=spent * (1 / taken.share - 1))


def picture_of_array(pixels: np.ndarray) -> PillowImage.Image:
    """Returns h x w x 3 with values in [0, 1] as a picture."""
    return PillowImage.fromarray(eight_bits(pixels))


def jpeg_of(picture: PillowImage.Image) -> bytes:
    """Returns a picture as a JPEG file."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    return stream.getvalue()
