"""What a run knows of its results without their masks files: an index of one line an image, kept while the run goes on.

Each shard adds to a file of its own, and whoever asks reads those of all shards. The index only repeats what the masks
files hold. A masks file without a line, or that was changed since, is read once and gets a line; a line without its
masks file does not count.
"""

import base64
import csv
import functools
import io
import itertools
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from inr_xai.errors import UserError
from inr_xai.runs.files import all_columns, append_text, format_csv, write_chunks
from inr_xai.runs.folder import MASKS, RunFolder
from inr_xai.runs.structure import require

if TYPE_CHECKING:  # what brings torch is imported late, as in `inr_xai.runs.folder`
    from inr_xai.runs.masks_file import SampleRecord
    from inr_xai.types import Row

INDEX = "index"
"""The folder of what the shards know, within the run folder."""
RESULTS, FAILURES = ".images", ".failures"
"""How the names of a shard's files end there: that of its results, and that of the images it could not explain."""
FACTS = {
    "id": str,
    "file": str,
    "size": int,
    "mtime": int,
    "steps_before": int,
    "steps_after": int,
    "seconds": float,
    "fits": int,
    "passes?": float,
    "columns": dict,
    "rows": int,
}
"""The shape of what stands first in a line; behind it stand the rows as CSV, in a JSON text, and the losses."""
TYPES: dict[str, Callable[[str], Any]] = {"text": str, "whole": int, "number": float}
"""What the index calls the type of a column -> what makes a value of a cell."""
log = logging.getLogger(__name__)


class IndexEntry(NamedTuple):
    """What the index says of an image.

    Args:
        file: the file of the index in which its line is.
        place, sizes: where its scores begin there, and how many bytes the scores and the losses have.
        size, mtime: of the masks file, when the line was written.
        steps_before, steps_after, seconds: those of the image's `SampleRecord`.
        fits: the number of fits, one per explanation and one for an explanation that was not kept.
        passes: the classifier passes of the image; None if every fit took all its steps.
        columns: the columns of the scores, and of which of TYPES each is; images that have the same share one tuple.
        rows: the number of rows of scores.
    """

    file: Path
    place: int
    sizes: tuple[int, int]
    size: int
    mtime: int
    steps_before: int
    steps_after: int
    seconds: float
    fits: int
    passes: float | None
    columns: tuple[tuple[str, str], ...]
    rows: int


class ResultIndex:
    """The index of a run, to which one shard of the run adds.

    Args:
        shard: the number of this shard, from 0, and how many there are.
    """

    def __init__(self, folder: RunFolder, shard: tuple[int, int] = (0, 1)):
        self.folder = folder
        self.file = shard_file(folder.path, shard, RESULTS)
        self._damaged: set[Path] = set()

    def add(self, record: "SampleRecord") -> None:
        """Adds the line of an image whose masks file has just been written. Raises RunFault as `append_text` does."""
        file = self.folder.masks_file(record.sample_id)
        line = _line(record, file.relative_to(self.folder.path / MASKS).as_posix(), file.stat())
        append_text(self.file, line, within=self.folder.path)

    def read(self) -> "StoredResults":
        """Returns what is stored of all images whose masks file is there, those of other shards included.

        Raises:
            UserError: a masks file has to be read for that, and is damaged or has the name of another image.
        """
        results, unknown = self.known()
        if self.file in self._damaged:
            good = (line for place, line in index_lines(self.file) if parse_line(line, self.file, place) is not None)
            write_chunks(self.file, good, within=self.folder.path)
            results, unknown = self.known()
        return results if not unknown else StoredResults({**results, **self._read_masks_files(unknown)})

    def known(self) -> tuple["StoredResults", list[str]]:
        """Returns what the index says of the masks files that are there, and the names of those that it does not know.

        A file that was changed since its line was written is one of the latter.
        """
        lines, results, unknown = self._lines(), dict[str, IndexEntry](), list[str]()
        for name, stat in self.folder.masks_files():
            sample_id, entry = lines.get(name, ("", None))
            if entry is not None and (entry.size, entry.mtime) == (stat.st_size, stat.st_mtime_ns):
                results[sample_id] = entry
            else:
                unknown.append(name)
        return StoredResults(results), unknown

    def _lines(self) -> dict[str, tuple[str, IndexEntry]]:
        """Returns what the lines of all shards say, by the name of the masks file; the last line of a name counts."""
        known: dict[str, tuple[str, IndexEntry]] = {}
        self._damaged.clear()
        for file in shard_files(self.folder.path, RESULTS):
            damaged = 0
            for place, line in index_lines(file):
                found = parse_line(line, file, place)
                if found is None:
                    damaged += 1
                else:
                    known[found[0]] = found[1:]
            if damaged:
                self._damaged.add(file)
                log.warning("%s has %d damaged lines, which are made again from the masks files", file, damaged)
        return known

    def _read_masks_files(self, names: Sequence[str]) -> dict[str, IndexEntry]:
        """Adds masks files to the index, one after another, and returns what it says of them now."""
        from inr_xai.runs.masks_file import read_record

        began, found = time.monotonic(), {}
        log.info("%d masks files are not in the index of %s: reading them", len(names), self.folder.path)
        for name in sorted(names):
            file = self.folder.path / MASKS / name
            record = read_record(file)
            if self.folder.masks_file(record.sample_id) != file:
                raise UserError(f"{file} holds the masks of {record.sample_id!r}; give it the name that it had")
            line = _line(record, name, file.stat())
            place = append_text(self.file, line, within=self.folder.path)
            parsed = parse_line(line.encode(), self.file, place)
            assert parsed is not None
            found[record.sample_id] = parsed[2]
        log.info("%d masks files read in %.0f s", len(names), time.monotonic() - began)
        return found


class StoredResults(Mapping[str, IndexEntry]):
    """What is stored of the images of a run, by their ids in sorted order. Scores and losses stay on the disk."""

    def __init__(self, entries: dict[str, IndexEntry]):
        self._entries = dict(sorted(entries.items()))

    def __getitem__(self, sample_id: str) -> IndexEntry:
        return self._entries[sample_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def lines(self) -> Iterator[bytes]:
        """Yields the lines of the images, as they stand in the files of the index."""
        for file in sorted({entry.file for entry in self.values()}):
            for place, line in index_lines(file):
                found = parse_line(line, file, place)
                if found is not None and self._entries.get(found[1]) == found[2]:
                    yield line

    @property
    def columns(self) -> list[str]:
        """The columns of all scores, in the order in which they appear."""
        different = dict.fromkeys(entry.columns for entry in self.values())
        return list(dict.fromkeys(name for columns in different for name, _ in columns))

    @property
    def rows(self) -> "StoredRows":
        """The scores of all images."""
        return StoredRows(self.scores, sum(entry.rows for entry in self.values()))

    def texts(self) -> Iterator[tuple[IndexEntry, str]]:
        """Yields the rows of each image as CSV, in the image's own columns and without a header."""
        with _Reader() as reader:
            for entry in self.values():
                yield entry, json.loads(reader.read(entry.file, entry.place, entry.sizes[0]))

    def scores(self) -> "Iterator[list[Row]]":
        """Yields the rows of each image."""
        for entry, text in self.texts():
            kinds = [(name, TYPES[kind]) for name, kind in entry.columns]
            yield [
                {
                    name: None if cell == "" and make is not str else make(cell)
                    for (name, make), cell in zip(kinds, cells, strict=True)
                }
                for cells in csv.reader(io.StringIO(text, newline=""))
            ]

    def rows_of(self, sample_id: str) -> "list[Row]":
        """Returns the rows of an image."""
        return next(StoredResults({sample_id: self[sample_id]}).scores())

    def curves(self) -> Iterator[tuple[int, int, int, list[float]]]:
        """Yields the steps of all fits: the step of the run, the explanation, its own step, and the images' losses.

        The steps are in the order of these numbers. In memory are those of fits alone that were made side by side.
        """
        import numpy as np

        waiting: dict[tuple[int, int, int], list[tuple[str, float]]] = {}
        now = 0
        with _Reader() as reader:
            for sample_id, entry in sorted(self.items(), key=lambda item: (item[1].steps_before, item[0])):
                if entry.steps_before > now:
                    now = entry.steps_before
                    yield from _taken(waiting, [key for key in waiting if key[0] < now])
                data = reader.read(entry.file, entry.place + entry.sizes[0] + 1, entry.sizes[1])
                losses = np.frombuffer(base64.b64decode(data), "<f4").reshape(entry.fits, -1).tolist()
                done = itertools.count(now)
                for k, curve in enumerate(losses, start=1):
                    for step, loss in enumerate(curve):
                        place = next(done), k, step
                        if loss == loss:  # a fit that ended early has NaN for the rest of its steps
                            waiting.setdefault(place, []).append((sample_id, loss))
        yield from _taken(waiting, list(waiting))


class StoredRows(Collection["Row"]):
    """The scores of a run, one dict per image, explanation and area; each walk over them reads them anew.

    Args:
        read: begins to read them, and yields the rows of one image after another.
        count: the number of rows; None to count them when they are asked for.
    """

    def __init__(self, read: "Callable[[], Iterator[list[Row]]]", count: int | None = None):
        self._read, self._count = read, count

    def __iter__(self) -> "Iterator[Row]":
        return (row for rows in self._read() for row in rows)

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._read()) if self._count is None else self._count

    def __contains__(self, row: object) -> bool:
        return any(row == other for other in self)


class _Reader:
    """Reads parts of files, which stay open meanwhile."""

    def __enter__(self) -> "_Reader":
        self._streams: dict[Path, BinaryIO] = {}
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def read(self, file: Path, place: int, size: int) -> bytes:
        """Returns `size` bytes of a file from a place on."""
        if file not in self._streams:
            self._streams[file] = file.open("rb")
        self._streams[file].seek(place)
        return self._streams[file].read(size)


def shard_file(run: Path, shard: tuple[int, int], suffix: str) -> Path:
    """Returns the path of a shard's file in the index; `suffix` is RESULTS or FAILURES."""
    return run / INDEX / f"{shard[0]}-of-{shard[1]}{suffix}"


def shard_files(run: Path, suffix: str) -> list[Path]:
    """Returns the files of all shards that end so."""
    return sorted((run / INDEX).glob(f"*{suffix}"))


def index_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yields where each line of a file of the index begins, and the line, but not an unfinished last one."""
    place = 0
    with file.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield place, line
            place += len(line)


def parse_line(line: bytes, file: Path, place: int) -> tuple[str, str, IndexEntry] | None:
    """Returns the name of the masks file that a line is about, the image's id, and the rest; None if it is damaged."""
    try:
        check, text = line.rstrip(b"\n").split(b"\t", 1)
        if int(check, 16) != zlib.crc32(text):
            return None
        facts, rows, losses = text.split(b"\t")
        values: dict[str, Any] = json.loads(facts)
        require(values, FACTS)
    except ValueError:
        return None
    start = place + len(check) + len(facts) + 2
    return (
        values["file"],
        values["id"],
        IndexEntry(
            file,
            start,
            (len(rows), len(losses)),
            size=values["size"],
            mtime=values["mtime"],
            steps_before=values["steps_before"],
            steps_after=values["steps_after"],
            seconds=values["seconds"],
            fits=values["fits"],
            passes=values.get("passes"),
            columns=_shared(tuple(values["columns"].items())),
            rows=values["rows"],
        ),
    )


@functools.lru_cache(maxsize=64)
def _shared(columns: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Returns the first tuple that was equal to this one, so that few are in memory."""
    return columns


def _line(record: "SampleRecord", name: str, stat: os.stat_result) -> str:
    """Returns the line of an image: a sum of the rest, facts, scores and losses, between tabulators."""
    columns = all_columns(record.rows)
    facts = {
        "id": record.sample_id,
        "file": name,
        "size": stat.st_size,
        "mtime": stat.st_mtime_ns,
        "steps_before": record.steps_before,
        "steps_after": record.steps_after,
        "seconds": record.seconds,
        "fits": len(record.losses),
        "columns": {name: _type([row.get(name) for row in record.rows]) for name in columns},
        "rows": len(record.rows),
    }
    if "passes" in record.extra:
        facts["passes"] = record.extra["passes"]
    scores = format_csv(record.rows, columns, header=False)
    losses = record.losses.detach().cpu().float().numpy().astype("<f4").tobytes()
    text = "\t".join([json.dumps(facts), json.dumps(scores), base64.b64encode(losses).decode()])
    return f"{zlib.crc32(text.encode()):08x}\t{text}\n"


def _type(values: Sequence[object]) -> str:
    """Returns which of TYPES the values of a column have, of which some may be missing.

    >>> _type([1, 2]), _type([1, 0.5, None]), _type(["a"]), _type([True])
    ('whole', 'number', 'text', 'text')
    """
    kinds = {type(value) for value in values if value is not None}
    return "whole" if kinds == {int} else "number" if kinds <= {int, float} else "text"


def _taken(
    waiting: dict[tuple[int, int, int], list[tuple[str, float]]], keys: list[tuple[int, int, int]]
) -> Iterator[tuple[int, int, int, list[float]]]:
    """Takes steps out of those that wait, and yields them in their order, each with its losses in that of the ids."""
    for key in sorted(keys):
        losses = waiting.pop(key)
        yield *key, [loss for _, loss in sorted(losses)] if len(losses) > 1 else [losses[0][1]]
