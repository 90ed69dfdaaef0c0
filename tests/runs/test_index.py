"""The index of a run: kept image by image, joined over shards, made again from masks files, never believed blindly."""

import logging
import os
import random
import shutil
from pathlib import Path

import pytest
import torch

from inr_xai.errors import RunFault, UserError
from inr_xai.runs import masks_file
from inr_xai.runs.files import append_text, format_csv
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.runs.results import StoredResults
from inr_xai.runs.tables import write_run_tables
from inr_xai.scoring import summarise
from inr_xai.types import Row
from tests.helpers.runs import FACTS, messages, table
from tests.runs.test_folder import record


def commit(folder: RunFolder, index: ResultIndex | None, *records: SampleRecord) -> None:
    """Stores records as a run does; without an index as an earlier version, or a run that is killed at once."""
    for one in records:
        folder.commit(one)
        if index is not None:
            index.add(one)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the masks files that were read."""
    names: list[str] = []
    read = masks_file.read_record
    monkeypatch.setattr(masks_file, "read_record", lambda place: names.append(place.file.stem) or read(place))
    return names


def content(results: StoredResults) -> list[object]:
    """Returns everything that results hold, but not in which file and line it stands."""
    facts = [
        (name, *(entry.steps_before, entry.steps_after, entry.seconds, entry.fits)) for name, entry in results.items()
    ]
    return [*facts, list(results.scores()), list(results.curves())]


def test_the_index_says_what_the_masks_files_say(tmp_path: Path, opened: list[str]) -> None:
    folder = RunFolder(tmp_path)
    index = ResultIndex(folder)
    records = [record(name, before, loss) for name, before, loss in (("b", 0, 3.0), ("a", 0, 1.0), ("c/d", 4, 5.0))]
    commit(folder, index, *records)
    results = index.read()
    assert opened == []
    assert list(results) == ["a", "b", "c/d"]
    assert (results["c/d"].steps_before, results["c/d"].steps_after, results["c/d"].seconds) == (4, 8, 1.5)
    assert {entry.fits for entry in results.values()} == {2}
    assert list(results.rows) == [row for name in (1, 0, 2) for row in records[name].rows]
    assert (len(results.rows), bool(results.rows), results.rows_of("b")) == (6, True, records[0].rows)
    assert [type(value) for value in next(iter(results.rows)).values()] == [str, int, float, float]
    before = content(results)
    shutil.rmtree(tmp_path / "index")
    assert content(index.read()) == before
    assert opened == ["a", "b", "d"]
    assert content(index.read()) == before
    assert len(opened) == 3


def test_tables_are_those_of_all_rows_at_once(tmp_path: Path) -> None:
    """Images of two shards at the same steps, one of them with a fit more, and one of two explanations."""
    folder, draw = RunFolder(tmp_path), random.Random(0)
    records = []
    for place in range(40):
        one = record(f"image {draw.random():.5f}, {place}", steps_before=4 * (place // 3))
        fits = draw.choice((2, 3))
        one.losses = torch.rand(fits, 2, generator=torch.Generator().manual_seed(place))
        for row in one.rows:
            row |= {"p_full": draw.random(), "chance": draw.random() * 1e-9, "grayness": draw.choice((0.1, None, 3))}
        one.rows = one.rows[: draw.choice((1, 2))]
        records.append(one)
        commit(folder, ResultIndex(folder, (place % 2, 2)), one)
    summary = write_run_tables(tmp_path, ResultIndex(folder).read()).means()
    records.sort(key=lambda one: one.sample_id)
    rows = [row for one in records for row in one.rows]
    assert (tmp_path / "per_image.csv").read_text() == format_csv(rows)
    assert summary == summarise(rows)
    curves: dict[tuple[int, int, int], list[float]] = {}
    for one in records:
        for k, losses in enumerate(one.losses.tolist()):
            for step, loss in enumerate(losses):
                curves.setdefault((one.steps_before + 2 * k + step, k + 1, step), []).append(loss)
    lines: list[Row] = [
        {"steps_done": done, "explanation": k, "step": step, "loss": sum(part) / len(part), "images": len(part)}
        for (done, k, step), part in sorted(curves.items())
    ]
    assert (tmp_path / "curves.csv").read_text() == format_csv(lines)


def test_a_run_without_images_has_empty_tables(tmp_path: Path) -> None:
    assert write_run_tables(tmp_path, ResultIndex(RunFolder(tmp_path)).read()).means() == {"images": 0}
    assert [(tmp_path / name).read_bytes() for name in ("per_image.csv", "curves.csv")] == [b"", b""]


def test_columns_that_only_some_images_have_are_all_in_the_table(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    first, second = record("a"), record("b")
    for row in second.rows:
        row["new"] = "x,\n"
    commit(folder, ResultIndex(folder), second, first)
    write_run_tables(tmp_path, ResultIndex(folder).read())
    assert [(row["sample_id"], row["new"]) for row in table(tmp_path)] == [
        ("a", ""),
        ("a", ""),
        ("b", "x,\n"),
        ("b", "x,\n"),
    ]


def test_each_shard_adds_to_a_file_of_its_own_and_reads_those_of_all(tmp_path: Path, opened: list[str]) -> None:
    folder = RunFolder(tmp_path)
    shards = [ResultIndex(folder, (number, 2)) for number in range(2)]
    for name, shard in zip("abcd", shards * 2, strict=True):
        commit(folder, shard, record(name))
    assert sorted(file.name for file in (tmp_path / "index").iterdir()) == ["0-of-2.images", "1-of-2.images"]
    assert content(shards[0].read()) == content(shards[1].read()) == content(ResultIndex(folder, (0, 3)).read())
    assert list(shards[0].read()) == list("abcd")
    assert opened == []


def test_a_masks_file_that_changed_is_read_and_one_that_is_gone_does_not_count(
    tmp_path: Path, opened: list[str]
) -> None:
    folder = RunFolder(tmp_path)
    index = ResultIndex(folder)
    commit(folder, index, record("a"), record("b"), record("c"))
    for name in "ab":
        folder.masks_file(name).unlink()
    folder.commit(record("b", loss=7.0))
    os.utime(folder.masks_file("c"), ns=(1, 1))
    results = index.read()
    assert (list(results), opened) == (["b", "c"], ["b", "c"])
    assert next(results.curves()) == (0, 1, 0, [7.0, 1.0])
    commit(folder, index, record("a"))
    assert list(index.read()) == ["a", "b", "c"]
    assert len(opened) == 2


def test_a_line_about_a_file_that_was_made_anew_does_not_count_wherever_it_is(
    tmp_path: Path, opened: list[str]
) -> None:
    folder = RunFolder(tmp_path)
    first, last = (ResultIndex(folder, (number, 2)) for number in range(2))
    commit(folder, last, record("a"))
    os.utime(folder.masks_file("a"), ns=(1, 1))
    last.file.unlink()
    last.add(record("a"))
    folder.masks_file("a").unlink()
    commit(folder, first, record("a", loss=7.0))  # its line is in the first file, the old one in the last
    assert next(last.read().curves())[3] == [7.0]
    assert opened == []
    os.utime(folder.masks_file("a"), ns=(2, 2))  # now no line is about this file
    assert next(last.read().curves())[3] == [7.0]
    assert opened == ["a"]


def test_torn_and_damaged_lines_are_made_again(
    tmp_path: Path, opened: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = RunFolder(tmp_path)
    index = ResultIndex(folder)
    commit(folder, index, *(record(name) for name in "abc"))
    whole, before = index.file.read_bytes(), content(index.read())
    index.file.write_bytes(whole[:-40])
    assert content(index.read()) == before
    assert opened == ["c"]
    assert "1 masks files are not in the index" in messages(caplog.records)[-2]
    for place in range(0, len(whole), 53):
        index.file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert content(index.read()) == before
        assert not index._damaged
    assert any("damaged lines, which are made again" in line for line in messages(caplog.records))
    for nonsense in (b"", b"\0" * 100, b"\n\n", b"\xff\xfe\n", b"[]\n{}\n", b"0\t1\t2\n", b"00000000\t\n"):
        index.file.write_bytes(nonsense)
        assert content(index.read()) == before


def test_a_masks_file_that_cannot_be_believed_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    commit(folder, None, record("a"), record("b"))
    folder.masks_file("a").rename(folder.masks_file("z"))
    with pytest.raises(UserError, match=r"z\.safetensors holds the masks of 'a'; give it the name that it had"):
        ResultIndex(folder).read()
    folder.masks_file("z").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"z\.safetensors is damaged .* delete it and run the same command"):
        ResultIndex(folder).read()


def test_images_whose_names_are_no_file_names_are_stored_and_found(tmp_path: Path, opened: list[str]) -> None:
    ids = ["x" * 300, "../../up", "/root", "a//b", "a.safetensors/b", "a", "no utf-8 \udcff", "n\rl\n,\"'"]
    folder = RunFolder(tmp_path / "run")
    folder.write_run(FACTS)
    index = ResultIndex(folder)
    commit(folder, index, *(record(name) for name in ids))
    assert folder.done() == set(index.read()) == set(ids)
    assert opened == []
    assert [folder.read(name).sample_id for name in ids] == ids
    shutil.rmtree(tmp_path / "run" / "index")
    assert set(index.read()) == set(ids)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
    write_run_tables(folder.path, index.read())
    assert {row["sample_id"] for row in table(folder.path)} == {*ids[:6], "no utf-8 \\udcff", ids[7]}


def test_an_index_whose_folder_is_gone_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.commit(record("a"))
    index = ResultIndex(folder)
    index.add(record("a"))
    file = shutil.copy(folder.masks_file("a"), tmp_path / "kept")
    shutil.rmtree(tmp_path / "run")
    assert Path(file).exists()
    with pytest.raises(RunFault, match=r"0-of-1\.images cannot be written .* the folder is gone; put it back"):
        append_text(index.file, "line\n", within=folder.path)
    assert not folder.path.exists()
