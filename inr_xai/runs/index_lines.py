"""The lines of the index: what stands in one of an image, how it is written, and whether it is whole."""

import base64
import functools
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inr_xai.runs.files import all_columns, format_csv
from inr_xai.runs.masks_place import MasksPlace
from inr_xai.runs.structure import require

if TYPE_CHECKING:  # what brings torch is imported late, as in `inr_xai.runs.folder`
    from inr_xai.runs.masks_file import SampleRecord

INDEX = "index"
"""The folder of what the shards know, within the run folder."""
RESULTS, FAILURES = ".images", ".failures"
"""How the names of a shard's files end there: that of its results, and that of the images it could not explain."""
FACTS = {
    "id": str,
    "file": str,
    "start?": int,
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


class IndexEntry(NamedTuple):
    """What the index says of an image.

    Args:
        file: the file of the index in which its line is.
        place, sizes: where its scores begin there, and how many bytes the scores and the losses have.
        start: where the masks file begins in its tar; 0 if it is a file of its own.
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
    start: int
    size: int
    mtime: int
    steps_before: int
    steps_after: int
    seconds: float
    fits: int
    passes: float | None
    columns: tuple[tuple[str, str], ...]
    rows: int


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
    """Returns the file that a line is about, the image's id, and the rest; None if it is damaged.

    The file is the path of the masks file below the folder of masks; that of a member begins with the tar's.
    """
    try:
        check, text = line.rstrip(b"\n").split(b"\t", 1)
        if int(check, 16) != zlib.crc32(text):
            return None
        facts, rows, losses = text.split(b"\t")
        values: dict[str, Any] = json.loads(facts)
        require(values, FACTS)
    except ValueError:
        return None
    begin = place + len(check) + len(facts) + 2
    return (
        values["file"],
        values["id"],
        IndexEntry(
            file,
            begin,
            (len(rows), len(losses)),
            start=values.get("start", 0),
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


def format_line(record: "SampleRecord", name: str, place: MasksPlace) -> str:
    """Returns the line of an image: a sum of the rest, facts, scores and losses, between tabulators.

    Args:
        name: the path of its masks file below the folder of masks; that of a member begins with the tar's.
    """
    columns = all_columns(record.rows)
    facts = {
        "id": record.sample_id,
        **_located(name, place),
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
    return _summed([json.dumps(facts), json.dumps(scores), base64.b64encode(losses).decode()])


def moved_line(line: bytes, name: str, place: MasksPlace) -> bytes:
    """Returns the line of an image whose masks file has another place now, see `format_line`."""
    _, facts, *rest = line.decode().rstrip("\n").split("\t")
    values = {key: value for key, value in json.loads(facts).items() if key != "start"}
    return _summed([json.dumps(values | _located(name, place)), *rest]).encode()


def _located(name: str, place: MasksPlace) -> dict[str, Any]:
    """Returns what a line says of the place of the masks file."""
    start = {"start": place.start} if place.member else {}
    return {"file": name, **start, "size": place.size, "mtime": place.mtime}


def _summed(parts: Sequence[str]) -> str:
    """Returns a line with its sum."""
    text = "\t".join(parts)
    return f"{zlib.crc32(text.encode()):08x}\t{text}\n"


def _type(values: Sequence[object]) -> str:
    """Returns which of TYPES the values of a column have, of which some may be missing.

    >>> _type([1, 2]), _type([1, 0.5, None]), _type(["a"]), _type([True])
    ('whole', 'number', 'text', 'text')
    """
    kinds = {type(value) for value in values if value is not None}
    return "whole" if kinds == {int} else "number" if kinds <= {int, float} else "text"
