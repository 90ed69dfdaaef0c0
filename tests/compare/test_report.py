"""The tables and the curve as files."""

import math
from pathlib import Path

import pytest

from inr_xai.compare.report import format_markdown, make_tables, write_curve, write_tables
from inr_xai.compare.tables import ScoredPhotos
from tests.helpers.comparison import made_up_rows


def test_every_table_that_has_a_row_is_made() -> None:
    names = ("low", "high", "high@wrong", "inr_second", "inr_passes_50")
    methods = {
        name: ScoredPhotos({"a": made_up_rows(1, [0.9, 0.9] if name == "high" else [0.1, 0.1])}) for name in names
    }
    assert sorted(make_tables(methods)) == ["control", "curve", "methods", "second"]
    assert sorted(make_tables({"low": methods["low"]})) == ["methods"]


def test_tables_are_written_as_csv_and_markdown(tmp_path: Path) -> None:
    photos = {"a": made_up_rows(0.5, [0.1, 0.2]), "b": made_up_rows(0.5, [0.3, 0.2])}
    text = write_tables(make_tables({"m": ScoredPhotos(photos)}), tmp_path)
    assert text == (tmp_path / "methods.md").read_text()
    assert "| m | 2 | 0 | 0.400 [0.300, 0.500] |" in text
    header, line = (tmp_path / "methods.csv").read_text().splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["preservation_low"] == "0.3"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["methods.csv", "methods.md"]


def test_markdown_shows_a_dash_for_what_is_not_there() -> None:
    rows = [
        {"method": "a", "kept": math.nan},
        {"method": "b", "kept": 123.4, "word": "no"},
        {"method": "c", "kept": 12.34},
    ]
    assert format_markdown(rows).splitlines()[2:] == ["| a | - | - |", "| b | 123 | no |", "| c | 12.3 | - |"]


def test_the_curve_is_drawn_if_fits_of_other_length_were_compared(tmp_path: Path) -> None:
    methods = {
        f"inr_passes_{passes}": ScoredPhotos(
            {name: made_up_rows(1, [preservation] * 2, passes=float(passes)) for name in "ab"}
        )
        for passes, preservation in ((400, 0.5), (50, 0.2))
    }
    methods["gradcam"] = ScoredPhotos({name: made_up_rows(1, [0.3, 0.3], passes=1.0) for name in "ab"})
    assert write_curve(methods, tmp_path) == [tmp_path / "curve.png"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert write_curve({"gradcam": methods["gradcam"]}, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("pattern", ["method|kept", "method|word"])
def test_some_columns_are_shown(pattern: str) -> None:
    rows = [{"method": "a", "kept": 0.5, "kept_low": 0.4, "kept_high": 0.6, "word": "no"}]
    name = pattern.removeprefix("method|")
    assert format_markdown(rows, only=pattern).splitlines()[0] == f"| method | {name} |"
