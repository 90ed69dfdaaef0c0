"""The files of a data set: only regular ones are opened, so that none blocks; and names that are safe as ids."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader, FileIO
from pathlib import Path

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\\\\|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}")


def open_regular(path: str | os.PathLike[str]) -> FileIO:
    """Opens a file for reading. Raises OSError unless it is a regular one: a pipe would make the run wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    stream = FileIO(descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise OSError("it is no regular file")
    return stream


def read_text(path: str | os.PathLike[str]) -> str:
    """Returns the text of a regular file in UTF-8. Raises OSError or UnicodeDecodeError."""
    with BufferedReader(open_regular(path)) as stream:
        return stream.read().decode("utf-8-sig")


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str], list[str]]]:
    """Yields each folder below `root`, itself first: its path, subfolders, regular files, and other entries.

    Links are followed, and a real folder comes once. The caller may remove subfolders, which are sorted, from the
    list. A folder that cannot be listed raises OSError.
    """
    waiting, seen = [root], set()
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        subfolders: list[str] = []
        files: list[str] = []
        others: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                kind = subfolders if _holds(entry.is_dir) else files if _holds(entry.is_file) else others
                kind.append(entry.name)
        subfolders.sort()
        yield folder, subfolders, files, others
        waiting += [folder / name for name in reversed(subfolders)]


def _holds(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except OSError:  # such as a link to itself
        return False


def safe_name(name: str) -> str:
    r"""Returns a name in which characters that break a line, a table or a file name are escaped; others stay.

    Different names give different results: where something is escaped, or looks as if it were, backslashes are doubled.

    >>> print(safe_name("a b/ü.jpg"), safe_name("a\r\n.jpg"), safe_name("\udcff"), safe_name(r"\x0a"))
    a b/ü.jpg a\x0d\x0a.jpg \xff \\x0a
    """
    return "".join(map(_escaped, name)) if _UNSAFE.search(name) else name


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return r"\\"
    if code < 0x20 or code == 0x7F:
        return rf"\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is no UTF-8
        return rf"\x{code - 0xDC00:02x}"
    return rf"\u{code:04x}" if _UNSAFE.match(character) else character
