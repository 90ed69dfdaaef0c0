"""Small files: CSV and JSON read back what was written, and a write that fails leaves the old file."""

import csv
import io
from pathlib import Path

import pytest

from inr_xai.errors import UserError
from inr_xai.runs.files import format_csv, markdown_table, read_json, write_bytes, write_json


def test_rows_are_read_back_from_csv() -> None:
    rows = [{"name": 'a, "b"', "value": 0.1 + 0.2}, {"name": "c\nd", "value": None}]
    text = format_csv(rows)
    back = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in back] == [row["name"] for row in rows]
    assert [row["value"] for row in back] == [repr(0.1 + 0.2), ""]
    assert text == "name,value\n" + format_csv(rows, header=False)
    assert format_csv(rows[:1], ["value", "name"]).splitlines()[0] == "value,name"
    assert format_csv([]) == ""


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
