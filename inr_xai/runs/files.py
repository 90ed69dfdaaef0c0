"""Small files: rows as CSV or Markdown, facts as JSON, and writing that leaves a file whole or not at all."""

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inr_xai.errors import UserError
from inr_xai.types import Row

ASIDE = ".writing-"
"""How the name of a file begins that is not whole yet."""


def format_csv(rows: Sequence[Row], columns: Sequence[str] | None = None, *, header: bool = True) -> str:
    """Returns rows as CSV; the columns are those of the first row unless given."""
    names = list(columns) if columns is not None else list(rows[0]) if rows else []
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    if header and names:
        writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a value as a JSON file of several lines."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON file. Raises UserError if it is missing or damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} does not exist; is {path.parent} the folder of a run?") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); give another out=PATH") from error
    return content


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=ASIDE)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
