"""Measured values as a CSV: a row per sample, a column per metric, or one per metric and area."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from inr_xai.errors import UserError
from inr_xai.files import format_csv, write_bytes

KEY, FAILED = "sample_id", "failed"
FACTS = (KEY, "target", "difficult")
Row = dict[str, str]


class Results:
    """The rows of one method. A new sample is a line at the end; everything else writes the file anew.

    A line that a killed process left torn is dropped, and its sample measured again.
    """

    def __init__(self, file: Path):
        self.file = file
        self.rows: dict[str, Row] = {}
        self._header: list[str] = []
        if file.is_file():
            text = file.read_text()
            whole = text[: text.rfind("\n") + 1]
            reader = csv.DictReader(io.StringIO(whole, newline=""))
            self.rows = {row[KEY]: row for row in reader if row.get(FAILED) is not None}
            self._header = list(reader.fieldnames or []) if whole == text else []

    @property
    def columns(self) -> list[str]:
        """Of values, in the order in which they came."""
        names = dict.fromkeys(name for row in self.rows.values() for name in row)
        return [name for name in names if name not in (*FACTS, FAILED)]

    def has(self, sample_id: str, metric: str) -> bool:
        """Whether the sample has every value of a metric."""
        row = self.rows.get(sample_id, {})
        own = [value for column, value in row.items() if metric_of(column) == metric]
        return bool(own) and all(own)

    def add(self, sample_id: str, values: Mapping[str, object]) -> None:
        """Adds values to the sample's row, in the file too."""
        told = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in values.items()}
        new = sample_id not in self.rows
        self.rows[sample_id] = self.rows.get(sample_id, {}) | {KEY: sample_id} | told
        if new and set(self.rows[sample_id]) <= set(self._header):
            with self.file.open("a", newline="") as stream:
                stream.write(format_csv([self._line(sample_id)], self._header, header=False))
            return
        self._header = [*FACTS, *self.columns, FAILED]
        rows = [self._line(key) for key in sorted(self.rows)]
        write_bytes(self.file, format_csv(rows, self._header).encode())

    def _line(self, sample_id: str) -> Row:
        return {name: self.rows[sample_id].get(name, "") for name in self._header}

    def values(self, column: str) -> dict[str, float]:
        """Sample -> value, of the samples that have one."""
        return {key: float(row[column]) for key, row in self.rows.items() if row.get(column)}

    def targets(self) -> dict[str, str]:
        """Sample -> the class that was explained."""
        return {key: row.get("target", "") for key, row in self.rows.items()}

    def difficult(self) -> set[str]:
        """Samples of the difficult part of the data set."""
        return {key for key, row in self.rows.items() if row.get("difficult") == "1"}


def metric_of(column: str) -> str:
    """The metric that a column is of.

    >>> metric_of("iou/a0.1"), metric_of("road")
    ('iou', 'road')
    """
    return column.split("/", 1)[0]


def read_results(file: Path) -> Results:
    """Results that must be there. Raises UserError where they are not."""
    if not file.is_file():
        raise UserError(f"{str(file)!r} does not exist; make it with python -m inr_xai.evaluate RUN")
    return Results(file)
