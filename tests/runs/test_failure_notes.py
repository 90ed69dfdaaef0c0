"""Failures of a run: every shard's are in failures.csv, with the last reason, until the image is explained."""

from pathlib import Path

import pytest

from inr_xai.errors import UserError
from inr_xai.runs.failures import FailureNotes
from inr_xai.runs.folder import RunFolder
from tests.helpers.runs import table


def listed(folder: Path) -> list[tuple[str, str]]:
    """Returns the lines of failures.csv."""
    return [(row["image_id"], row["reason"]) for row in table(folder, "failures.csv")]


def test_two_shards_keep_the_failures_of_each_other(tmp_path: Path) -> None:
    shards = [FailureNotes(RunFolder(tmp_path), (number, 2)) for number in range(2)]
    plans = [["a", "c"], ["b", "d"]]
    for shard, plan in zip(shards, plans, strict=True):
        shard.begin(plan, set())
    for name, shard in zip("dcba", (shards[1], shards[0]) * 2, strict=True):
        shard.add(name, f"no {name}")
    assert sorted(listed(tmp_path)) == [(name, f"no {name}") for name in "abcd"]
    assert shards[0].conclude({"z"}) == {name: f"no {name}" for name in "abcd"}
    assert listed(tmp_path) == [(name, f"no {name}") for name in "abcd"]
    shards[1].begin(plans[1], {"b"})  # it tries d again, and finds that b is done
    assert listed(tmp_path) == [("a", "no a"), ("c", "no c")]
    shards[1].add("d", "still no d")
    assert shards[1].conclude({"b"}) == {"a": "no a", "c": "no c", "d": "still no d"}
    assert shards[0].conclude({"a", "b", "c", "d"}) == {}
    assert (tmp_path / "failures.csv").read_text() == "image_id,reason\n"


def test_what_a_killed_session_noted_is_not_lost(tmp_path: Path) -> None:
    first = FailureNotes(RunFolder(tmp_path))
    first.begin(["a", "b"], set())
    first.add("a", "broken")
    for file in (tmp_path / "index").iterdir():
        file.write_bytes(file.read_bytes() + b'{"id": "b", "rea')
    second = FailureNotes(RunFolder(tmp_path), (1, 2))
    second.begin(["c"], set())
    assert listed(tmp_path) == [("a", "broken")]
    first.add("b", "torn")
    assert second.conclude(set()) == {"a": "broken", "b": "torn"}


def test_notes_do_not_pile_up(tmp_path: Path) -> None:
    notes = FailureNotes(RunFolder(tmp_path))
    for session in range(3):
        notes.begin(["a", "b"], set())
        notes.add("a", f"reason {session}")
        notes.add("b", "other")
        assert notes.conclude(set()) == {"a": f"reason {session}", "b": "other"}
    assert (tmp_path / "index" / "0-of-1.failures").read_text().count("\n") == 2


def test_failures_of_an_earlier_version_stay_until_they_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "failures.csv").write_text("image_id,reason\na,old\nb,old\nc,old\n")
    notes = FailureNotes(RunFolder(tmp_path))
    notes.begin(["b"], {"c"})
    assert listed(tmp_path) == [("a", "old")]
    notes.add("b", "new")
    assert notes.conclude({"c"}) == {"a": "old", "b": "new"}


def test_a_damaged_file_of_an_earlier_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "failures.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"failures\.csv is damaged"):
        FailureNotes(RunFolder(tmp_path)).begin([], set())


def test_any_id_and_reason_can_be_noted(tmp_path: Path) -> None:
    notes, odd = FailureNotes(RunFolder(tmp_path)), ['a,"b"\r\n', "\udcff", "x" * 5000]
    notes.begin(odd, set())
    for name in odd:
        notes.add(name, f"reason of {name}")
    assert notes.conclude(set()) == {name: f"reason of {name}" for name in odd}
    assert {name for name, _ in listed(tmp_path)} == {odd[0], "\\udcff", odd[2]}
