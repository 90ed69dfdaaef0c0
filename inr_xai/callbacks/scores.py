"""Scores for W&B: how far the run is while it goes on, and at the end its keys, charts, gallery and files."""

from collections.abc import Collection
from typing import Any

from inr_xai.callbacks.base import RunCallback
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Image, Row

MOST_LINES = 200
"""So many lines of W&B's history say how far a run is, however many images it has."""


class Scores(RunCallback):
    """Logs the scores of a run to W&B (`inr_xai.loggers.keys` names them)."""

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        done, every = self.state.images_done + 1, -(-self.state.total // MOST_LINES)
        if done % every == 0 or done == self.state.total:
            so_far = {"run/images": done, "run/failures": len(self.state.failures)}
            self.state.log(so_far, images_done=done, steps_done=record.steps_after)

    def on_run_end(self, summary: dict[str, Any], rows: Collection[Row]) -> None:
        if self.state.wandb is None or self.state.load is None or self.state.shares:
            return
        from inr_xai.loggers.results import log_explanations, log_results  # late: many runs have no W&B

        log_results(self.state.wandb, self.state.folder, rows, self.state.load)
        log_explanations(self.state.wandb, self.state.folder, self.state.digests)
