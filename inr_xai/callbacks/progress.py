"""One bar over the images with the scores so far; without a terminal, a line now and then instead.

Before the first image has ended, the steps of its fits tell how long all will take.
"""

import logging
import math
import sys
import time
from typing import Any

import lightning
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from inr_xai.callbacks.base import RunCallback, RunState
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.limits import require_numbers
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.runs.progress import duration
from inr_xai.types import Image

BAR = 0.2
"""Seconds between two updates of the bar within the first image."""
SHARE, LONGEST = 0.2, 60.0
"""Without a terminal, the next line waits for this share of the time so far, at most this many times `seconds`."""
log = logging.getLogger(__name__)


class Progress(RunCallback):
    """Shows how many images are done, the time left, and means of explanation 1 over the images since the start.

    Until the first of them has ended, it shows the step that its fits have reached.

    Args:
        seconds: the least time between two lines if there is no terminal; it grows with the time that a run takes.
    """

    def __init__(self, seconds: float = 10.0):
        require_numbers("callbacks", seconds=seconds)
        self.seconds = seconds

    def on_run_start(self, state: RunState) -> None:
        super().on_run_start(state)
        self._done_before, self._began, self._last_line = state.images_done, time.monotonic(), 0.0
        self._last_step = self._began
        # Since the start: sums over the images explained, their number, and the number of those that have ended.
        self._preserved, self._p_full, self._area_error = 0.0, 0.0, 0.0
        self._explained, self._ended = 0, 0
        self._last_image: tuple[str, float, float, float] | None = None
        self._first = _FirstFits(state.method.steps * state.method.most)
        self._bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            self._redirect = logging_redirect_tqdm()
            self._redirect.__enter__()
            self._bar = tqdm(total=state.total, initial=state.images_done, unit="image", dynamic_ncols=True)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._ended or not isinstance(pl_module, MaskModule):
            return
        first, now = self._first, time.monotonic()
        first.add(pl_module, batch)
        if now - self._last_step < (BAR if self._bar is not None else self._pause(now)):
            return
        self._last_step = now
        waiting = self.state.total - self._done_before
        left = first.seconds_left(now - self._began, waiting)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{first}, about {duration(left)} left")
        else:
            log.info("0 of %d images, %s, about %s left", waiting, str(first), duration(left))

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        rows = [row for row in record.rows if row["explanation"] == 1]
        preserved, area_error = (
            sum(row[column] for row in rows) / len(rows) for column in ("preservation_hard_mean", "area_error")
        )
        self._last_image = record.sample_id, preserved, rows[0]["p_full"], area_error
        self._count(1)
        share = self._preserved / self._p_full if self._p_full > 0 else math.nan
        self._show(f"kept {share:.2f} of p, area error {self._area_error / self._explained:.4f}")

    def on_sample_failed(self, sample_id: str, reason: str) -> None:
        if self._last_image is not None and self._last_image[0] == sample_id:
            self._count(-1)  # it was explained, but could not be stored
            self._last_image = None
            return
        self._show(f"{len(self.state.failures)} failed")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._redirect.__exit__(None, None, None)

    def _pause(self, now: float) -> float:
        """Returns the seconds between two lines: the log of a week has a thousand lines and not sixty thousand."""
        return max(self.seconds, min(SHARE * (now - self._began), LONGEST * self.seconds))

    def _count(self, sign: int) -> None:
        """Adds the last image that was explained to the means, or takes it out again."""
        assert self._last_image is not None
        _, preserved, p_full, area_error = self._last_image
        self._preserved += sign * preserved
        self._p_full += sign * p_full
        self._area_error += sign * area_error
        self._explained += sign

    def _show(self, scores: str) -> None:
        """Counts an image that has ended, explained or not, and shows the scores so far."""
        self._ended += 1
        if self._bar is not None:
            self._bar.set_postfix_str(scores)
            self._bar.update()
            return
        now, done = time.monotonic(), self._done_before + self._ended
        if now - self._last_line < self._pause(now) and done < self.state.total:
            return
        self._last_line = now
        left = (now - self._began) / self._ended * (self.state.total - done)
        log.info("%d of %d images, %s, about %s left", done, self.state.total, scores, duration(left))


class _FirstFits:
    """How far the fits of the first images are, which one stack explains.

    Args:
        steps: the largest number of steps of an image, all its explanations together.
    """

    def __init__(self, steps: int):
        self.steps, self.done, self.images = steps, 0, 1

    def add(self, module: MaskModule, step: int) -> None:
        """Counts a step, which counts from 0 within its fit."""
        fitted = self.steps // module.method.most
        self.images = len(module.images)
        self.done = (module.explanation - 1) * fitted + step + 1

    def seconds_left(self, spent: float, images: int) -> float:
        """Returns an estimate for all images, those of the first stack included."""
        return max(0.0, spent / max(self.done, 1) * self.steps * images / self.images - spent)

    def __str__(self) -> str:
        images = "the first image" if self.images == 1 else f"the first {self.images} images"
        return f"step {self.done} of {self.steps} of {images}"
