"""What a run has measured of its images, read from its index, without what stays on the disk until it is asked for."""

import base64
import csv
import io
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from inr_xai.runs.index_lines import TYPES, IndexEntry, index_lines, parse_line

if TYPE_CHECKING:  # what brings torch is imported late, as in `inr_xai.runs.folder`
    from inr_xai.types import Row


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

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yields the images and their lines, as they stand in the files of the index."""
        for file in sorted({entry.file for entry in self.values()}):
            for place, line in index_lines(file):
                found = parse_line(line, file, place)
                if found is not None and self._entries.get(found[1]) == found[2]:
                    yield found[1], line

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


def _taken(
    waiting: dict[tuple[int, int, int], list[tuple[str, float]]], keys: list[tuple[int, int, int]]
) -> Iterator[tuple[int, int, int, list[float]]]:
    """Takes steps out of those that wait, and yields them in their order, each with its losses in that of the ids."""
    for key in sorted(keys):
        losses = waiting.pop(key)
        yield *key, [loss for _, loss in sorted(losses)] if len(losses) > 1 else [losses[0][1]]
