"""Small files: CSV and JSON read back what was written, and a write that fails leaves the old file."""

import csv
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inr_xai.data.names import ASIDE
from inr_xai.errors import RunFault, UserError
from inr_xai.runs.files import (
    append_text,
    format_csv,
    link_or_copy,
    markdown_table,
    read_json,
    whole_folder,
    write_bytes,
    write_chunks,
    write_json,
)


def test_rows_are_read_back_from_csv() -> None:
    rows = [{"name": 'a, "b"', "value": 0.1 + 0.2}, {"name": "c\nd", "value": None}]
    text = format_csv(rows)
    back = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in back] == [row["name"] for row in rows]
    assert [row["value"] for row in back] == [repr(0.1 + 0.2), ""]
    assert text == "name,value\n" + format_csv(rows, header=False)
    assert format_csv(rows[:1], ["value", "name"]).splitlines()[0] == "value,name"
    assert format_csv([]) == ""
    with pytest.raises(ValueError, match=r"have the columns \['other'\], which are not among"):
        format_csv([{"name": 1, "other": 2}], ["name"])


@pytest.mark.parametrize("cell", ["a\rb", "\r", "c\r\nd", "e\nf", "\x0b\x1e\u2028", 'g"h', " ", "=1+2"])
def test_any_character_in_a_cell_keeps_rows_whole(cell: str) -> None:
    text = format_csv([{"name": cell, "value": 1}] * 2)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["name", "value"], [cell, "1"], [cell, "1"]]


def test_what_utf_8_cannot_hold_is_an_escape() -> None:
    assert format_csv([{"name": "a\udcff"}]).encode() == b"name\na\\udcff\n"


def test_a_markdown_table_has_the_rules_and_bars_that_are_given() -> None:
    table = markdown_table(["a", "b"], [[r"1\|2", "3"]], rules=["---:", "---"], tight_rules=True, bar="|")
    assert table == "| a | b |\n|---:|---|\n| 1\\|2 | 3 |\n"


def test_json_is_read_back_and_damage_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "facts.json"
    with pytest.raises(UserError, match=r"facts\.json does not exist; is .* the folder of a run\?"):
        read_json(path)
    write_json(path, {"a": [1, None], "b": {"c": 0.1}})
    assert read_json(path) == {"a": [1, None], "b": {"c": 0.1}}
    path.write_text("{")
    with pytest.raises(UserError, match=r"facts\.json is damaged .*; give another out=PATH"):
        read_json(path)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "file", b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_bytes(tmp_path / "file", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def fails_with(number: int) -> Callable[..., None]:
    """Returns a function of the system that fails."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space there"),
        (errno.EDQUOT, "free space there"),
        (errno.EROFS, "make the folder writable"),
        (errno.EACCES, "make the folder writable"),
        (errno.EPERM, "make the folder writable"),
        (errno.EIO, "look after the disk"),
        (errno.ESTALE, "the folder is gone; put it back"),
        (errno.ENOENT, "the folder is gone; put it back"),
        (errno.EMFILE, r"allow more open files \(ulimit -n\)"),
        (errno.ENFILE, r"allow more open files \(ulimit -n\)"),
    ],
)
def test_a_fault_of_the_machine_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    (tmp_path / "log").write_text("a\n")
    for name in ("os.replace", "os.write"):
        with monkeypatch.context() as patch:
            patch.setattr(name, fails_with(number))
            write = write_bytes if name == "os.replace" else lambda path, data: append_text(path, data.decode())
            with pytest.raises(
                RunFault, match=rf"log cannot be written \(.*\); {remedy}, then the same command continues$"
            ):
                write(tmp_path / "log", b"b\n")
    assert (tmp_path / "log").read_text() == "a\n"
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_an_error_of_one_name_is_none_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        write_bytes(tmp_path / ("x" * 300), b"")
    write_bytes(tmp_path / "a" / "b", b"")
    for path in (tmp_path / "a", tmp_path / "a" / "b" / "c", tmp_path / "a" / "b" / "c" / "d"):
        with pytest.raises(UserError, match=r"cannot be written .*; move away what is in its place"):
            write_bytes(path, b"")


def test_a_disk_that_takes_a_part_of_a_line_leaves_the_lines_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, sizes = os.write, iter([3, 0])

    def nearly_full(handle: int, data: bytes) -> int:
        if not (size := next(sizes)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[:size])

    assert append_text(tmp_path / "log", "one\n") == 0
    with monkeypatch.context() as patch:
        patch.setattr("os.write", nearly_full)
        with pytest.raises(RunFault, match="free space there"):
            append_text(tmp_path / "log", "two, of which a part is written\n")
    assert (tmp_path / "log").read_text() == "one\n"
    assert append_text(tmp_path / "log", "three\n") == 4


@pytest.mark.parametrize("torn", ["x", "y" * 70_000, "a\nb" + "c" * 66_000])
def test_a_line_that_a_killed_process_left_incomplete_goes(tmp_path: Path, torn: str) -> None:
    whole = torn[: torn.rfind("\n") + 1]
    (tmp_path / "log").write_text(torn)
    assert append_text(tmp_path / "log", "next\n") == len(whole)
    assert (tmp_path / "log").read_text() == whole + "next\n"


def test_a_file_in_parts_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"new "
        if not (tmp_path / "file").exists():
            raise KeyError("broken on purpose")
        yield b"content"

    with pytest.raises(KeyError):
        write_chunks(tmp_path / "file", parts())
    assert list(tmp_path.iterdir()) == []
    write_bytes(tmp_path / "file", b"old")
    write_chunks(tmp_path / "file", parts())
    assert (tmp_path / "file").read_bytes() == b"new content"


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out"

    def make(error: BaseException | None = None, *, left: str | None = None) -> None:
        with whole_folder(target) as path:
            assert path.parent == target.parent
            (path / "run.json").write_text("{}")
            if left is not None:
                path.with_name(path.name.replace(f".{os.getpid()}.", f".{left}.")).mkdir()
            if error is not None:
                raise error

    with pytest.raises(KeyboardInterrupt):
        make(KeyboardInterrupt())
    assert list(target.parent.iterdir()) == []
    target.mkdir()
    make(left="999999999")  # what a killed process leaves
    assert len(list(target.parent.iterdir())) == 2
    (of_another := target.with_name(f"{ASIDE}0123abcd.1.1-x")).mkdir()  # which may still be at work
    with pytest.raises(UserError, match=r"out cannot be written .*; move away what is in its place"):
        make()
    assert sorted(target.parent.iterdir()) == [of_another, target]
    assert [file.name for file in target.iterdir()] == ["run.json"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_gets_a_second_name_or_a_copy_with_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_text("content")
    os.utime(source, ns=(1, 123_456_789))
    link_or_copy(source, target)
    assert target.read_text() == "content"
    assert target.stat().st_mtime_ns == 123_456_789
    assert (target.stat().st_ino == source.stat().st_ino) == links
