"""Rows in a CSV that grows: groups are replaced, columns are added, torn and foreign files are handled."""

import threading
from pathlib import Path

import pytest

from inr_xai.errors import UserError
from inr_xai.runs import csv_store
from inr_xai.runs.csv_store import CsvStore


def areas_store(folder: Path) -> CsvStore:
    """Returns a store with one row for each image and area."""
    return CsvStore(folder / "rows.csv", key=("image", "area"), first=("image", "area"), last=("failed",))


def rows_of(image: str, **values: str) -> list[dict[str, str]]:
    """Returns a row of an image for each area: `a1="0.5"` is 0.5 at area 1."""
    return [{"image": image, "area": area.removeprefix("a"), "p": value} for area, value in values.items()]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were written as a whole."""
    files: list[Path] = []
    write = csv_store.write_bytes
    monkeypatch.setattr(csv_store, "write_bytes", lambda file, data: files.append(file) or write(file, data))
    return files


def test_new_groups_are_appended_and_sorted_at_the_end(tmp_path: Path, written: list[Path]) -> None:
    store = areas_store(tmp_path)
    for image in ("c", "a", "b"):
        store.put(image, rows_of(image, a2="0.2", a1="0.1"))
    assert len(written) == 1  # the first row, with its columns
    assert areas_store(tmp_path).groups == store.groups
    store.tidy()
    lines = ["image,area,p", "a,2,0.2", "a,1,0.1", "b,2,0.2", "b,1,0.1", "c,2,0.2", "c,1,0.1"]
    assert store.file.read_text().splitlines() == lines
    store.tidy()
    areas_store(tmp_path).tidy()
    assert len(written) == 2


def test_the_last_line_of_a_key_counts(tmp_path: Path, written: list[Path]) -> None:
    store = areas_store(tmp_path)
    store.put("a", rows_of("a", a1="0.1", a2="0.2"))
    store.put("a", rows_of("a", a2="0.4", a1="0.3"))
    assert len(written) == 1
    assert len(store.file.read_text().splitlines()) == 5
    assert areas_store(tmp_path).groups == {"a": rows_of("a", a2="0.4", a1="0.3")}


def test_a_row_without_successor_goes(tmp_path: Path, written: list[Path]) -> None:
    """A group that failed has a row without area, and one of fewer areas has fewer rows."""
    store = areas_store(tmp_path)
    store.put("a", [{"image": "a", "area": "", "p": "", "failed": "no file"}])
    store.put("a", rows_of("a", a1="0.1", a2="0.2"))
    store.put("a", rows_of("a", a2="0.3"))
    assert len(written) == 3
    assert [row["p"] for row in areas_store(tmp_path).groups["a"]] == ["0.3"]


def test_a_new_column_stands_between_the_first_and_the_last(tmp_path: Path) -> None:
    store = areas_store(tmp_path)
    store.put("a", [{"image": "a", "area": "1", "failed": "no"}])
    store.put("b", rows_of("b", a1="0.1"))
    assert store.file.read_text().splitlines() == ["image,area,p,failed", "a,1,,no", "b,1,0.1,"]
    assert store.columns == ["p"]


def test_a_torn_line_is_dropped_and_the_file_written_anew(tmp_path: Path) -> None:
    store = areas_store(tmp_path)
    store.put("a", rows_of("a", a1="0.1"))
    store.put("b", rows_of("b", a1="0.2"))
    content = store.file.read_text()
    for cut in range(1, len("b,1,0.2\n")):
        store.file.write_text(content[:-cut])
        torn = areas_store(tmp_path)
        assert list(torn.groups) == ["a"]
        torn.put("b", rows_of("b", a1="0.2"))
        assert store.file.read_text() == content
    store.file.write_text(content[:-2])
    areas_store(tmp_path).tidy()
    assert store.file.read_text() == content[: content.index("b,")]


def test_rows_of_another_process_stay(tmp_path: Path) -> None:
    first, second = areas_store(tmp_path), areas_store(tmp_path)
    first.put("b", rows_of("b", a1="0.1"))
    second.put("a", rows_of("a", a1="0.2"))
    first.put("c", rows_of("c", a1="0.3"))
    first.tidy()
    second.tidy()
    assert [line[0] for line in second.file.read_text().splitlines()[1:]] == ["a", "b", "c"]


def test_two_that_write_one_file_at_once_lose_no_row_and_mix_no_columns(tmp_path: Path) -> None:
    def write(number: int) -> None:
        store = areas_store(tmp_path)
        for place in range(10):
            column = f"{'pq'[place % 2]}{number}"
            store.put(f"{number}/{place}", [{"image": f"{number}/{place}", "area": "1", column: f"{place}"}])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    store = areas_store(tmp_path)
    assert len(store.groups) == 30
    for number in range(3):
        for place in range(10):
            (row,) = store.groups[f"{number}/{place}"]
            values = {column: value for column, value in row.items() if value and column not in ("image", "area")}
            assert values == {f"{'pq'[place % 2]}{number}": f"{place}"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"image,p\na,1\n", "has no column area"),
        (b"image,area\na,1,7\n", "has a line with more cells than columns"),
        (b"image,area\n\xff,1\n", "cannot be read"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"rows.csv' {words}.*; remove it, and it is made again"):
        areas_store(tmp_path)
