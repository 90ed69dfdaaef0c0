"""The tables of a run's folder, per_image.csv and curves.csv, written from the index, one image after another."""

from collections.abc import Iterator
from pathlib import Path

from inr_xai.runs.files import all_columns, format_csv, write_chunks
from inr_xai.runs.index import StoredResults


def write_tables(folder: Path, results: StoredResults) -> None:
    """Writes per_image.csv and curves.csv of all images anew. Raises RunFault for a fault of the machine."""
    write_chunks(folder / "per_image.csv", _score_lines(results))
    write_chunks(folder / "curves.csv", _curve_lines(results))


def _score_lines(results: StoredResults) -> Iterator[bytes]:
    columns = all_columns(results.rows)
    if columns:
        yield format_csv([], columns).encode()
    for rows in results.scores():
        yield format_csv(rows, columns, header=False).encode()


def _curve_lines(results: StoredResults) -> Iterator[bytes]:
    """Yields the mean loss of the images at each step of the run."""
    header = "steps_done,explanation,step,loss,images\n"
    for done, explanation, step, losses in results.curves():
        yield f"{header}{done},{explanation},{step},{sum(losses) / len(losses)!r},{len(losses)}\n".encode()
        header = ""
