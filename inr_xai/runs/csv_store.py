"""A CSV that grows image by image: rows are appended during the work, and sorted at the end, one line for each key."""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from inr_xai.errors import UserError
from inr_xai.runs.files import append_text, format_csv, write_bytes, writing
from inr_xai.runs.lock import folder_lock

TextRow = dict[str, str]
"""A row as the file has it: column -> text."""


class CsvStore:
    """The rows of one CSV, in groups: the rows of a group, such as those of one image, are replaced together.

    A group goes to the end of the file, where the last line of a key counts. The file is written anew if a column is
    new, or if a row of the group has no successor. A line that a killed process left incomplete is dropped, and rows
    that another process added meanwhile stay.

    Args:
        key: the columns that name a row; the first of them names its group.
        first: the columns that the file always has, before all others.
        last: the columns that stand at the end, in this order, if a row has them.
        required: the columns without which a file is refused, besides those of the key.
        remedy: what a refusal advises.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a line of too many cells.

    >>> import tempfile
    >>> store = CsvStore(Path(tempfile.mkdtemp()) / "rows.csv", key=("image_id", "area"), first=("image_id", "area"))
    >>> store.put("b", [{"image_id": "b", "area": "0.1", "p": "0.9"}, {"image_id": "b", "area": "0.2", "p": "1"}])
    >>> store.put("a", [{"image_id": "a", "area": "0.1", "p": "0.5"}])
    >>> store.tidy()
    >>> print(store.file.read_text(), end="")
    image_id,area,p
    a,0.1,0.5
    b,0.1,0.9
    b,0.2,1
    """

    def __init__(
        self,
        file: Path,
        *,
        key: Sequence[str],
        first: Sequence[str],
        last: Sequence[str] = (),
        required: Sequence[str] = (),
        remedy: str = "remove it, and it is made again",
    ):
        self.file = file
        self.groups: dict[str, list[TextRow]] = {}
        """Group -> its rows, in the order in which they were put."""
        self._key, self._first, self._last = tuple(key), tuple(first), tuple(last)
        self._required, self._remedy = (*key, *required), remedy
        self._header: list[str] = []
        self._torn = False
        self._read()

    @property
    def columns(self) -> list[str]:
        """The columns that are neither first nor last ones, in the order in which they came."""
        names = dict.fromkeys(name for rows in self.groups.values() for row in rows for name in row)
        return [name for name in names if name not in (*self._first, *self._last)]

    def put(self, group: str, rows: Sequence[Mapping[str, str]]) -> None:
        """Puts rows in the place of those that the group had, in the file too."""
        new = [dict(row) for row in rows]
        keys, names = {self._key_of(row) for row in new}, {name for row in new for name in row}
        left_over = any(self._key_of(row) not in keys for row in self.groups.get(group, ()))
        with writing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(self.file.parent):
            if left_over or self._torn or not names <= set(self._header) or not self._has_header():
                self._read()
                self.groups[group] = new
                used = {name for rows in self.groups.values() for row in rows for name in row}
                self._header = [*self._first, *self.columns, *(name for name in self._last if name in used)]
                self._write()
                return
            self.groups[group] = new
            append_text(self.file, format_csv(self._lines(new), self._header, header=False))

    def tidy(self) -> None:
        """Leaves one line a key in the file, groups in alphabetical order."""
        with folder_lock(self.file.parent):
            content = self._read()
            if self.groups and self._text() != content:
                self._write()

    def _has_header(self) -> bool:
        """Returns whether the file still begins as it did: another process may have added columns."""
        with suppress(OSError), self.file.open("rb") as stream:
            return stream.readline() == format_csv([], self._header).encode()
        return False

    def _read(self) -> str:
        """Reads all rows, and returns the content of the file; it is empty if there is no file."""
        self.groups, self._header, self._torn = {}, [], False
        if not self.file.is_file():
            return ""
        try:
            content = self.file.read_bytes().decode()  # as it is: a cell may hold a carriage return
            complete = content[: content.rfind("\n") + 1]
            reader = csv.DictReader(io.StringIO(complete, newline=""))
            rows = [row for row in reader if None not in row.values()]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{str(self.file)!r} cannot be read ({error}); {self._remedy}") from error
        header = list(reader.fieldnames or [])
        missing = [name for name in self._required if header and name not in header]
        if missing or any(None in row for row in rows):
            problem = f"has no column {missing[0]}" if missing else "has a line with more cells than columns"
            raise UserError(f"{str(self.file)!r} {problem}; {self._remedy}")
        for row in rows:
            earlier = self.groups.get(row[self._key[0]], [])
            others = [other for other in earlier if self._key_of(other) != self._key_of(row)]
            self.groups[row[self._key[0]]] = [*others, row]
        self._header, self._torn = header, complete != content
        return content

    def _write(self) -> None:
        write_bytes(self.file, self._text().encode())
        self._torn = False

    def _text(self) -> str:
        rows = [row for group in sorted(self.groups) for row in self.groups[group]]
        return format_csv(self._lines(rows), self._header)

    def _lines(self, rows: Sequence[TextRow]) -> list[TextRow]:
        return [{name: row.get(name, "") for name in self._header} for row in rows]

    def _key_of(self, row: TextRow) -> tuple[str, ...]:
        return tuple(row.get(name, "") for name in self._key)
