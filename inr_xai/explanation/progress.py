"""A bar of the Python API over images and the steps of their fits, which tells the time left from the start on."""

import sys
import warnings
from typing import Any

import lightning
from tqdm import TqdmWarning
from tqdm.std import tqdm

from inr_xai.fitting.mask_module import MaskModule

EVERY = 0.2
"""Seconds between two updates."""


def is_watched() -> bool:
    """Returns whether a person watches: standard error is a terminal, or the code runs in a notebook."""
    return sys.stderr.isatty() or in_notebook()


def in_notebook() -> bool:
    """Returns whether the code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class StepBar(lightning.Callback):
    """A progress bar; the fits of images are its steps.

    Args:
        images: the number of images.
        explanations: the largest number of explanations of an image.
        steps: the steps of an explanation.
        shown: False draws nothing.
    """

    def __init__(self, images: int, *, explanations: int, steps: int, shown: bool):
        self.images, self.explanations, self.steps = images, explanations, steps
        self._image, self._done = 0, 0
        self._bar: Any = None
        if shown:
            self._bar = _bar_class()(total=images * explanations * steps, unit="step", mininterval=EVERY)
            self._tell(0)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is None or not isinstance(pl_module, MaskModule):
            return
        if batch == 0:
            self._tell(pl_module.explanation)
        stack = len(pl_module.images)
        self._bar.update(stack)
        self._done += stack

    def next_images(self, count: int) -> None:
        """Says that so many images have ended, some perhaps before all their steps."""
        self._image += count
        if self._bar is not None:
            whole = self._image * self.explanations * self.steps
            self._bar.update(whole - self._done)
            self._done = whole

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _tell(self, explanation: int) -> None:
        of_images = f"image {self._image + 1} of {self.images}" if self.images > 1 else "explaining"
        of_fits = f", explanation {explanation} of {self.explanations}" if explanation and self.explanations > 1 else ""
        self._bar.set_description(of_images + of_fits, refresh=False)


def _bar_class() -> Any:
    if not in_notebook():
        return tqdm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.autonotebook import tqdm as of_notebook  # text where a notebook has no widgets
    return of_notebook
