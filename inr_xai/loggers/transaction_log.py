"""Whether W&B has written a run's file to its end: on a full disk it loses what follows, and says nothing."""

import struct
from pathlib import Path

BLOCK = 32_768
_HEADER = struct.Struct("<IHB")
"""Before each piece of a record: its checksum, its length and where in the record it stands."""
_MAGIC = b":W&B"
_WHOLE, _FIRST, _LAST = 1, 2, 4


def is_complete(file: Path) -> bool:
    """Returns whether the last record of a run's file says that the run has ended.

    A file of another format than W&B's of today counts as complete; one that is missing or unreadable does not.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                return size > 0
            start = max(0, (size - 1) // BLOCK - 1) * BLOCK  # the last two blocks: the record that ends a run is short
            stream.seek(start)
            records = _records(stream.read(), start)
    except OSError:
        return False
    return bool(records) and _is_exit(records[-1])


def _records(data: bytes, start: int) -> list[bytes]:
    """Returns the whole records in the blocks of a file from `start` on, which is the beginning of a block."""
    records, record, position = (
        [],
        None,
        7 if start == 0 else 0,
    )  # the file begins with seven bytes that name the format
    while position + _HEADER.size <= len(data):
        left = BLOCK - position % BLOCK
        if left < _HEADER.size:
            position += left
            continue
        _, length, piece = _HEADER.unpack_from(data, position)
        content = data[position + _HEADER.size : position + _HEADER.size + length]
        position += _HEADER.size + length
        if piece in (_WHOLE, _FIRST):
            record = b""
        if record is not None:
            record += content
            if piece in (_WHOLE, _LAST):
                records.append(record)
                record = None
    if position != len(data) or record is not None:
        records.append(b"")  # the file ends within a record
    return records


def _is_exit(record: bytes) -> bool:
    """Returns whether a record is the one with which W&B ends a run."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # it is made at run time

    parsed = Record()
    try:
        parsed.ParseFromString(record)
    except Exception:
        return False
    return parsed.WhichOneof("record_type") == "exit"
