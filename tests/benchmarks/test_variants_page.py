"""The tables of docs/default.md are those that the stored rows give."""

import csv
from pathlib import Path

import pytest

from tests.helpers.scripts import script_module

program = script_module("variants_page")


def test_the_page_says_what_the_rows_say() -> None:
    text = program.PAGE.read_text()
    assert text.count("<!-- table ") == len(program.TABLES)
    assert program.with_tables(text) == text


def test_the_difference_is_that_of_the_default_to_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of before holds the difference the other way round, with its interval."""
    columns = ["set", "passes", "variant", "photos", "more", "more_low", "more_high", "unseen", "deletion"]
    columns += ["preservation", "preservation_low", "preservation_high"]
    lines = [
        ["vit_tiny", "50", "default", "24", "", "", "", "0.25", "0.5", "0.6", "0.5", "1.04"],
        ["vit_tiny", "50", "former", "24", "-0.1", "-0.3", "0.05", "0.2", "0.45", "0.5", "0.4", "0.6"],
    ]
    (tmp_path / "variants").mkdir()
    with (tmp_path / "variants" / "variants.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *lines])
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    row = program.curve().splitlines()[-1]
    assert row == (
        "| ViT-Tiny | 50 | 24 | .500 | .600 [.500, 1.040] | +0.100 [-0.050, +0.300] | .200, .250 | .450, .500 |"
    )
    assert "default" not in program.families()
    assert program.row("vit_tiny", 100, "default") is None
