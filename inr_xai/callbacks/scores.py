"""Metrics to W&B: each sample's as it is done, and at the end the table of all rows and the summary."""

from typing import Any

from inr_xai.callbacks.base import RunCallback
from inr_xai.runs.folder import SampleRecord
from inr_xai.types import Image, Row

NAMES = ("sample_id", "target", "explanation", "area")


class Scores(RunCallback):
    """Logs area violation, preservation and deletion (soft and hard) of every sample, explanation and area.

    Args:
        figures_in_table: how many samples' figures the table carries, in the order of the run.
    """

    def __init__(self, figures_in_table: int = 32):
        self.figures_in_table = figures_in_table

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        metrics: dict[str, Any] = {}
        for row in record.rows:
            for column, value in row.items():
                if column not in NAMES:
                    metrics[f"image/{column}/k{row['explanation']}/a{row['area']:g}"] = value
        self.state.log(metrics, images_done=self.state.images_done + 1)

    def on_run_end(self, summary: dict[str, Any], rows: list[Row]) -> None:
        if self.state.wandb is None:
            return
        if rows:
            columns = list(rows[0])
            self.state.wandb.log_table(
                "per_image", columns, [[row[column] for column in columns] for row in rows], images=self._figures(rows)
            )
        self.state.wandb.summary(summary)

    def _figures(self, rows: list[Row]) -> list[Any]:
        """A figure beside the first row of each of the first samples."""
        shown: set[str] = set()
        figures: list[Any] = []
        for row in rows:
            file = self.state.folder.figure_file(row["sample_id"])
            show = row["sample_id"] not in shown and len(shown) < self.figures_in_table and file.exists()
            shown |= {row["sample_id"]}
            figures.append(file if show else None)
        return figures
