"""What is wrong with the files of a run, file by file: all of them are read, and compared with the masks files."""

import csv
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inr_xai.errors import UserError
from inr_xai.runs.failures import read_notes
from inr_xai.runs.files import format_csv
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.index_lines import FAILURES, INDEX, RESULTS, index_lines, parse_line, shard_files
from inr_xai.runs.load import Explained, Run
from inr_xai.runs.masks_file import read_record
from inr_xai.scoring.summary import Summary
from inr_xai.seeding import sha256
from inr_xai.types import Row

COUNTS = {"images", "failures", "seconds_per_image", "passes_per_image", "unmeasured"}
"""Keys of summary.json that do not follow from the scores alone."""
CLOSE = 1e-9
"""How far a mean may be from that of the scores, relative to it: earlier versions added in another order."""


class FileCheck:
    """The check of one run: `images`, to the end, then `faults`.

    Attributes:
        without_checksum: how many masks files have none, because an earlier version wrote them.
    """

    def __init__(self, path: str | Path):
        self._folder = RunFolder(path)
        self._faults: list[str] = []
        self._rows: dict[str, bytes] = {}
        self._summary = Summary()
        self._complete = True
        self.without_checksum = 0

    @property
    def is_run(self) -> bool:
        """Whether a run was started in the folder."""
        return self._folder.exists()

    def images(self, run: Run) -> Iterator[Explained]:
        """Yields the images whose masks file is right, and notes what is wrong with the others."""
        columns = self._read_table()
        index, _ = ResultIndex(self._folder).known()
        for sample_id in run:
            explained = None
            with self._noting():
                explained = run[sample_id]
                self.without_checksum += not self._folder.images.facts(sample_id)[1]
                explained.mask(explained.areas[0])
            if explained is None:
                self._complete = False
                self._rows.pop(sample_id, None)
                continue
            self._compare_rows(sample_id, explained.rows, columns)
            if sample_id in index and _text(index.rows_of(sample_id)) != _text(explained.rows):
                self._note(INDEX, f"has other rows than the masks file of {sample_id!r}; remove it: it is made again")
            yield explained
        self._check_unnamed()
        for sample_id in list(self._rows)[:10]:
            self._note("per_image.csv", f"has rows of {sample_id!r}, which has no masks file")

    def faults(self) -> list[str]:
        """Checks the files that speak of the whole run, and returns everything that is wrong, one sentence each."""
        done = self._folder.done()
        with self._noting():
            both = sorted(done & self._folder.read_failures().keys())
            for sample_id in both[:10]:
                self._note("failures.csv", f"names {sample_id!r}, which is explained")
        with self._noting():
            self._compare_summary(len(done))
        for name, problem in self._folder.images.faults():
            self._note(name, problem)
        self._check_index()
        self._check_curves()
        return self._faults

    def _note(self, name: str, problem: str) -> None:
        self._faults.append(f"{self._folder.path / name} {problem}")

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Notes a refusal, and goes on."""
        try:
            yield
        except UserError as error:
            self._faults.append(str(error))

    def _read_table(self) -> list[str]:
        """Reads per_image.csv, keeps a hash of each image's rows, and returns the columns."""
        try:
            with (self._folder.path / "per_image.csv").open(newline="", encoding="utf-8") as stream:
                reader = csv.reader(stream, strict=True)
                columns = next(reader, [])
                place = columns.index("sample_id") if columns else 0
                for cells in reader:
                    if len(cells) != len(columns):
                        raise ValueError(f"line {reader.line_num} has {len(cells)} cells for {len(columns)} columns")
                    self._rows[cells[place]] = _joined(self._rows.get(cells[place], b""), cells)
        except (OSError, ValueError, csv.Error) as error:
            self._note("per_image.csv", f"is damaged ({error}); the same command makes it again")
            self._rows.clear()
            return []
        return columns

    def _compare_rows(self, sample_id: str, rows: list[Row], columns: list[str]) -> None:
        """Compares an image's rows with those of per_image.csv."""
        for row in rows:
            self._summary.add(row)
        if not columns:
            return
        expected, missing = b"", {name for row in rows for name in row} - set(columns)
        if not missing:
            text = format_csv(rows, columns, header=False)
            for cells in csv.reader(io.StringIO(text, newline="")):
                expected = _joined(expected, cells)
        name = format_csv([{"": sample_id}], header=False).removesuffix("\n")
        found = self._rows.pop(next(csv.reader(io.StringIO(name, newline="")))[0], b"")
        if missing or found != expected:
            problem = "has no rows" if not found else "has other rows than the masks file"
            self._note("per_image.csv", f"{problem} of {sample_id!r}; the same command makes it again")

    def _compare_summary(self, images: int) -> None:
        """Compares summary.json with the means of all scores."""
        stored = self._folder.read_summary()
        if stored.get("images") != images:
            self._note("summary.json", f"says {stored.get('images')} images, and {images} have a masks file")
        elif self._complete:
            for key, value in self._summary.means().items():
                found = stored.get(key, math.nan)
                if key not in COUNTS and not (
                    math.isclose(found, value, rel_tol=CLOSE) or (key in stored and value != value)
                ):
                    self._note("summary.json", f"has {stored.get(key)} as {key}, and the scores give {value}")

    def _check_unnamed(self) -> None:
        """Notes the masks files that have a hash for a name, and do not say of which image they are."""
        images = self._folder.images
        for place in images.places():
            if images.id_of(place) is None:
                with self._noting():
                    record = read_record(place)
                    self._faults.append(f"{place} holds the masks of {record.sample_id!r}, which has another file")

    def _check_index(self) -> None:
        """Notes damaged lines of the index, and of the shards' notes of failures."""
        for file in shard_files(self._folder.path, RESULTS):
            for number, (place, line) in enumerate(index_lines(file), start=1):
                if parse_line(line, file, place) is None:
                    self._note(
                        f"{INDEX}/{file.name}", f"has a damaged line, {number}; remove the file, and it is made again"
                    )

        for file in shard_files(self._folder.path, FAILURES):
            with self._noting():
                if file.read_bytes().count(b"\n") > sum(1 for _ in read_notes(file)):
                    self._note(f"{INDEX}/{file.name}", "has a damaged line; the same command tries the image again")

    def _check_curves(self) -> None:
        """Notes a curves.csv that cannot be read, or has something else than numbers."""
        try:
            with (self._folder.path / "curves.csv").open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream, strict=True)
                if not reader.fieldnames:
                    raise ValueError("it is empty")
                for line in reader:
                    for name in ("steps_done", "explanation", "step", "images"):
                        int(line[name])
                    float(line["loss"])
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            self._note("curves.csv", f"is damaged ({error}); the same command makes it again")


def _text(rows: list[Row]) -> list[str]:
    """Returns rows as text, in which two NaN are equal, and a cell may be missing or None."""
    return [json.dumps({name: value for name, value in row.items() if value is not None}) for row in rows]


def _joined(before: bytes, cells: list[str]) -> bytes:
    """Returns a hash of what was hashed before and one more row."""
    return sha256(before, json.dumps(cells).encode()).digest()
