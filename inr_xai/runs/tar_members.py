"""Tars that only grow, member by member, and are whole archives at every moment, also if their writer is killed.

A member's content is written first, behind the place of its header, with an end mark behind it. The header comes last,
in the place of the first block of the end mark of before: these 512 bytes commit the member. A writer that is killed
before leaves an end mark where the header was to be, and what lies behind it counts for no reader.
"""

import os
import secrets
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from inr_xai.runs.files import write_bytes, writing
from inr_xai.runs.masks_place import MasksPlace

BLOCK, END = tarfile.BLOCKSIZE, bytes(2 * tarfile.BLOCKSIZE)
"""What a tar consists of, in bytes, and the mark at its end."""
TAR = ".tar"


class TarWriter:
    """Adds members to tars of its own, which no other process adds to.

    A new tar is begun when one is full, and if the last one is not there any more, or not as it was left: it was moved,
    say, or the process is a fork of the one that wrote it.

    Args:
        folder: the folder of the tars.
        most: the bytes from which on a tar is full.
    """

    def __init__(self, folder: Path, most: int):
        self.folder, self._most = folder, most
        self._begin_session()

    def _begin_session(self) -> None:
        self._session = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        self._process, self._begun = os.getpid(), 0
        self._file: Path | None = None
        self._end = 0

    def append(self, name: str, data: bytes, *, within: Path | None = None) -> MasksPlace:
        """Adds a member, and returns its place. Its content is forced to the disk.

        Args:
            name: `fits` says whether a tar takes it.
            within: see `inr_xai.runs.files.write_chunks`.

        Raises:
            RunFault: a fault of the machine.
        """
        seconds = int(time.time())
        with self._open(within) as stream, writing(Path(stream.name)):
            _write(stream, self._end + BLOCK, data + bytes(-len(data) % BLOCK) + END)
            os.fsync(stream.fileno())
            _write(stream, self._end, _header(name, len(data), seconds))
            place = MasksPlace(Path(stream.name), self._end + BLOCK, len(data), name, seconds * 10**9)
            self._end = _after(place.start + len(data))
        return place

    def _open(self, within: Path | None) -> BinaryIO:
        """Returns the tar to add to, opened, which is a new one if the last one is full or not there as it was."""
        if os.getpid() != self._process:
            self._begin_session()
        if self._file is not None and self._end < self._most:
            try:
                stream = self._file.open("r+b", buffering=0)
            except OSError:
                pass
            else:
                if os.fstat(stream.fileno()).st_size >= self._end:
                    return stream
                stream.close()
        file = self.folder / f"{self._session}-{self._begun:04d}{TAR}"
        write_bytes(file, END, within=within)
        self._file, self._end, self._begun = file, 0, self._begun + 1
        with writing(file):
            return file.open("r+b", buffering=0)


class TarContent(NamedTuple):
    """What was read of a tar.

    Args:
        members: where its files are, in their order.
        faults: what is wrong with it, as the rest of a sentence that begins with its name.
        end: where the last member that is whole ends, in bytes.
    """

    members: list[MasksPlace]
    faults: list[str]
    end: int


class _Header(NamedTuple):
    """What the header of a member says: its name, its size, when it was written (seconds), and whether it is a file."""

    name: str
    size: int
    seconds: int
    is_file: bool


def fits(name: str) -> bool:
    """Returns whether a name fits into one header, so that one write of 512 bytes commits the member.

    >>> fits("dogs/a.safetensors"), fits("x" * 150)
    (True, False)
    """
    try:
        return len(_header(name, 0, 0)) == BLOCK
    except ValueError:
        return False


def read_members(file: Path, before: TarContent | None = None) -> TarContent:
    """Reads the headers of a tar, and no content. A damaged one costs its own member alone.

    Args:
        before: what was read of it earlier; then only the headers of what was added since are read, unless the tar was
            changed otherwise. If nothing was added, its list of members is returned.

    Raises:
        OSError: the tar cannot be read.
    """
    members, faults = list[MasksPlace](), list[str]()
    with file.open("rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        earlier, end = list[MasksPlace](), 0
        if before is not None and before.end <= size and _is_there(stream, before.members[-1:]):
            earlier, end = before.members, before.end
        at, gap = end, -1
        while at + BLOCK <= size:
            block = _block(stream, at)
            header = _parsed(block)
            stop = at + BLOCK + (0 if header is None else header.size)
            if header is not None and stop > size:
                size = os.fstat(stream.fileno()).st_size  # the member may have been added since it was asked for
            if header is not None and stop > size and gap < 0:
                faults.append(f"ends within {header.name!r}, which is lost; the same command makes it again")
                break
            if header is None or stop > size:
                if not any(block) and not any(_block(stream, at + BLOCK)):
                    break  # the mark of the end
                gap, at = (at if gap < 0 else gap), at + BLOCK
                continue
            if gap >= 0:
                faults.append(_no_member(gap, at))
                gap = -1
            if header.is_file:
                members.append(_place(file, at, header))
            at = end = _after(stop)
        else:
            gap = at if gap < 0 and any(_block(stream, at)) else gap
        if gap >= 0 and any(_block(stream, gap)):  # else what a killed process has left behind the mark of the end
            faults.append(_no_member(gap, size))
    return TarContent([*earlier, *members] if members else earlier, faults, end)


def _is_there(stream: BinaryIO, members: list[MasksPlace]) -> bool:
    """Returns whether members have the headers that they had when they were read."""
    for place in members:
        header = _parsed(_block(stream, place.start - BLOCK))
        if header is None or _place(place.file, place.start - BLOCK, header) != place:
            return False
    return True


def _place(file: Path, at: int, header: _Header) -> MasksPlace:
    """Returns the place of the member that has its header at some byte."""
    return MasksPlace(file, at + BLOCK, header.size, header.name, header.seconds * 10**9)


def _no_member(start: int, stop: int) -> str:
    return f"has {stop - start} bytes from {start} on that are no member; the same command makes again what was there"


def _after(position: int) -> int:
    """Returns where the next member may begin."""
    return position + -position % BLOCK


def _header(name: str, size: int, seconds: int) -> bytes:
    """Returns the header of a member. Raises ValueError if the name does not fit into it."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, seconds
    return entry.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def _parsed(block: bytes) -> _Header | None:
    """Returns what a header says; None if it is none.

    Ours are read here, which is fast; those of other programs by Python's own reader.
    """
    if block[257:265] == b"ustar\x0000" and block[156:157] == b"0":
        checked = sum(block) - sum(block[148:156]) + 8 * ord(" ")
        if block[148:156] in (b"%06o\0 " % checked, b"%06o \0" % checked):
            name, prefix = block[:100].rstrip(b"\0"), block[345:500].rstrip(b"\0")
            whole = b"%s/%s" % (prefix, name) if prefix else name
            with suppress(ValueError):  # sizes and times that are not octal
                size, seconds = int(block[124:135], 8), int(block[136:147], 8)
                return _Header(whole.decode("utf-8", "surrogateescape"), size, seconds, True)
    try:
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return _Header(entry.name, entry.size, int(entry.mtime), entry.isreg())


def _block(stream: BinaryIO, at: int) -> bytes:
    return os.pread(stream.fileno(), BLOCK, at)


def _write(stream: BinaryIO, at: int, data: bytes) -> None:
    """Writes bytes at a place, all of them."""
    written = 0
    while written < len(data):
        written += os.pwrite(stream.fileno(), data[written:], at + written)
