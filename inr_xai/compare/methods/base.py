"""What the comparison asks of a method: one image in, its maps out, with what they cost."""

import importlib
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.types import Image

INSTALL = "pip install 'inr-xai[peers]'"


@dataclass(frozen=True)
class Maps:
    """What a method says of one image.

    Args:
        maps: a mask per area (`a`), one heatmap whose largest pixels are kept (`1`), or several draws of a heatmap.
        passes: forward and backward of one image at the classifier's input size; a forward alone counts half.
        seconds: what they took.
        draws: each map is a heatmap of its own, and scores are means over them.
        free: the pixels that each area may keep; None where all.
        first: the hard masks of the explanation before this one; None where this is the first.
        other: the hard masks of the same method under another seed; None where it was not asked.
        layer: name of the layer that the method read.
    """

    maps: Float[Tensor, "q h w"]
    passes: float
    seconds: float
    draws: bool = False
    free: Bool[Tensor, "a h w"] | None = None
    first: Bool[Tensor, "a h w"] | None = None
    other: Bool[Tensor, "a h w"] | None = None
    layer: str = ""

    @property
    def per_area(self) -> bool:
        """Whether there is a mask for each area."""
        return len(self.maps) > 1 and not self.draws


class Explainer(ABC):
    """A method of the comparison."""

    fitted = False
    """Whether it optimises masks for a class, so that the wrong-target control says something."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Everything that its maps depend on, as plain values; changed settings make stored maps stale."""

    @abstractmethod
    def explain(self, image: Image, target: int, image_id: str) -> Maps:
        """The maps of one image in [0, 1], on the CPU. The classifier is left as it was."""


class Stopwatch:
    """Seconds of the block, with what a GPU still had to do.

    >>> with Stopwatch(torch.device("cpu")) as watch:
    ...     pass
    >>> 0 <= watch.seconds < 1
    True
    """

    def __init__(self, device: torch.device):
        self._device = device
        self.seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self._began = self._now()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = self._now() - self._began

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def require(module: str, *, package: str) -> ModuleType:
    """The module of another method's package. Raises UserError with the command that installs it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of these packages are years old
            return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"this method needs the package {package}, which cannot be imported; {INSTALL}") from error
