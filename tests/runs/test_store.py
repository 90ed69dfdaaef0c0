"""Both stores: the same records, facts, rows and tables, whatever happened to a file, and one folder may hold both."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import inr_xai
from inr_xai.config import check
from inr_xai.errors import UserError
from inr_xai.runs import tar_members
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.masks_file import SampleRecord, pack_record, read_facts, read_record
from inr_xai.runs.store import ImageStore, ShardStore, Store
from inr_xai.runs.tables import write_run_tables
from inr_xai.runs.tar_members import TarWriter
from tests.helpers.runs import FACTS, configured_fast, messages
from tests.runs.test_folder import record
from tests.runs.test_index import content

STORES: dict[str, Callable[[], Store]] = {
    "image": ImageStore,
    "image, float16": lambda: ImageStore("float16"),
    "shard": ShardStore,
    "shard, float16": lambda: ShardStore("float16"),
}
IDS = ["b", "dogs/a.b", "x" * 300, "f" * 120 + "/" + "n" * 90, "../../up", "a", "é/日本", "no utf-8 \udcff"]


def stored(path: Path, store: Store, *records: SampleRecord) -> RunFolder:
    """Returns a run folder with records and their index."""
    folder = RunFolder(path, store)
    folder.write_run(FACTS)
    index = ResultIndex(folder)
    for one in records:
        folder.commit(one)
        index.add(one)
    return folder


def same(first: SampleRecord, second: SampleRecord) -> bool:
    """Returns whether two records are equal, their tensors to the bit."""
    plain = [
        {name: value for name, value in vars(one).items() if name not in ("masks", "inrs", "losses")}
        for one in (first, second)
    ]
    tensors = [
        [one.masks, one.losses, *(value for inr in one.inrs for value in inr.values())] for one in (first, second)
    ]
    return plain[0] == plain[1] and all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))


@pytest.mark.parametrize("store", STORES)
def test_each_store_gives_back_what_it_was_given(tmp_path: Path, store: str) -> None:
    records = [record(name, steps_before=4 * place) for place, name in enumerate(IDS)]
    folder = stored(tmp_path / "run", STORES[store](), *records)
    again = RunFolder(folder.path)
    assert folder.done() == again.done() == set(IDS)
    assert all(same(again.read(one.sample_id), one) for one in records)
    assert all(again.images.facts(one.sample_id)[0]["rows"] == one.rows for one in records)
    assert again.images.find("none") is None
    with pytest.raises(UserError, match=r"has no masks of 'none'; inr_xai\.load"):
        again.read("none")
    run = inr_xai.load(folder.path)
    assert list(run) == sorted(IDS)
    rows = [row for one in sorted(records, key=lambda one: one.sample_id) for row in one.rows]
    assert [row | {"sample_id": row["sample_id"].replace("\\udcff", "\udcff")} for row in run.rows] == rows
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_tables_and_index_are_the_same_for_both(tmp_path: Path) -> None:
    records, found = [record(name, steps_before=4 * place) for place, name in enumerate(IDS[:3])], []
    for name, store in STORES.items():
        folder = stored(tmp_path / name, store(), *records)
        index = ResultIndex(folder)
        before = content(index.read())
        shutil.rmtree(folder.path / "index")
        assert content(index.read()) == before  # made again from the files, or from the tars
        assert index.known()[1] == []
        means = write_run_tables(folder.path, index.read()).means()
        found.append((before, means, *((folder.path / csv).read_bytes() for csv in ("per_image.csv", "curves.csv"))))
    assert all(one == found[0] for one in found)


def test_compressed_masks_are_those_of_the_plain_file_and_the_file_says_which_it_has(tmp_path: Path) -> None:
    given = record("a")
    files = {coding: tmp_path / coding for coding in ("float16", "lossless")}
    for coding, file in files.items():
        file.write_bytes(pack_record(given, coding))  # type: ignore[arg-type]
        assert same(read_record(file), given)
    assert [read_facts(file)[0]["format"] for file in files.values()] == ["1", "2"]
    assert all(read_facts(file)[1] for file in files.values())


@pytest.mark.slow
def test_every_flipped_byte_of_compressed_masks_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    whole = pack_record(record("a"), "lossless")
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ (0x20 if place % 2 else 0x01)]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"a\.safetensors"):
            read_record(file)


def tar_of(folder: RunFolder) -> Path:
    """Returns the one tar of a run."""
    (tar,) = (folder.path / "masks").glob("*.tar")
    return tar


@pytest.mark.parametrize(
    "lost", ["half of the last", "all but a byte of the last", "the header of the last", "garbage"]
)
def test_a_tar_that_was_cut_loses_the_last_image_alone_which_is_told_and_made_again(tmp_path: Path, lost: str) -> None:
    folder = stored(tmp_path, ShardStore(), record("a"), record("b"))
    tar, place = tar_of(folder), folder.images.existing("b")
    whole = tar.read_bytes()
    cut = {"half": place.start + 600, "all": place.start + (place.size or 0) - 1, "the": place.start - 300}
    tar.write_bytes(whole[: cut.get(lost.split()[0], place.start - 512)] + (b"x" * 777 if lost == "garbage" else b""))
    again = RunFolder(tmp_path, ShardStore())
    assert again.done() == {"a"}
    assert list(ResultIndex(again).read()) == ["a"]
    ((name, problem),) = again.images.faults()
    assert name == f"masks/{tar.name}"
    assert problem.endswith(
        "the same command makes again what was there" if "ends" not in problem else "makes it again"
    )
    again.commit(record("b"))
    assert same(again.read("b"), record("b"))
    assert len(list((tmp_path / "masks").glob("*.tar"))) == 2
    assert RunFolder(tmp_path).done() == {"a", "b"}


def test_an_image_whose_line_was_not_written_any_more_counts_and_gets_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = stored(tmp_path, ShardStore(), record("a"))
    folder.commit(record("b"))  # and the process is killed
    caplog.set_level("INFO")
    again = ResultIndex(RunFolder(tmp_path))
    assert list(again.read()) == ["a", "b"]
    assert [line for line in messages(caplog.records) if line.startswith("1 masks files are not in the index")]
    assert again.known()[1] == []


def test_a_damaged_member_is_one_sentence_and_costs_itself_alone(tmp_path: Path) -> None:
    folder = stored(tmp_path, ShardStore(), *map(record, "abc"))
    tar, place = tar_of(folder), folder.images.existing("b")
    damaged = bytearray(tar.read_bytes())
    damaged[place.start + (place.size or 0) - 3] ^= 1
    tar.write_bytes(damaged)
    run = inr_xai.load(tmp_path)
    assert [same(run[name].record, record(name)) for name in "ac"] == [True, True]
    with pytest.raises(UserError) as caught:
        run["b"]
    delete = f"tar --delete -f {tar.name} b.safetensors"
    assert str(caught.value) == (
        f"{tar} (b.safetensors) is damaged (its content does not have the checksum that was written with it); "
        f"delete it ({delete}) and run the same command to make it again"
    )
    subprocess.run(shlex.split(delete), cwd=tar.parent, check=True)
    again = RunFolder(tmp_path, ShardStore())
    assert list(ResultIndex(again).read()) == ["a", "c"]
    again.commit(record("b"))
    assert list(ResultIndex(again).read()) == ["a", "b", "c"]
    assert not list(again.images.faults())


def test_an_image_that_is_there_twice_counts_once_and_is_told(tmp_path: Path) -> None:
    folder = stored(tmp_path, ShardStore(), record("a", loss=1.0), record("b"))
    first = tar_of(folder)
    other = RunFolder(tmp_path)
    TarWriter(other.images.folder, 10**9).append("a.safetensors", pack_record(record("a", loss=3.0)))
    second = other.images.folder / max(file.name for file in first.parent.glob("*.tar"))
    if second == first:  # the two sessions began in one second, and their names are in the order of chance
        (second,) = (file for file in first.parent.glob("*.tar") if file != first)
        first, second = second, first
    again = RunFolder(tmp_path)
    counts = float(again.read("a").losses[0, 0])
    place = again.images.existing("a")
    assert (place.file, counts) == (first, 1.0 if first == tar_in(folder, "b") else 3.0)
    results = ResultIndex(again).read()
    assert list(results) == ["a", "b"]
    assert next(results.curves())[3][0] == counts
    assert list(again.images.faults()) == [
        (f"masks/{second.name}", f"has 'a.safetensors', which is also in masks/{first.name}, which counts")
    ]
    again.masks_file("a").write_bytes(pack_record(record("a", loss=5.0)))  # a file of its own counts
    assert float(RunFolder(tmp_path).read("a").losses[0, 0]) == 5.0
    assert RunFolder(tmp_path).done() == {"a", "b"}
    assert next(ResultIndex(RunFolder(tmp_path)).read().curves())[3][0] == 5.0
    assert len(list(again.images.faults())) == 2


def tar_in(folder: RunFolder, sample_id: str) -> Path:
    """Returns the tar in which an image is."""
    return folder.images.existing(sample_id).file


def test_members_that_come_later_are_found_by_who_has_looked_before(tmp_path: Path) -> None:
    worker, reader = RunFolder(tmp_path, ShardStore()), RunFolder(tmp_path)
    worker.commit(record("a"))
    assert reader.done() == {"a"}
    worker.commit(record("b"))
    assert same(reader.read("b"), record("b"))
    tar_of(reader).unlink()
    assert reader.images.find("a") is None
    assert reader.done() == set()
    worker.commit(record("c"))  # into a new tar
    assert reader.done() == {"c"}


@pytest.mark.parametrize("stores", [("shard", "shard"), ("image", "image"), ("shard", "image"), ("image", "shard")])
def test_of_two_workers_that_store_an_image_the_first_one_does(tmp_path: Path, stores: tuple[str, str]) -> None:
    first, second = (RunFolder(tmp_path, STORES[store]()) for store in stores)
    assert first.commit(record("x"))
    assert second.commit(record("y"))
    assert second.done() == {"x", "y"}
    assert not second.has("dogs/a")
    assert first.commit(record("dogs/a", loss=1.0))
    assert not second.commit(record("dogs/a", loss=3.0))
    second.look_anew("dogs/a")
    assert second.has("dogs/a")
    assert second.stored({"dogs/a", "x", "none"}) == {"dogs/a", "x"}
    assert [float(one.read("dogs/a").losses[0, 0]) for one in (first, second, RunFolder(tmp_path))] == [1.0] * 3
    assert second.commit(record("b"))
    assert RunFolder(tmp_path).done() == {"x", "y", "dogs/a", "b"}
    assert list(second.images.faults()) == []


def test_a_worker_looks_at_what_was_added_to_tars_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, reader = RunFolder(tmp_path, ShardStore()), RunFolder(tmp_path)
    for number in range(20):
        worker.commit(record(f"image {number}"))
    assert not reader.has("late")
    worker.commit(record("late"))
    headers: list[int] = []
    read = tar_members._block
    monkeypatch.setattr(tar_members, "_block", lambda stream, at: headers.append(at) or read(stream, at))
    assert reader.has("late")
    assert headers[1] == reader.images.existing("late").start - 512  # the first is the last one that was known
    assert len(headers) == 4
    headers.clear()
    assert reader.done() == {*(f"image {number}" for number in range(20)), "late"}
    assert len(headers) == 3


def test_processes_that_store_the_same_images_at_once_store_each_once(tmp_path: Path) -> None:
    names = [f"image {number}" for number in range(12)]
    folder = stored(tmp_path, ShardStore())
    readers = []
    for _ in range(3):
        ours, theirs = os.pipe()
        if os.fork() == 0:
            won = [name for name in names if folder.commit(record(name))]
            os.write(theirs, "\n".join(won).encode())
            os._exit(0)
        os.close(theirs)
        readers.append(os.fdopen(ours))
    won = [name for stream in readers for name in stream.read().splitlines()]
    for stream in readers:
        stream.close()
        os.wait()
    assert sorted(won) == sorted(names)
    assert list(RunFolder(tmp_path).images.faults()) == []
    assert RunFolder(tmp_path).done() == set(names)


def test_a_store_that_is_none_is_refused_before_any_work() -> None:
    for option, words in {
        "store.masks=float8": "store.masks=float8",
        "store.megabyte=3": "store.megabyte=3",
        "store.megabytes=0": r"store\.megabytes=0 is out of range; it must be a whole number, at least 1",
        "store._target_=inr_xai.data.Synthetic ~store.masks ~store.megabytes": "is no Store; give a subclass of",
    }.items():
        with pytest.raises(UserError, match=words):
            check(configured_fast("store=shard", *option.split()))
    check(configured_fast("store=shard", "store.masks=float16", "store.megabytes=10"))
