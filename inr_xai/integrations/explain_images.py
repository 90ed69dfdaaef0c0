"""A Lightning callback for the training of any classifier: some images explained every few epochs, into its loggers."""

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from inr_xai.attribution import require_options
from inr_xai.classifier.frozen import require_head
from inr_xai.data.names import id_file
from inr_xai.errors import UserError
from inr_xai.explanation.explain import explain
from inr_xai.explanation.explanation import PAGE_DPI, Explanation
from inr_xai.explanation.presets import preset_options
from inr_xai.method import Method
from inr_xai.runs.files import write_bytes
from inr_xai.runs.loop import reason_of

MOST = 64
"""Images that are explained at most."""
log = logging.getLogger(__name__)


class ExplainImages(lightning.Callback):
    """Explains the same images every n epochs while a classifier is trained, and logs pictures and scores.

    Pictures go to W&B (`WandbLogger`) and TensorBoard; for other loggers, such as Lightning's CSV, they are files below
    the logger's folder. Scores go to every logger: `<key>/kept`, `<key>/chance` and `<key>/whole`, means of p over the
    images, and `<key>/carries`, the share of images whose first explanation carries more than chance.

    The training is the same with the callback as without it: the model's mode, gradients, buffers and parameters are
    put back, and no random number of the training is drawn. Each time, it costs `passes` passes of the classifier,
    forward and backward; 4 images with the defaults are 400, and about 150 more forward passes an image for the scores.

    Args:
        images: preprocessed inputs of the model, b x c x h x w, 64 at most.
        target: the class of all images, or one for each; None for the class that the model predicts at the time.
        every: epochs between two explanations.
        forward: maps (model, inputs) to outputs b x n; by default the LightningModule is called.
        input_mean, input_std: the statistics with which the images were normalised.
        classes: the names of the classes.
        areas, explanations, preset, head: see `inr_xai.explain`.
        names: a name for each image.
        key: how the names of what is logged begin.
        options: any other argument of `inr_xai.Method`.

    Raises:
        UserError: an option that is not allowed.
    """

    def __init__(
        self,
        images: Tensor,
        target: Any = None,
        *,
        every: int = 1,
        forward: Callable[[Any, Tensor], Any] | None = None,
        input_mean: Any = None,
        input_std: Any = None,
        classes: Sequence[str] | str | Path | None = None,
        areas: Sequence[float] = (0.05, 0.1, 0.2, 0.3),
        explanations: int = 1,
        preset: str | None = "fast",
        head: str = "softmax",
        names: Sequence[str] | None = None,
        key: str = "explanations",
        **options: Any,
    ):
        if not isinstance(images, Tensor) or images.ndim != 4 or not 0 < len(images) <= MOST:
            raise UserError(f"images must be a tensor of 1 to {MOST} preprocessed inputs, b x c x h x w")
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise UserError(f"every must be a whole number of epochs from 1; got {every!r}")
        require_options(options)
        require_head(head)
        method = Method(areas=tuple(areas), explanations=explanations, **preset_options(preset) | options)
        self.images, self.target, self.every, self.forward, self.key = images, target, every, forward, key
        self.passes = round(len(images) * method.image_passes(method.most))
        self._names = [f"image{number}" for number in range(len(images))] if names is None else list(names)
        self._options: dict[str, Any] = {
            "areas": tuple(areas),
            "explanations": explanations,
            "preset": preset,
            "head": head,
            "classes": classes,
            "input_mean": input_mean,
            "input_std": input_std,
            **options,
        }

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Says what the callback costs."""
        if trainer.is_global_zero:
            epochs = "every epoch" if self.every == 1 else f"every {self.every} epochs"
            log.info("%d images are explained %s, by %d classifier passes", len(self.images), epochs, self.passes)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Explains the images; what goes wrong is a warning, and costs the training nothing."""
        if (trainer.current_epoch + 1) % self.every or not trainer.is_global_zero or trainer.sanity_checking:
            return
        try:
            explained = self.explain(pl_module)
        except Exception as error:  # of the model, or of a logger
            log.warning("the images are not explained after epoch %d: %s", trainer.current_epoch, reason_of(error))
            return
        for logger in trainer.loggers:
            try:
                self._log(logger, explained, trainer)
            except Exception as error:
                log.warning("%s does not take the explanations: %s", type(logger).__name__, reason_of(error))

    def explain(self, pl_module: lightning.LightningModule) -> list[Explanation]:
        """Returns the explanations of the images that can be explained by the model as it is now."""
        model: nn.Module = pl_module if self.forward is None else _Forward(pl_module, self.forward)
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            results = explain(
                model, list(self.images), target=self.target, names=self._names, progress=False, **self._options
            )
        return [one for one in results if one is not None]

    def _log(self, logger: Any, explained: Sequence[Explanation], trainer: lightning.Trainer) -> None:
        from inr_xai.explanation.pictured import png

        logger.log_metrics(self._scores(explained), step=trainer.global_step)
        pictures = {one.name: png(one, dpi=PAGE_DPI) for one in explained}
        if hasattr(logger, "log_image"):  # W&B
            opened = [Image.open(io.BytesIO(picture)) for picture in pictures.values()]
            logger.log_image(self.key, opened, step=trainer.global_step, caption=[repr(one) for one in explained])
            return
        add_image = getattr(logger.experiment, "add_image", None)  # TensorBoard
        folder = logger.log_dir or trainer.default_root_dir
        for name, picture in pictures.items():
            if callable(add_image):
                array = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
                add_image(f"{self.key}/{name}", array, trainer.global_step, dataformats="HWC")
            else:
                place = Path(folder) / self.key / f"epoch_{trainer.current_epoch}"
                write_bytes(id_file(place, name, ".png"), picture)

    def _scores(self, explained: Sequence[Explanation]) -> dict[str, float]:
        """Returns means over the images, of explanation 1 and its areas."""
        carries = [float(one.carries[0]) for one in explained if one.carries[0] is not None]
        scores = {
            "kept": [float(one.kept[0].mean()) for one in explained],
            "chance": [float(one.chance[0].mean()) for one in explained],
            "whole": [one.whole for one in explained],
            "carries": carries,
        }
        return {f"{self.key}/{name}": sum(values) / len(values) for name, values in scores.items() if values}


class _Forward(nn.Module):
    """A module whose outputs a function of the user makes."""

    def __init__(self, module: nn.Module, function: Callable[[Any, Tensor], Any]):
        super().__init__()
        self.module, self.function = module, function
        self.training = module.training

    def forward(self, inputs: Tensor) -> Any:
        return self.function(self.module, inputs)
