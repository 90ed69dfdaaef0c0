"""The base class of a run's callbacks: Lightning's hooks inside each fit, and hooks of the run around them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import lightning

from inr_xai.method import Method
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Image, Row

if TYPE_CHECKING:
    from inr_xai.loggers import WandbRun


@dataclass
class RunState:
    """A run as it goes on. Both counters count the whole run, earlier sessions included, and never restart.

    Args:
        total: the number of images of this run (and shard), those that are done included.
        images_done: the number of images whose masks are stored so far.
        steps_done: the number of optimisation steps over all fits so far.
        wandb: the open W&B run; None if W&B is off.
        class_names: readable names by class index, None if unknown.
        failures: image id -> why this run could not explain it.
        load: returns an image of the run by its id, in the classifier's frame; None if there is none.
        digests: hashes of what is explained, for W&B.
        shares: whether other workers explain images of the same run; then the last one logs the results to W&B.
    """

    folder: RunFolder
    method: Method
    total: int
    images_done: int = 0
    steps_done: int = 0
    wandb: "WandbRun | None" = None
    class_names: list[str] | None = None
    failures: dict[str, str] = field(default_factory=dict)
    load: Callable[[str], Image] | None = None
    digests: dict[str, str] = field(default_factory=dict)
    shares: bool = False

    def class_name(self, target: int) -> str:
        """Returns the class's readable name with its index, or its index alone if it has no name."""
        names = self.class_names or []
        return f"{names[target]} ({target})" if target < len(names) else f"class {target}"

    def log(self, metrics: dict[str, Any], **axis: int) -> None:
        """Logs values to W&B if it is on, at a point of the axis `images_done` or `steps_done`."""
        if self.wandb is not None:
            self.wandb.log(metrics, **axis)


class RunCallback(lightning.Callback):
    """A Lightning callback with hooks of the run as well. `state` is set from `on_run_start` on."""

    state: RunState

    def on_run_start(self, state: RunState) -> None:
        """Is called before the first image."""
        self.state = state

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        """Is called when an image is fitted and scored, just before its masks are stored."""

    def on_sample_failed(self, sample_id: str, reason: str) -> None:
        """Is called when an image could not be explained."""

    def on_fit_failed(self) -> None:
        """Is called when the fits of a batch broke off, whose images are then explained one by one."""

    def on_run_end(self, summary: dict[str, Any], rows: Collection[Row]) -> None:
        """Is called after the last image, but not if the run stopped with an error.

        Args:
            rows: the scores of the whole folder, one dict per image, explanation and area. They are read from the disk
                with each walk over them.
        """

    def close(self) -> None:
        """Is called at the end in any case."""
