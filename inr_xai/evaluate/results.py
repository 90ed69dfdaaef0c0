"""Measured values as a CSV: a row per sample, a column per metric, or one per metric and area."""

import csv
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path

from inr_xai.columns import METRICS
from inr_xai.errors import UserError
from inr_xai.runs.files import format_csv, write_bytes

KEY, DIGEST, FAILED = "sample_id", "digest", "failed"
FACTS = (KEY, "target", "difficult")
REMEDY = "give a CSV that python -m inr_xai.evaluate wrote into a run's folder evaluation"
TextRow = dict[str, str]

_NAMES = "|".join(sorted(METRICS, key=len, reverse=True))
_REASON = re.compile(rf"(?:^|; )((?:{_NAMES})(?:, (?:{_NAMES}))*): ")


class Results:
    """The rows of one method. A row goes to the end of the file, where the last line of a sample counts.

    A new column writes the file anew, and so does `tidy`. A line that a killed process left torn is dropped, and its
    sample measured again.

    Raises:
        UserError: the file is none of these.
    """

    def __init__(self, file: Path):
        self.file = file
        self.rows: dict[str, TextRow] = {}
        self._header: list[str] = []
        self._superseded = False
        if file.is_file():
            self._read()

    @property
    def columns(self) -> list[str]:
        """Of values, in the order in which they came."""
        names = dict.fromkeys(name for row in self.rows.values() for name in row)
        return [name for name in names if name not in (*FACTS, DIGEST, FAILED)]

    def has(self, sample_id: str, metric: str) -> bool:
        """Whether the sample has every value of a metric."""
        row = self.rows.get(sample_id, {})
        own = [value for column, value in row.items() if metric_of(column) == metric]
        return bool(own) and all(own)

    def add(self, sample_id: str, values: Mapping[str, object], *, anew: bool = False) -> None:
        """Adds values to the sample's row, in the file too. What is not finite is no value.

        Args:
            anew: the row keeps nothing of what it had.
        """
        earlier = self.rows.get(sample_id)
        told = {name: _text(value) for name, value in values.items()}
        self.rows[sample_id] = ({} if anew or earlier is None else earlier) | {KEY: sample_id} | told
        if not set(self.rows[sample_id]) <= set(self._header):
            self._write()
            return
        self._superseded |= earlier is not None
        with self.file.open("a", encoding="utf-8", newline="") as stream:
            stream.write(format_csv([self._line(sample_id)], self._header, header=False))

    def tidy(self) -> None:
        """Leaves one line a sample in the file."""
        if self._superseded:
            self._write()

    def digest(self, sample_id: str) -> str:
        """What the sample's values follow from, see `evaluate`; empty where that was not kept."""
        return self.rows.get(sample_id, {}).get(DIGEST, "")

    def failed(self, sample_id: str) -> str:
        """Why the sample lacks values; empty where nothing failed."""
        return self.rows.get(sample_id, {}).get(FAILED, "")

    def values(self, column: str) -> dict[str, float]:
        """Sample -> value, of the samples that have one. Raises UserError for a cell that is no number."""
        found = {}
        for key, row in self.rows.items():
            try:
                value = float(row.get(column) or "nan")
            except ValueError:
                told = f"{str(self.file)!r} has {row[column]!r} as {column} of {key!r}, which is no number"
                raise UserError(f"{told}; {REMEDY}") from None
            if math.isfinite(value):
                found[key] = value
        return found

    def targets(self) -> dict[str, str]:
        """Sample -> the class that was explained."""
        return {key: row.get("target", "") for key, row in self.rows.items()}

    def difficult(self) -> set[str]:
        """Samples of the difficult part of the data set."""
        return {key for key, row in self.rows.items() if row.get("difficult") == "1"}

    def _read(self) -> None:
        try:
            text = self.file.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            reader = csv.DictReader(io.StringIO(whole, newline=""))
            rows = [row for row in reader if row.get(FAILED) is not None]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{str(self.file)!r} cannot be read ({error}); {REMEDY}") from error
        header = list(reader.fieldnames or [])
        lacking = [name for name in (KEY, FAILED) if header and name not in header]
        if lacking or any(None in row for row in rows):
            what = f"has no column {lacking[0]}" if lacking else "has a line with more cells than columns"
            raise UserError(f"{str(self.file)!r} {what}, so it holds no values per image; {REMEDY}")
        self.rows = {row[KEY]: row for row in rows}
        self._superseded = len(rows) > len(self.rows)
        self._header = header if whole == text else []

    def _write(self) -> None:
        digest = [DIGEST] if any(DIGEST in row for row in self.rows.values()) else []
        self._header = [*FACTS, *self.columns, *digest, FAILED]
        rows = [self._line(key) for key in sorted(self.rows)]
        write_bytes(self.file, format_csv(rows, self._header).encode())
        self._superseded = False

    def _line(self, sample_id: str) -> TextRow:
        return {name: self.rows[sample_id].get(name, "") for name in self._header}


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
    found = Results(file)
    if not found.columns:
        raise UserError(f"{str(file)!r} holds no values; {REMEDY}")
    return found


def joined(reasons: Mapping[str, str]) -> str:
    """Why metrics have no value, as a row says it; metrics of one reason stand together.

    >>> joined({"iou": "no object", "road": "no room", "recall": "no object"})
    'iou, recall: no object; road: no room'
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(own)}: {reason}" for reason, own in names.items())


def parted(failed: str) -> dict[str, str]:
    """Metric -> reason, of what `joined` made; empty for an image that failed as a whole.

    >>> parted("iou, recall: no object; road: no room"), parted("cannot read 'a.jpg'")
    ({'iou': 'no object', 'recall': 'no object', 'road': 'no room'}, {})
    """
    _, *parts = _REASON.split(failed)
    return {name: reason for names, reason in zip(*[iter(parts)] * 2, strict=True) for name in names.split(", ")}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)
