"""What happens inside the fits: loss curves to W&B and, on request, how the masks come to be."""

import io
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from PIL import Image as PillowImage

from inr_xai.callbacks.base import RunCallback
from inr_xai.callbacks.figures import strip
from inr_xai.errors import UserError
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.runs.files import write_bytes
from inr_xai.runs.folder import SampleRecord
from inr_xai.types import Image


class Curves(RunCallback):
    """Logs the mean loss of each fit to W&B against the steps of the whole run.

    They are sent when the fit's first image is about to be committed: a run that is killed before makes the fit again,
    and its steps must not be there twice. curves.csv holds the same values, written from the stored losses.
    """

    def __init__(self) -> None:
        self._batch, self._steps = -1, 0  # steps before the batch at hand, and of it so far
        self._pending: list[tuple[dict[str, Any], int]] = []

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, MaskModule):
            return
        if self._batch != self.state.steps_done:
            self._batch, self._steps = self.state.steps_done, 0
        losses = torch.stack(pl_module.losses).float().mean(1).tolist()
        at = self._batch + self._steps
        self._steps += len(losses)
        key = f"loss/k{pl_module.explanation}"
        self._pending += [({key: loss}, at + step) for step, loss in enumerate(losses)]

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        self._flush()

    def on_sample_failed(self, sample_id: str, reason: str) -> None:
        self._flush()

    def _flush(self) -> None:
        for metrics, at in self._pending:
            self.state.log(metrics, steps_done=at)
        self._pending.clear()


class Evolution(RunCallback):
    """Every `every` steps, the masks of each image as they are then: a PNG with a row per moment, and W&B images.

    Args:
        every: steps between two pictures.
    """

    def __init__(self, every: int = 20):
        if every < 1:
            raise UserError(f"callbacks.evolution.every must be at least 1, in steps; got {every}")
        self.every = every
        self._frames: dict[str, list[np.ndarray]] = {}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, MaskModule) or (batch_idx + 1) % self.every:
            return
        with torch.no_grad():
            masks = pl_module.current_masks(batch_idx / max(1, pl_module.method.steps - 1))
        for sample_id, image, own in zip(pl_module.sample_ids, pl_module.images, masks, strict=True):
            self._frames.setdefault(sample_id, []).append(strip(image, own))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, MaskModule):
            return
        for sample_id, frames in self._frames.items():
            file = self._file(sample_id, pl_module.explanation)
            stream = io.BytesIO()
            PillowImage.fromarray(np.concatenate(frames)).save(stream, format="png")
            write_bytes(file, stream.getvalue())
            if self.state.wandb is not None:
                caption = f"{sample_id}, explanation {pl_module.explanation}, every {self.every} steps"
                self.state.wandb.log_images("evolution", {caption: file}, images_done=self.state.images_done)
        self._frames.clear()

    def _file(self, sample_id: str, explanation: int) -> Path:
        figure = self.state.folder.figure_file(sample_id)
        return figure.with_name(f"{figure.stem}.evolution.k{explanation}.png")
