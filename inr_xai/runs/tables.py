"""The tables of a run's folder, per_image.csv and curves.csv, written from the index, one image after another."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from inr_xai.runs.files import format_csv, write_chunks
from inr_xai.runs.results import StoredResults
from inr_xai.scoring.summary import Summary


def write_run_tables(folder: Path, results: StoredResults) -> Summary:
    """Writes per_image.csv and curves.csv of all images anew, and returns the summary of the scores.

    Raises RunFault for a fault of the machine.
    """
    summary = Summary()
    write_chunks(folder / "per_image.csv", _score_lines(results, summary), within=folder)
    write_chunks(folder / "curves.csv", _curve_lines(results), within=folder)
    return summary


def _score_lines(results: StoredResults, summary: Summary) -> Iterator[bytes]:
    """Yields the rows of each image, which the summary gets too."""
    columns = results.columns
    yield format_csv([], columns).encode()
    for entry, text in results.texts():
        own = [name for name, _ in entry.columns]
        rows = [dict(zip(own, cells, strict=True)) for cells in csv.reader(io.StringIO(text, newline=""))]
        for row in rows:
            summary.add(row)
        yield (text if own == columns else format_csv(rows, columns, header=False)).encode()


def _curve_lines(results: StoredResults) -> Iterator[bytes]:
    """Yields the mean loss of the images at each step of the run."""
    header = "steps_done,explanation,step,loss,images\n"
    for done, explanation, step, losses in results.curves():
        mean = losses[0] if len(losses) == 1 else sum(losses) / len(losses)
        yield f"{header}{done},{explanation},{step},{mean!r},{len(losses)}\n".encode()
        header = ""
