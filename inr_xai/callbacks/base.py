"""What a callback of a run sees: Lightning's hooks inside each fit, and hooks of the run around them."""

from dataclasses import dataclass, field
from typing import Any

import lightning

from inr_xai.loggers.wandb_run import WandbRun
from inr_xai.method import Method
from inr_xai.runs.folder import RunFolder, SampleRecord
from inr_xai.types import Image, Row


@dataclass
class RunState:
    """The run as it goes on. Both counters run over the whole run, earlier sittings included, and never restart.

    Args:
        total: samples of this run (and shard), done ones included.
        images_done: samples committed so far.
        steps_done: optimisation steps over all fits so far.
        failures: of this run's samples; `others_failures` are those of other shards in the same folder.
        class_names: readable names by class index, None where unknown.
    """

    folder: RunFolder
    method: Method
    total: int
    images_done: int = 0
    steps_done: int = 0
    wandb: WandbRun | None = None
    class_names: list[str] | None = None
    failures: dict[str, str] = field(default_factory=dict)
    others_failures: dict[str, str] = field(default_factory=dict)

    def class_name(self, target: int) -> str:
        """The class's readable name, or its number."""
        known = self.class_names is not None and target < len(self.class_names)
        return f"{self.class_names[target]} ({target})" if known and self.class_names else f"class {target}"

    def log(self, metrics: dict[str, Any], **axis: int) -> None:
        """To W&B, where it is on; `axis` is images_done or steps_done."""
        if self.wandb is not None:
            self.wandb.log(metrics, **axis)


class RunCallback(lightning.Callback):
    """A Lightning callback that is also told of the run. `state` is there from `on_run_start` on."""

    state: RunState

    def on_run_start(self, state: RunState) -> None:
        """Before the first image."""
        self.state = state

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        """A sample is fitted and scored, and about to be committed."""

    def on_sample_failed(self, sample_id: str, reason: str) -> None:
        """A sample could not be explained."""

    def on_run_end(self, summary: dict[str, Any], rows: list[Row]) -> None:
        """After the last image (not where the run stopped with an error)."""

    def close(self) -> None:
        """At the end in any case."""
