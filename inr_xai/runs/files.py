"""Small files: rows as CSV or Markdown, facts as JSON, and writing that leaves a file whole or not at all."""

import csv
import errno
import functools
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from inr_xai.data.names import ASIDE
from inr_xai.errors import RunFault, UserError
from inr_xai.runs.processes import is_running, machine, start_time
from inr_xai.runs.structure import Shape, require
from inr_xai.types import Row

AGAIN = "then the same command continues"
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"free space there, {AGAIN}"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), f"make the folder writable, {AGAIN}"),
    **dict.fromkeys((errno.ENOENT, errno.ESTALE), f"the folder is gone; put it back, {AGAIN}"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), f"allow more open files (ulimit -n), {AGAIN}"),
    errno.EIO: f"look after the disk, {AGAIN}",
}
"""The faults of a machine, by the number of the system's error -> what to do."""
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)


class _Lines(list[str]):
    """What a CSV writer writes to, one line at a time.

    The writer quotes a cell with one of the characters that end its lines, and a lone carriage return needs quotes too.
    So it ends its lines by both characters, and one of them is dropped here.
    """

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


def format_csv(rows: Sequence[Row], columns: Sequence[str] | None = None, *, header: bool = True) -> str:
    """Returns rows as CSV; the columns are those of the first row unless given.

    A cell with a line break or a carriage return is quoted, and what UTF-8 cannot hold is written as an escape.
    """
    names = list(columns) if columns is not None else list(rows[0]) if rows else []
    known, lines = set(names), _Lines()
    writer = csv.writer(lines, lineterminator="\r\n")
    if header and names:
        writer.writerow(names)
    if unknown := {name for row in rows for name in row.keys() - known}:
        raise ValueError(f"rows have the columns {sorted(unknown)}, which are not among {names}")
    writer.writerows([[row.get(name) for name in names] for row in rows])
    return "".join(lines).encode(errors="backslashreplace").decode()


def all_columns(rows: Iterable[Row]) -> list[str]:
    """Returns every column that at least one row has, in the order in which they appear.

    >>> all_columns([{"a": 1, "c": 2}, {"a": 3, "b": 4}])
    ['a', 'c', 'b']
    """
    return list(dict.fromkeys(name for row in rows for name in row))


def markdown_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    rules: Sequence[str] | None = None,
    tight_rules: bool = False,
    bar: str = "/",
) -> str:
    """Returns a Markdown table, which ends with a line break.

    Args:
        head: the headings of the columns.
        rules: the cells below the headings, such as "---:" for numbers to the right; None for "---" in each.
        tight_rules: leave out the spaces around the rules.
        bar: what a vertical bar in a cell becomes, since it would end the cell; "|" if the cells are escaped already.

    >>> print(markdown_table(["method", "kept"], [["a|b", "0.5"]]), end="")
    | method | kept |
    | --- | --- |
    | a/b | 0.5 |
    """
    cells = rules if rules is not None else ["---"] * len(head)
    first, *others = ["| " + " | ".join(cell.replace("|", bar) for cell in row) + " |\n" for row in (head, *rows)]
    space = "" if tight_rules else " "
    rule = f"|{space}" + f"{space}|{space}".join(cells) + f"{space}|\n"
    return "".join([first, rule, *others])


def write_json(path: Path, value: Mapping[str, Any], *, within: Path | None = None) -> None:
    """Writes a value as a JSON file of several lines; see `write_chunks`."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode(), within=within)


def read_json(path: Path, shape: Shape | None = None, remedy: str = "give another out=PATH") -> dict[str, Any]:
    """Returns the content of a JSON file, which is an object.

    Args:
        shape: what the object must be, see `inr_xai.runs.structure`.
        remedy: what a refusal advises.

    Raises:
        UserError: the file is missing, damaged, or has another shape.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        require(content, {} if shape is None else shape)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} does not exist; is {path.parent} the folder of a run?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    return content


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A context for what is written to `path`: a fault of the machine becomes a RunFault, which says what to do.

    A file or folder in the way becomes a UserError. Other errors of the system, such as a name that is too long, pass:
    they are about this one file, too.
    """
    try:
        yield
    except OSError as error:
        reason = f"{path} cannot be written ({error.strerror or error})"
        if error.errno in IN_THE_WAY:
            raise UserError(f"{reason}; move away what is in its place") from error
        if error.errno not in REMEDIES:
            raise
        raise RunFault(f"{reason}; {REMEDIES[error.errno]}") from error


def write_bytes(path: Path, data: bytes, *, within: Path | None = None) -> None:
    """Writes a file so that it is there whole or not at all; see `write_chunks`."""
    write_chunks(path, [data], within=within)


def write_chunks(path: Path, chunks: Iterable[bytes], *, within: Path | None = None) -> None:
    """Writes a file so that it is there whole or not at all.

    Args:
        chunks: its content in parts, of which one alone is in memory at a time.
        within: a folder above the file that must be there: if it is gone, it is not made anew. None makes every folder.

    Raises:
        RunFault: a fault of the machine.
    """
    with writing(path):
        if within is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            _make_folders(path, within)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f"{ASIDE}{_this_process(os.getpid())}-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.writelines(chunks)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


def _make_folders(path: Path, within: Path) -> None:
    """Makes the folders of a file below `within`, which must be there itself."""
    for folder in reversed(path.parents):
        if folder != within and folder.is_relative_to(within):
            folder.mkdir(exist_ok=True)


def append_text(path: Path, text: str, *, within: Path | None = None) -> int:
    """Adds whole lines to the end of a file, which is made if there is none, and returns where they begin, in bytes.

    A line without an end, which a killed process left, goes first. If the disk takes a part of the text alone, the file
    is cut back to what it was.

    Args:
        within: a folder above the file, below which folders are made; None makes none.

    Raises:
        RunFault: a fault of the machine.
    """
    data = text.encode(errors="backslashreplace")
    with writing(path):
        if within is not None:
            _make_folders(path, within)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            size = _end_of_lines(handle)
            try:
                written = 0
                while written < len(data):
                    written += os.write(handle, data[written:])
            except BaseException:
                with suppress(OSError):
                    if os.fstat(handle).st_size == size + written:
                        os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
    return size


def is_abandoned(file: Path) -> bool:
    """Returns whether no process of this machine writes the file, whose name begins with ASIDE, any more.

    A file of another machine counts as abandoned too if nothing was written to it for ten minutes.
    """
    match = re.fullmatch(rf"{re.escape(ASIDE)}(\w+)\.(\d+)\.(\d*)-.*", file.name)
    if match is None:
        return True
    if match[1] == machine():
        return not is_running(int(match[2]), int(match[3]) if match[3] else None)
    with suppress(OSError):
        return time.time() - file.stat().st_mtime > 600
    return False


@functools.cache
def _this_process(pid: int) -> str:
    """Returns a name of the process of a number, which is this one; a fork of it has another number."""
    started = start_time(pid)
    return f"{machine()}.{pid}.{'' if started is None else started}"


def _end_of_lines(handle: int) -> int:
    """Cuts off an unfinished last line of an open file, and returns the file's size."""
    size = end = os.lseek(handle, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        os.lseek(handle, start, os.SEEK_SET)
        block = os.read(handle, end - start)
        if b"\n" in block:
            end = start + block.rindex(b"\n") + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)
    return end
