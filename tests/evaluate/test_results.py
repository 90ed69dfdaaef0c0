"""Results in a CSV: lines that are torn or superseded, new columns, and files of another kind."""

from pathlib import Path

import pytest

from inr_xai.errors import UserError
from inr_xai.evaluate.results import Results, read_results
from inr_xai.runs import csv_store
from tests.helpers.runs import ROOT


def test_a_torn_line_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "masks.csv"
    results = Results(file)
    results.add("a", {"target": 1, "difficult": 0, "road": 0.5, "failed": ""})
    results.add("b", {"target": 1, "difficult": 0, "road": 0.25, "failed": ""})
    whole = file.read_text()
    for cut in range(1, len("b,1,0,0.25,\n")):
        file.write_text(whole[:-cut])
        torn = Results(file)
        assert list(torn.rows) == ["a"]
        torn.add("b", {"target": 1, "difficult": 0, "road": 0.25, "failed": ""})
        assert file.read_text() == whole


def test_a_new_column_writes_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, written = tmp_path / "masks.csv", []
    first = Results(file)
    for place in range(20):
        first.add(f"{place:02d}", {"target": 1, "difficult": 0, "road": 0.5, "failed": ""})
    write = csv_store.write_bytes
    monkeypatch.setattr(csv_store, "write_bytes", lambda *args: written.append(args) or write(*args))
    again = Results(file)
    for place in range(20):
        again.add(f"{place:02d}", {"iou": place / 20, "failed": ""})
    assert len(written) == 1
    assert Results(file).rows == again.rows  # even if the process is killed now: the last line of a sample counts
    again.tidy()
    assert len(file.read_text().splitlines()) == 21
    assert Results(file).rows == again.rows
    Results(file).tidy()
    assert len(written) == 2


def test_nan_is_measured_and_no_value_and_infinity_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "masks.csv"
    Results(file).add("a", {"target": 1, "difficult": 0, "mprt": float("nan"), "road": float("inf"), "failed": ""})
    assert file.read_text().splitlines()[1] == "a,1,0,nan,,"
    assert [Results(file).has("a", metric) for metric in ("mprt", "road", "iou")] == [True, False, False]
    file.write_text("sample_id,target,difficult,mprt,failed\na,1,0,nan,\nb,1,0,0.5,\n")
    assert Results(file).values("mprt") == {"b": 0.5}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"image_id,explanation,area\na,1,0.1\n", "has no column sample_id"),
        (b"sample_id,road\na,0.5\n", "has no column failed"),
        (b"failed,road\n,0.5\n", "has no column sample_id"),
        (b"sample_id,road,failed\n\xff,0.5,\n", "cannot be read"),
        (b"sample_id,road,failed\na,0.5,,7\n", "has a line with more cells than columns"),
        (b"sample_id,target,failed\na,1,\n", "holds no values"),
        (b"", "holds no values"),
    ],
)
def test_a_csv_of_something_else_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"x.csv' {words}.*give a CSV that inr-xai evaluate wrote"):
        read_results(tmp_path / "x.csv")


def test_text_among_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"sample_id,road,failed\na,high,\n")
    with pytest.raises(UserError, match="has 'high' as road of 'a', which is no number"):
        read_results(tmp_path / "x.csv").values("road")


def test_published_results_are_read(tmp_path: Path) -> None:
    for file in (ROOT / "benchmarks" / "results" / "shapes_in_context").glob("*.csv"):
        results = read_results(file)
        assert all(len(results.values(column)) == len(results.rows) for column in results.columns)
