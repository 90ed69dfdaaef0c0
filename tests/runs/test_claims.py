"""Claims of images: of many workers one gets an image, the dead lose theirs, and nothing is left behind."""

import os
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from inr_xai.runs import claims as claims_module
from inr_xai.runs.claims import CLAIMS, DOUBTFUL, KEPT, Claims, doubtful, read_claims
from inr_xai.runs.lock import DEAD_AFTER, MARK, Holder, ShardLock
from tests.runs.test_lock import ELSEWHERE, ended, leave


def worker(run: Path, index: int = 0, count: int = 4, *, age: float = 0.0, **changes: object) -> Claims:
    """Returns the claims of another worker, whose last sign of life is `age` seconds old."""
    name = f"shard-{index}-of-{count}"
    return Claims(run, f"{MARK}{name}", leave(run, age=age, name=name, **{**ELSEWHERE, **changes}))


def files(run: Path) -> list[str]:
    """Returns the numbers of all claims."""
    return sorted(file.suffix for file in (run / CLAIMS).glob("*"))


def test_an_image_has_one_worker_until_its_worker_ends(tmp_path: Path) -> None:
    with ShardLock(tmp_path, 0, 2) as lock, ShardLock(tmp_path, 1, 2) as other:
        mine, theirs = Claims(tmp_path, lock.mark, lock.holder), Claims(tmp_path, other.mark, other.holder)
        assert mine.take("a/b") == 0
        assert theirs.take("a/b") is None
        assert mine.take("a/b") is None
        assert theirs.take("c") == 0
        assert {claim.sample_id: claim.mark for claim in read_claims(tmp_path)} == {"a/b": lock.mark, "c": other.mark}
    with ShardLock(tmp_path, 0, 2) as lock:  # the same shard again, by another holder
        assert Claims(tmp_path, lock.mark, lock.holder).take("a/b") == 1
        assert [claim.number for claim in read_claims(tmp_path) if claim.sample_id == "a/b"] == [1]


@pytest.mark.parametrize(
    ("changes", "age", "taken"),
    [
        ({}, 0.0, False),
        ({}, DEAD_AFTER + 1, True),  # of another machine, and silent
        (asdict(Holder.here()), 0.0, True),  # of this machine and this process, which has no such mark
        ({**asdict(Holder.here()), **ended()}, 0.0, True),
        ({**asdict(Holder.here()), "pid": os.getppid(), "started": None}, 0.0, False),
        ({**asdict(Holder.here()), "pid": os.getppid(), "started": None}, DEAD_AFTER + 1, True),  # stopped
    ],
)
def test_the_claims_of_the_dead_are_broken(tmp_path: Path, changes: dict[str, object], age: float, taken: bool) -> None:
    assert worker(tmp_path, 1, age=age, **changes).take("a") == 0
    assert worker(tmp_path, 2).take("a") == (1 if taken else None)
    assert files(tmp_path) == ([".0", ".1"] if taken else [".0"])


def test_a_worker_whose_mark_another_one_has_taken_is_dead(tmp_path: Path) -> None:
    first = worker(tmp_path, 1)
    assert first.take("a") == 0
    leave(tmp_path, name="shard-1-of-4", **ELSEWHERE)
    assert worker(tmp_path, 2).take("a") == 1
    assert first.take("a") is None  # it wakes up and finds the claim of the other


def test_of_many_that_break_a_claim_one_wins(tmp_path: Path) -> None:
    assert worker(tmp_path, 0, age=DEAD_AFTER + 1).take("a") == 0
    others = [
        Claims(tmp_path, f"{MARK}shard-{index}-of-9", leave(tmp_path, name=f"shard-{index}-of-9", **ELSEWHERE))
        for index in range(1, 9)
    ]
    results: list[int | None] = []
    gate = threading.Barrier(len(others))

    def take(own: Claims) -> None:
        gate.wait(10)
        results.append(own.take("a"))

    threads = [threading.Thread(target=take, args=(own,)) for own in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (results.count(None), results.count(1)) == (7, 1)


@pytest.mark.parametrize(("content", "age", "taken"), [("", 0.0, False), ("{", 0.0, False), ("", DEAD_AFTER + 1, True)])
def test_a_claim_that_cannot_be_read_counts_by_its_age(tmp_path: Path, content: str, age: float, taken: bool) -> None:
    own = worker(tmp_path)
    assert own.take("a") == 0
    (file,) = (tmp_path / CLAIMS).iterdir()
    file.write_text(content)
    os.utime(file, (time.time() - age,) * 2)
    assert worker(tmp_path, 1).take("a") == (1 if taken else None)
    assert len(list(read_claims(tmp_path))) == taken


def test_released_claims_go_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: clock[0])
    own = worker(tmp_path)
    for name in ("a", "b"):
        assert own.take(name) == 0
        own.release([name])
        clock[0] += KEPT - 1
    assert files(tmp_path) == [".0", ".0"]
    own.release([])
    assert [claim.sample_id for claim in read_claims(tmp_path)] == ["b"]


def test_tidying_removes_all_claims(tmp_path: Path) -> None:
    own = worker(tmp_path)
    assert own.take("a") == 0
    (tmp_path / CLAIMS / f"{'0' * 32}.1").write_text("")  # of an image whose claim 0 is gone
    own.tidy()
    assert not (tmp_path / CLAIMS).exists()
    assert own.take("a") == 0


def test_a_claim_that_goes_while_it_is_read_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = worker(tmp_path, 1)
    assert first.take("a") == 0

    def gone(run: Path, file: Path) -> None:
        file.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(claims_module, "is_held", gone)
        assert worker(tmp_path, 2).take("a") == 0
    assert first.take("a") is None


def test_what_cannot_be_read_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker(tmp_path, 1).take("a") == 0
    other, read = worker(tmp_path, 2), Path.open
    for part in (CLAIMS, f"{MARK}shard-1"):  # the claim, and the mark of its worker

        def refused(self: Path, *args: Any, part: str = part, **options: Any) -> Any:
            if part in str(self) and "r" in (args or ("r",))[0]:
                raise PermissionError(13, "Permission denied")
            return read(self, *args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refused)
            assert other.take("a") is None
    (file,) = (tmp_path / CLAIMS).iterdir()
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_silent_worker_is_doubtful_and_a_dead_one_a_reason_to_look_again(tmp_path: Path) -> None:
    for age, expected in ((0.0, False), (DOUBTFUL + 1, True), (DEAD_AFTER + 1, True)):
        own = worker(tmp_path, int(age), age=age)
        assert own.take(f"image {age}") == 0
        assert doubtful(tmp_path, {f"image {age}"}) == expected
    assert not doubtful(tmp_path, {"another"})


def test_the_claims_of_a_run_without_any_are_none(tmp_path: Path) -> None:
    assert list(read_claims(tmp_path)) == []
    Claims(tmp_path, "mark", replace(Holder.here(), pid=1)).tidy()
