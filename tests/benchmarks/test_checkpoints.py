"""The figures of checkpoints: the program that measures them, and the page that shows them."""

from pathlib import Path

import pytest

from inr_xai.runs.files import read_json
from tests.helpers.runs import ROOT
from tests.helpers.scripts import script_status


@pytest.mark.slow
def test_a_small_fit_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tmp_path / "checkpoints.json"
    options = ["--images", "1", "2", "--side", "32", "--steps", "1", "--results", result]
    assert script_status(monkeypatch, "checkpoints", *options) == 0
    first, second = read_json(result)["rows"]
    assert (first["images"], second["images"]) == (1, 2)
    # Two explanations' networks and one optimiser's two moments are most of it; the frame of the file is shared.
    assert 0.8 * first["bytes"] < second["bytes"] < first["bytes"]


def test_the_page_has_the_table_of_the_stored_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = ROOT / "benchmarks" / "results" / "checkpoints.json"
    assert script_status(monkeypatch, "checkpoints", "--table", "--results", stored) == 0
    assert capsys.readouterr().out in (ROOT / "docs" / "reliability.md").read_text()
