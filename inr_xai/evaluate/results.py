"""Measured values in a CSV: a row for each sample, and a column for each metric, or for each metric and area."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from inr_xai.columns import METRICS
from inr_xai.errors import UserError
from inr_xai.runs.csv_store import CsvStore, TextRow

OWN = "masks"
"""The name of the results of a run's own explanations."""
KEY, DIGEST, FAILED = "sample_id", "digest", "failed"
FACTS = (KEY, "target", "difficult")
REMEDY = "give a CSV that inr-xai evaluate wrote into a run's folder evaluation"

_NAMES = "|".join(sorted(METRICS, key=len, reverse=True))
_REASON = re.compile(rf"(?:^|; )((?:{_NAMES})(?:, (?:{_NAMES}))*): ")


class Results:
    """The rows of one method, kept in a CSV: one for each sample.

    Raises:
        UserError: the file holds no values per image.
    """

    def __init__(self, file: Path):
        self._store = CsvStore(file, key=(KEY,), first=FACTS, last=(DIGEST, FAILED), required=(FAILED,), remedy=REMEDY)

    @property
    def file(self) -> Path:
        """The CSV."""
        return self._store.file

    @property
    def rows(self) -> dict[str, TextRow]:
        """The row of each sample."""
        return {sample_id: row for sample_id, (row,) in self._store.groups.items()}

    @property
    def columns(self) -> list[str]:
        """The columns of values, in the order in which they came."""
        return self._store.columns

    def has(self, sample_id: str, metric: str) -> bool:
        """Returns whether the sample has every value of a metric, or NaN where it was measured and there is none."""
        values = [value for column, value in self._row(sample_id).items() if metric_of(column) == metric]
        return bool(values) and all(values)

    def add(self, sample_id: str, values: Mapping[str, object], *, anew: bool = False) -> None:
        """Adds values to the sample's row, in the file too. NaN is measured and no value; infinity is left out.

        Args:
            anew: the row loses what it had.
        """
        earlier = {} if anew else self._row(sample_id)
        texts = {name: _text(value) for name, value in values.items()}
        self._store.put(sample_id, [{FAILED: ""} | earlier | {KEY: sample_id} | texts])

    def tidy(self) -> None:
        """Leaves one line a sample in the file, in alphabetical order."""
        self._store.tidy()

    def digest(self, sample_id: str) -> str:
        """Returns the hash of what the sample's values depend on, see `evaluate`; empty if none is stored."""
        return self._row(sample_id).get(DIGEST, "")

    def failed(self, sample_id: str) -> str:
        """Returns why the sample lacks values; empty if nothing failed."""
        return self._row(sample_id).get(FAILED, "")

    def values(self, column: str) -> dict[str, float]:
        """Returns sample -> value for the samples that have one. Raises UserError for a cell that is no number."""
        values = {}
        for key, row in self.rows.items():
            try:
                value = float(row.get(column) or "nan")
            except ValueError:
                problem = f"{str(self.file)!r} has {row[column]!r} as {column} of {key!r}, which is no number"
                raise UserError(f"{problem}; {REMEDY}") from None
            if math.isfinite(value):
                values[key] = value
        return values

    def targets(self) -> dict[str, str]:
        """Returns sample -> the class that was explained."""
        return {key: row.get("target", "") for key, row in self.rows.items()}

    def difficult(self) -> set[str]:
        """Returns the samples of the difficult part of the data set."""
        return {key for key, row in self.rows.items() if row.get("difficult") == "1"}

    def _row(self, sample_id: str) -> TextRow:
        """Returns the row of a sample; empty if it has none."""
        return next(iter(self._store.groups.get(sample_id, ())), {})


def metric_of(column: str) -> str:
    """Returns the metric of a column.

    >>> metric_of("iou/a0.1"), metric_of("road")
    ('iou', 'road')
    """
    return column.split("/", 1)[0]


def read_results(file: Path) -> Results:
    """Returns the results in a file. Raises UserError if there are none."""
    if not file.is_file():
        raise UserError(f"{str(file)!r} does not exist; make it with inr-xai evaluate RUN")
    results = Results(file)
    if not results.columns:
        raise UserError(f"{str(file)!r} holds no values; {REMEDY}")
    return results


def join_reasons(reasons: Mapping[str, str]) -> str:
    """Returns why metrics have no value as the text of a row, in which metrics of one reason stand together.

    >>> join_reasons({"iou": "no object", "road": "no room", "recall": "no object"})
    'iou, recall: no object; road: no room'
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(metrics)}: {reason}" for reason, metrics in names.items())


def split_reasons(failed: str) -> dict[str, str]:
    """Returns metric -> reason from the text of `join_reasons`; empty for an image that failed as a whole.

    >>> split_reasons("iou, recall: no object; road: no room"), split_reasons("cannot read 'a.jpg'")
    ({'iou': 'no object', 'recall': 'no object', 'road': 'no room'}, {})
    """
    _, *parts = _REASON.split(failed)
    return {name: reason for names, reason in zip(*[iter(parts)] * 2, strict=True) for name in names.split(", ")}


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isinf(value) else f"{value:.6g}"
    return str(value)
