"""What happens inside the fits: losses by step for W&B and, on request, pictures of how the masks develop."""

import io
import logging
from collections.abc import Collection
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
from inr_xai.types import Image, Row

log = logging.getLogger(__name__)


class Curves(RunCallback):
    """Logs the mean loss by step to W&B, as one chart that is made from curves.csv when the run ends."""

    def on_run_end(self, summary: dict[str, Any], rows: Collection[Row]) -> None:
        if self.state.wandb is not None and not self.state.shares:
            from inr_xai.loggers.results import log_losses  # late: many runs have no W&B

            log_losses(self.state.wandb, self.state.folder)


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
            from inr_xai.loggers.keys import EVOLUTION

            caption = f"{sample_id}, explanation {explanation}, every {self.every} steps"
            self.state.wandb.log_images(EVOLUTION, {caption: file}, images_done=self.state.images_done)


def strip(image: Image, masks: Float[Tensor, "a h w"]) -> np.ndarray:
    """Returns the overlays of an image's masks side by side, h x (a w) x 3, 8 bits."""
    photo = pixels_of(image)
    parts = [overlay(photo, mask.float().cpu().numpy()) for mask in masks]
    return np.asarray(np.concatenate(parts, axis=1) * 255, dtype=np.uint8)
