"""Joining run folders: what may be joined, what is refused by which key, and what becomes of each file."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from inr_xai.errors import UserError
from inr_xai.runs.failures import FailureNotes
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.merge import join_runs, require_joinable
from inr_xai.runs.store import ShardStore, Store
from inr_xai.runs.tables import write_run_tables
from tests.helpers.runs import FACTS, messages
from tests.runs.test_folder import record
from tests.runs.test_index import commit, content, opened  # noqa: F401
from tests.runs.test_lock import ELSEWHERE, leave


def make(
    path: Path,
    *names: str,
    shard: tuple[int, int] = (0, 1),
    indexed: bool = True,
    store: Store | None = None,
    **facts: Any,
) -> RunFolder:
    """Makes a run of some images, each with a figure."""
    folder = RunFolder(path, store)
    folder.write_run(FACTS | facts)
    commit(folder, ResultIndex(folder, shard) if indexed else None, *(record(name) for name in names))
    for name in names:
        figure = folder.figure_file(name)
        figure.parent.mkdir(parents=True, exist_ok=True)
        figure.write_text(f"{path.name}: {name}")
    return folder


def join(folder: Path, *runs: RunFolder) -> tuple[RunFolder, dict[str, str]]:
    """Joins runs to one in a folder, and returns it with its failures."""
    folder.mkdir()
    into = RunFolder(folder)
    return into, join_runs(runs, into, folder)[1]


def test_images_figures_and_index_are_those_of_all(tmp_path: Path, opened: list[str]) -> None:  # noqa: F811
    names = ["a", "b/c", "x" * 300, "d"]
    runs = [
        make(tmp_path / "first", *names[:2], shard=(1, 2), planned=4, sessions=2, device="cpu"),
        make(tmp_path / "second", names[2], names[3], shard=(0, 2), planned=5, sittings=3, device="cuda:0"),
    ]
    require_joinable(runs)
    into, failures = join(tmp_path / "out", *runs)
    assert (into.done(), failures) == (set(names), {})
    assert all(torch.equal(into.read(name).masks, record(name).masks) for name in names)
    assert into.figure_file("b/c").read_text() == "first: b/c"
    assert into.masks_file("a").stat().st_ino == runs[0].masks_file("a").stat().st_ino
    opened.clear()
    whole = make(tmp_path / "whole", *names)
    assert content(ResultIndex(into).read()) == content(ResultIndex(whole).read())
    assert opened == []
    facts = into.read_run()
    assert (facts["planned"], facts["sessions"], facts["device"], facts["split"]) == (5, 5, "cpu, cuda:0", "hash")
    assert (facts["config"]["shard"], facts["config"]["out"]) == (
        {"index": 0, "count": 1, "steal": False},
        str(into.path),
    )
    assert facts["merged"] == [str(run.path) for run in runs]
    assert len(facts["wandb_id"]) == 8
    assert "sittings" not in facts


def test_images_of_tars_get_files_of_their_own_and_the_run_is_that_of_all(
    tmp_path: Path,
    opened: list[str],  # noqa: F811
) -> None:
    names = ["a", "b/c", "x" * 300, "d", "f" * 120 + "/" + "n" * 90, "e"]
    runs = [
        make(tmp_path / "first", *names[:2], shard=(1, 2), store=ShardStore()),
        make(tmp_path / "second", *names[2:5], shard=(0, 2), store=ShardStore()),
        make(tmp_path / "third", names[5], "a"),
    ]
    whole = make(tmp_path / "whole", *names, store=ShardStore())
    into, _ = join(tmp_path / "out", *runs[:2], runs[2])
    opened.clear()
    joined = RunFolder(into.path)
    assert joined.done() == set(names)
    assert not list((into.path / "masks").glob("*.tar"))
    assert content(ResultIndex(joined).read()) == content(ResultIndex(whole).read())
    for folder in (joined, whole):
        write_run_tables(folder.path, ResultIndex(folder).read())
    for table in ("per_image.csv", "curves.csv"):
        assert (joined.path / table).read_bytes() == (whole.path / table).read_bytes()
    assert opened == []
    assert all(torch.equal(joined.read(name).masks, record(name).masks) for name in names)
    place = runs[0].images.existing("a")
    assert joined.images.existing("a")[1:] == (0, place.size, "", place.mtime)
    again = RunFolder(into.path, ShardStore())  # it is continued in tars
    assert not again.commit(record("a", loss=7.0))
    commit(again, ResultIndex(again), record("late"))
    assert len(ResultIndex(RunFolder(into.path)).known()[0]) == len(names) + 1


@pytest.mark.parametrize("copied", [True, False])
def test_files_that_no_line_knows_are_read_and_get_one(
    tmp_path: Path,
    opened: list[str],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    copied: bool,
) -> None:
    if copied:
        monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(OSError("no links")))
    runs = [make(tmp_path / "first", "a", "b"), make(tmp_path / "second", "c", indexed=False)]
    for name in "ab":
        os.utime(runs[0].masks_file(name), ns=(1, 123456789))
    index = ResultIndex(runs[0])
    index.file.unlink()
    index.add(record("a"))
    into, _ = join(tmp_path / "out", *runs)
    assert sorted(opened) == ["b", "c"]
    assert set(ResultIndex(into).known()[0]) == {"a", "b", "c"}
    assert (into.masks_file("a").stat().st_ino != runs[0].masks_file("a").stat().st_ino) == copied


@pytest.mark.parametrize("differ", [True, False])
def test_an_image_of_several_runs_counts_as_the_first_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, differ: bool
) -> None:
    first, second = make(tmp_path / "first", "a", "b"), make(tmp_path / "second", "b", "c")
    if differ:
        other = record("b")
        other.masks = 1 - other.masks
        second.masks_file("b").unlink()
        commit(second, ResultIndex(second), other)
    into, _ = join(tmp_path / "out", first, second)
    assert torch.equal(into.read("b").masks, first.read("b").masks)
    assert into.figure_file("b").read_text() == "first: b"
    assert len(ResultIndex(into).file.read_bytes().splitlines()) == 3
    words = "the masks of 1 differ, such as those of b" if differ else "their masks are equal"
    assert messages(caplog.records) == [f"1 images are in several runs, of which the first counts; {words}"]


def test_an_image_that_any_run_has_has_not_failed(tmp_path: Path) -> None:
    first, second, old = (make(tmp_path / name, name) for name in ("a", "b", "c"))
    for run, names in ((first, ("b", "x")), (second, ("x", "y"))):
        notes = FailureNotes(run, (0, 2))
        for name in names:
            notes.add(name, f"{name} failed in {run.path.name}")
    (old.path / "failures.csv").write_text("image_id,reason\nx,old\nz,old\n")
    into, failures = join(tmp_path / "out", second, first, old)
    assert failures == {"x": "x failed in b", "y": "y failed in b", "z": "old"}
    assert into.read_failures() == failures
    assert FailureNotes(into).read(()) == failures


def test_a_damaged_masks_file_is_named_where_it_is(tmp_path: Path) -> None:
    first, second = make(tmp_path / "first", "a"), make(tmp_path / "second", "b", indexed=False)
    second.masks_file("b").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"second/masks/b\.safetensors is damaged"):
        join(tmp_path / "out", first, second)


def nested(**config: Any) -> dict[str, Any]:
    return {"config": FACTS["config"] | config}


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (nested(seed=1, steps=3), r"configurations differ in seed \(was absent, now 1\), steps \(was absent, now 3\)"),
        ({"draws": 2}, "random draws are of versions 1 and 2"),
        ({"scoring_pool": ["a"]}, r"had other photos \(scoring_pool in run.json\)"),
        ({"donor_pool": ["a"]}, r"had other photos \(donor_pool"),
        ({"environment": {"classifier.name": "1"}}, "classifier.name had other values of the environment"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(tmp_path: Path, facts: dict[str, Any], reason: str) -> None:
    environment = {"environment": {"classifier.name": "0", "data.root": "0"}}
    runs = [make(tmp_path / "first", **environment), make(tmp_path / "second", **(environment | facts))]
    with pytest.raises(UserError, match=rf"second cannot be joined with .*first: .*{reason}"):
        require_joinable(runs)


def test_what_may_differ_is_no_obstacle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = nested(out="x", shard={"index": 1, "count": 4}, threads=8) | {"environment": {"data.root": "1"}}
    more = {"threads": 2, "versions": {"torch": "2"}}
    require_joinable(
        [make(tmp_path / "first", environment={"data.root": "0"}), make(tmp_path / "second", **facts, **more)]
    )
    (warning,) = messages(caplog.records)
    assert warning.startswith("single bits of ")
    assert "versions.torch (was absent, now '2'), threads (was None, now 2)" in warning


def test_a_run_that_is_worked_on_or_named_twice_is_refused(tmp_path: Path) -> None:
    first, second = make(tmp_path / "first"), make(tmp_path / "second")
    with pytest.raises(UserError, match=r"first is named twice"):
        require_joinable([first, second, RunFolder(tmp_path / "second" / ".." / "first")])
    leave(second.path, name="shard-1-of-2", **ELSEWHERE)
    with pytest.raises(UserError, match=r"process 4321 of node7 works on shard 1 of 2 of .*second; wait"):
        require_joinable([first, second])
    leave(second.path, name="shard-1-of-2", age=100, **ELSEWHERE)
    require_joinable([first, second])
