"""What the comparison asks of a method: maps of one image for one class, with what they cost."""

import importlib
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.types import Image

BATCH_SIZE = 32  # images that go through the classifier together; only memory depends on it


@dataclass(frozen=True)
class MethodMaps:
    """The maps that a method makes of one image for one class.

    Args:
        maps: a mask per area (q = a), one heatmap whose largest pixels are kept (q = 1), or several draws of a heatmap.
        passes: a forward and a backward of one image at the classifier's input size count 1, a forward alone 0.5.
        seconds: how long the method took.
        draws: whether each map is a heatmap by itself; scores are then means over the maps.
        free: the pixels that the hard mask of each area may keep; None for all pixels.
        first_masks: the hard masks of the explanation before this one; None if this one is the first.
        other_seed_masks: the hard masks of the same method under another seed; None if it was not run under one.
        layer: name of the layer that the method read.
    """

    maps: Float[Tensor, "q h w"]
    passes: float
    seconds: float
    draws: bool = False
    free: Bool[Tensor, "a h w"] | None = None
    first_masks: Bool[Tensor, "a h w"] | None = None
    other_seed_masks: Bool[Tensor, "a h w"] | None = None
    layer: str = ""

    @property
    def per_area(self) -> bool:
        """Whether there is a mask for each area."""
        return len(self.maps) > 1 and not self.draws

    @property
    def heatmaps(self) -> Float[Tensor, "n h w"]:
        """What the method calls important: its heatmap, the sum of its masks, or each of its draws."""
        return self.maps if self.draws else self.maps.float().sum(0, keepdim=True)


class Explainer(ABC):
    """A method of the comparison."""

    fitted = False
    """Whether the method optimises masks for a class; only then does the wrong-target control say something of it."""
    modules: Sequence[tuple[str, str]] = ()
    """The modules of other packages that `explain` imports, each with the package to install."""
    extra = "peers"
    """The extra of this package that brings them."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Everything that the method's maps depend on, as plain values; stored maps of other settings are stale."""

    @abstractmethod
    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        """Returns the maps of one image, on the CPU. The classifier is left as it was.

        Masks of areas have values in [0, 1], heatmaps any finite ones.
        """

    def require_packages(self) -> None:
        """Raises UserError if a package that the method needs cannot be imported."""
        for module, package in self.modules:
            require_module(module, package, extra=self.extra)


class Stopwatch:
    """Measures the seconds of a block, including the work that a GPU has not finished yet.

    >>> with Stopwatch(torch.device("cpu")) as watch:
    ...     pass
    >>> 0 <= watch.seconds < 1
    True
    """

    def __init__(self, device: torch.device):
        self._device = device
        self.seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self._start = self._now()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = self._now() - self._start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def network_name(classifier: FrozenClassifier) -> str:
    """Returns the package and the class of a classifier's network, for messages, such as torchvision.ResNet."""
    network = type(classifier.model)
    return f"{network.__module__.partition('.')[0]}.{network.__name__}"


def require_module(module: str, package: str, *, extra: str = "peers") -> ModuleType:
    """Imports a module of another method's package.

    Raises UserError with the command that installs the package, which `extra` of this package brings.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of these packages are years old
            return importlib.import_module(module)
    except ImportError as error:
        install = f"pip install 'inr-xai[{extra}]'"
        raise UserError(f"this method needs the package {package}, which cannot be imported; {install}") from error
