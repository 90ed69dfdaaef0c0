"""What a worker takes: its own images first, then those of others that nobody has begun; no image twice."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

from inr_xai.runs import work as work_module
from inr_xai.runs.claims import CLAIMS, read_claims
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.lock import MARK, ShardLock, read_mark
from inr_xai.runs.shards import HASH, STRIDE, shard_of, split_ids
from inr_xai.runs.store import ShardStore
from inr_xai.runs.work import Work
from tests.helpers.runs import FACTS
from tests.runs.test_claims import worker
from tests.runs.test_folder import record
from tests.runs.test_lock import ELSEWHERE, leave

IDS = [f"image {number:02d}" for number in range(24)]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    run.write_run(FACTS)
    return run


def store(folder: RunFolder, sample_ids: Sequence[str]) -> None:
    """Makes files that stand for the masks of images."""
    for sample_id in sample_ids:
        file = folder.masks_file(sample_id)
        file.parent.mkdir(exist_ok=True)
        file.touch()


def flat(batches: Iterable[Sequence[str]]) -> list[str]:
    """Returns the images of all batches."""
    return list(chain.from_iterable(batches))


def shard(stack: ExitStack, folder: RunFolder, index: int, count: int = 3, **options: object) -> Work:
    """Returns the work of a shard of this process."""
    lock = stack.enter_context(ShardLock(folder.path, index, count))
    return Work(folder, IDS, (index, count), lock=lock, **{"steals": True, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("split", [HASH, STRIDE])
def test_the_shards_are_a_partition(count: int, split: str) -> None:
    parts = split_ids(IDS, count, split)
    assert sorted(flat(parts)) == IDS
    assert [sorted(part) for part in parts] == parts
    if split == HASH:
        assert all(shard_of(sample_id, count) == index for index, part in enumerate(parts) for sample_id in part)
        fewer = split_ids(IDS[::2], count)  # images that are added move no other one
        assert all(set(some) <= set(part) for some, part in zip(fewer, parts, strict=True))


@pytest.mark.parametrize(("images", "count"), [(1_000, 2), (1_000, 3), (4_000, 8), (50_000, 64)])
def test_the_shards_are_even(images: int, count: int) -> None:
    sizes = [len(part) for part in split_ids([f"val/ILSVRC2012_val_{number:08d}" for number in range(images)], count)]
    assert max(sizes) <= 1.15 * images / count


def test_a_worker_that_is_alone_makes_no_claims(folder: RunFolder) -> None:
    with ShardLock(folder.path, 0, 1) as lock:
        work = Work(folder, IDS, (0, 1), lock=lock, size=10)
        assert [len(batch) for batch in work.batches()] == [10, 10, 4]
    assert not (folder.path / CLAIMS).exists()


def test_own_images_come_first_and_then_those_of_the_others_from_their_ends(folder: RunFolder) -> None:
    parts = split_ids(IDS, 3)
    with ExitStack() as stack:
        work = shard(stack, folder, 1, size=2)
        assert work.own == parts[1]
        taken = []
        for batch in work.batches():
            store(folder, batch)
            taken.append(batch)
    own = -(-len(parts[1]) // 2)
    assert flat(taken[:own]) == parts[1]
    longest = max((parts[0], parts[2]), key=len)
    assert taken[own] == longest[-2:]
    assert sorted(flat(taken)) == IDS


def test_workers_that_take_turns_in_any_order_explain_each_image_once(folder: RunFolder) -> None:
    taken: list[str] = []
    with ExitStack() as stack:
        waiting = [shard(stack, folder, index, size=2).batches() for index in (2, 0)]
        in_hand: dict[int, list[str]] = {}
        turn = 0
        while waiting:
            turn += 1
            own = waiting[turn % 5 % len(waiting)]
            store(folder, in_hand.pop(id(own), []))  # only now: the other worker may have looked meanwhile
            batch = next(own, None)
            if batch is None:
                waiting.remove(own)
                continue
            taken += batch
            in_hand[id(own)] = batch
    assert sorted(taken) == IDS  # those of shard 1 too, which has never begun


def test_without_stealing_the_images_of_others_stay(folder: RunFolder) -> None:
    with ExitStack() as stack:
        work = shard(stack, folder, 1, steals=False)
        assert flat(work.batches()) == work.own


def test_images_in_the_hands_of_others_that_have_failed_or_are_done_are_left_alone(folder: RunFolder) -> None:
    own, other = split_ids(IDS, 3)[1], split_ids(IDS, 3)[0]
    living = worker(folder.path, 0, 3)
    assert living.take(own[0]) == 0
    assert living.take(other[-1]) == 0
    store(folder, [own[1], other[-2]])
    with ExitStack() as stack:
        taken: list[str] = []
        for batch in shard(stack, folder, 1, failed=lambda: {other[-3], own[2]}).batches():
            store(folder, batch)
            taken += batch
    # An image of its own that another worker has tried in vain is tried again.
    assert sorted(taken) == sorted(set(IDS) - {own[0], own[1], other[-1], other[-2], other[-3]})


def test_a_worker_tries_each_image_once_and_none_of_others_while_the_data_are_out_of_reach(folder: RunFolder) -> None:
    with ExitStack() as stack:
        work = shard(stack, folder, 1)
        taken: list[str] = []
        for batch in work.batches():  # which all fail
            taken += batch
            work.in_reach = len(taken) < len(work.own) + 2
    assert taken[: len(work.own)] == work.own
    assert len(taken) == len(work.own) + 2


@pytest.mark.parametrize("in_tars", [True, False])
def test_what_is_stored_between_look_and_claim_is_not_taken(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, in_tars: bool
) -> None:
    if in_tars:
        other = RunFolder(folder.path, ShardStore())
        assert all(other.commit(record(name)) for name in IDS[:5])
    else:
        store(folder, IDS[:5])
    monkeypatch.setattr(RunFolder, "done", lambda self: set())  # a look from before
    with ExitStack() as stack:
        batches = shard(stack, folder, 1).batches()
        taken = flat(next(batches) for _ in range(len(split_ids(IDS, 3)[1]) - 5))
    assert not set(taken) & set(IDS[:5])


def test_what_a_dead_worker_had_in_hand_is_taken_as_soon_as_that_is_certain(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = split_ids(IDS, 3)[1]
    silent = worker(folder.path, 0, 3, age=40.0)
    assert silent.take(own[0]) == 0
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            leave(folder.path, age=61.0, name="shard-0-of-3", **{**ELSEWHERE, "token": mark_token(folder.path)})

    monkeypatch.setattr(work_module.time, "sleep", wait)
    with ExitStack() as stack:
        taken: list[str] = []
        for batch in shard(stack, folder, 1, steals=False).batches():
            store(folder, batch)
            taken += batch
    assert sorted(taken) == own
    assert taken[-1] == own[0]
    assert len(waits) == 3


def mark_token(run: Path) -> str:
    """Returns the token of the mark of shard 0 of 3."""
    holder, _ = read_mark(run / f"{MARK}shard-0-of-3")
    assert holder is not None
    return holder.token


def test_claims_are_tidied_at_the_end(folder: RunFolder) -> None:
    with ExitStack() as stack:
        work = shard(stack, folder, 1)
        for batch in work.batches():
            store(folder, batch)
        assert len(list(read_claims(folder.path))) == len(IDS)  # others may not see the stored files yet
        work.tidy()
    assert not (folder.path / CLAIMS).exists()
