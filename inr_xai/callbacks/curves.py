"""What happens inside the fits: loss curves for W&B and, on request, pictures of how the masks develop."""

import io
import logging
from typing import Any

import lightning
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as PillowImage
from torch import Tensor

from inr_xai.callbacks.base import RunCallback
from inr_xai.figures.pixels import overlay, pixels_of
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.limits import require_numbers
from inr_xai.runs.files import write_bytes
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Image

log = logging.getLogger(__name__)


class Curves(RunCallback):
    """Logs the mean loss of each fit to W&B against the steps of the whole run.

    They are sent when the fit's first image is about to be stored: a run that is killed before that makes the fit
    again, and its steps must not be logged twice. curves.csv holds the same values, written from the stored losses.
    Every fit has the place of all its steps, so that one that ends early leaves a gap.
    """

    def __init__(self) -> None:
        self._batch_start, self._batch_steps = -1, 0  # the run's steps before this batch, and those of this batch
        self._pending: dict[int, tuple[str, list[Tensor]]] = {}

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, MaskModule):
            return
        if self._batch_start != self.state.steps_done:
            self._batch_start, self._batch_steps = self.state.steps_done, 0
        if pl_module.first_step == 0:
            self._batch_steps += self.state.method.steps
        first, key = self._batch_start + self._batch_steps - self.state.method.steps, f"loss/k{pl_module.explanation}"
        for step, losses in list(enumerate(pl_module.losses))[pl_module.first_step :]:
            self._pending.setdefault(first + step, (key, []))[1].append(losses)

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        self._flush()

    def on_sample_failed(self, sample_id: str, reason: str) -> None:
        self._flush()

    def on_fit_failed(self) -> None:
        self._batch_start, self._pending = -1, {}

    def _flush(self) -> None:
        for step, (key, losses) in sorted(self._pending.items()):
            self.state.log({key: torch.cat(losses).float().mean().item()}, steps_done=step)
        self._pending.clear()


class Evolution(RunCallback):
    """Draws the masks of each image every few steps: a PNG with a row per moment, which W&B gets, too.

    Args:
        every: steps between two rows.
    """

    def __init__(self, every: int = 20):
        require_numbers("callbacks", every=every)
        self.every = every
        self._frames: dict[str, list[np.ndarray]] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, MaskModule) or pl_module.first_step == 0:
            self._frames.clear()  # those of a fit that broke

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, MaskModule) or (batch + 1) % self.every:
            return
        with torch.no_grad():
            masks = pl_module.current_masks(pl_module.progress[batch])
        for sample_id, image, image_masks in zip(pl_module.sample_ids, pl_module.images, masks, strict=True):
            self._frames.setdefault(sample_id, []).append(strip(image, image_masks))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, MaskModule) or pl_module.continues:
            return
        for sample_id in [name for name in pl_module.sample_ids if name in self._frames]:
            try:
                self._draw(sample_id, self._frames.pop(sample_id), pl_module.explanation)
            except OSError as error:  # of this image's file; a picture is not worth the fit of its stack
                log.warning("the evolution of %s cannot be drawn: %s", sample_id, error)

    def on_fit_failed(self) -> None:
        self._frames.clear()

    def _draw(self, sample_id: str, frames: list[np.ndarray], explanation: int) -> None:
        """Writes the picture of an image's explanation."""
        file = self.state.folder.figure_file(sample_id, f".evolution.k{explanation}.png")
        stream = io.BytesIO()
        PillowImage.fromarray(np.concatenate(frames)).save(stream, format="png")
        write_bytes(file, stream.getvalue(), within=self.state.folder.begun)
        if self.state.wandb is not None:
            caption = f"{sample_id}, explanation {explanation}, every {self.every} steps"
            self.state.wandb.log_images("evolution", {caption: file}, images_done=self.state.images_done)


def strip(image: Image, masks: Float[Tensor, "a h w"]) -> np.ndarray:
    """Returns the overlays of an image's masks side by side, h x (a w) x 3, 8 bits."""
    photo = pixels_of(image)
    parts = [overlay(photo, mask.float().cpu().numpy()) for mask in masks]
    return np.asarray(np.concatenate(parts, axis=1) * 255, dtype=np.uint8)
