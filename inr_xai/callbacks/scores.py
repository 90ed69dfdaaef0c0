"""Scores for W&B: those of each image as soon as it is done, and at the end the table of all rows and the summary."""

import logging
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import Any

from inr_xai.callbacks.base import RunCallback
from inr_xai.limits import require_numbers
from inr_xai.runs.files import all_columns
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.scoring.summary import KEYS
from inr_xai.types import Image, Row

ROWS_IN_TABLE = 10_000
"""The most rows of W&B's table, which is made in memory."""
log = logging.getLogger(__name__)


class Scores(RunCallback):
    """Logs all scores of every image, explanation and area to W&B.

    Args:
        figures_in_table: how many images have their figure in the table, in the order of the run.
    """

    def __init__(self, figures_in_table: int = 32):
        require_numbers("callbacks", figures_in_table=figures_in_table)
        self.figures_in_table = figures_in_table

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        metrics: dict[str, Any] = {}
        for row in record.rows:
            for column, value in row.items():
                if column not in KEYS and value is not None:
                    metrics[f"image/{column}/k{row['explanation']}/a{row['area']:g}"] = value
        self.state.log(metrics, images_done=self.state.images_done + 1)

    def on_run_end(self, summary: dict[str, Any], rows: Collection[Row]) -> None:
        if self.state.wandb is None:
            return
        first = list(islice(rows, ROWS_IN_TABLE))
        if first:
            columns = all_columns(first)
            lines = [[row.get(column) for column in columns] for row in first]
            self.state.wandb.log_table("per_image", columns, lines, images=self._figures(first))
        if len(rows) > len(first):
            log.info("W&B's table has the first %d of %d rows; per_image.csv has all of them", len(first), len(rows))
        self.state.wandb.summary(summary)

    def _figures(self, rows: list[Row]) -> list[Path | None]:
        """Returns the figure of each row: the first rows of the first images have one."""
        seen: set[str] = set()
        figures: list[Path | None] = []
        for row in rows:
            file = self.state.folder.figure_file(row["sample_id"])
            has_figure = row["sample_id"] not in seen and len(seen) < self.figures_in_table and file.exists()
            seen |= {row["sample_id"]}
            figures.append(file if has_figure else None)
        return figures
