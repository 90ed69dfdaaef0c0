"""The files that speak of a whole run, such as per_image.csv, written from the index, one image after another."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inr_xai.method import Method
from inr_xai.runs.files import format_csv, write_chunks
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.results import StoredResults
from inr_xai.scoring.summary import Summary


def conclude_run(
    folder: RunFolder, results: StoredResults, *, failures: int, method: Method | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes the tables and summary.json of all images anew, and returns the summary, and what run.json has to say.

    Args:
        failures: the number of images that could not be explained.
        method: the method of the run; None leaves out the classifier passes.

    Raises:
        RunFault: a fault of the machine.
    """
    summary: dict[str, Any] = write_run_tables(folder.path, results).means()
    summary |= {"images": len(results), "failures": failures}
    facts: dict[str, Any] = {"seconds": sum(entry.seconds for entry in results.values()), "classifier_passes": {}}
    if method is not None:
        facts["classifier_passes"] = {"per_explanation": method.passes}
    if results:
        summary["seconds_per_image"] = facts["seconds"] / len(results)
    if results and method is not None:
        fits = sum(entry.fits for entry in results.values())
        spent = sum(
            method.image_passes(entry.fits) if entry.passes is None else entry.passes for entry in results.values()
        )
        summary["passes_per_image"] = spent / len(results)
        facts["classifier_passes"] = {
            "per_explanation": (spent - method.start.passes * len(results)) / fits,
            "per_image": summary["passes_per_image"],
        }
    folder.write_summary(summary)
    return summary, facts


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
