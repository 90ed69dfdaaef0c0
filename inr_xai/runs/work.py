"""The images that a worker takes, batch after batch: those of its own shard, then what other workers have not begun."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from inr_xai.runs.claims import Claims, doubtful
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.lock import WorkLock
from inr_xai.runs.shards import HASH, split_ids

LOOK = 30.0
"""Seconds after which a worker looks again what the others have done, while it takes their images."""
DOUBT = 2.0
"""Seconds between two looks whether a worker that has an image is dead."""
log = logging.getLogger(__name__)


class Work:
    """The batches of images that one worker explains.

    A worker that is alone takes all its images. One of several claims each batch first, and at its end takes images of
    the other shards, of the one with the most left and from its end, until all are done, failed, or in the hands of
    living workers. It tries each image once, and of other shards none that anybody has tried in vain.

    Args:
        ids: the images of all shards, in their order.
        shard: the number of this worker's shard, from 0, and how many there are.
        split: how the images are split, see `inr_xai.runs.shards`.
        size: the largest number of images in a batch.
        lock: what the worker holds in the folder; None if no other process can work there.
        steals: whether it takes images of other shards.
        failed: returns the images that any worker has tried in vain.

    Attributes:
        in_reach: whether the data could be read last; while they cannot, the images of others are left to them.
    """

    def __init__(
        self,
        folder: RunFolder,
        ids: Sequence[str],
        shard: tuple[int, int],
        *,
        split: str = HASH,
        size: int = 1,
        lock: WorkLock | None = None,
        steals: bool = False,
        failed: Callable[[], Collection[str]] = set,
    ):
        self._parts = split_ids(ids, shard[1], split)
        self._folder, self._index, self._size, self._failed = folder, shard[0], size, failed
        self._steals, self.in_reach = steals, True
        self._tried: set[str] = set()
        self._claims: Claims | None = None
        if lock is not None and shard[1] > 1:
            self._claims = Claims(folder.path, lock.mark, lock.holder)

    @property
    def own(self) -> list[str]:
        """The images of this worker's shard."""
        return self._parts[self._index]

    def batches(self) -> Iterator[list[str]]:
        """Yields batches to explain; what is taken next depends on what became of the last one."""
        done = self._folder.done()
        if self._claims is None:
            yield from batches(self.own, self._size, done)
            return
        for batch in batches(self.own, self._size, done):
            yield from self._claimed(batch, self._claims)
        yield from self._left(self._claims)

    def tidy(self) -> None:
        """Removes the claims, if no other worker is in the folder."""
        if self._claims is not None:
            self._claims.tidy()

    def _claimed(self, batch: Sequence[str], claims: Claims) -> Iterator[list[str]]:
        """Yields the images of a batch that this worker gets, if there are any, and then gives the claims back."""
        numbers = {sample_id: claims.take(sample_id) for sample_id in batch}
        taken = [sample_id for sample_id, number in numbers.items() if number is not None]
        for sample_id in taken:
            if numbers[sample_id]:  # its worker has ended, perhaps a moment after it has stored the image
                self._folder.look_anew(sample_id)
        stored = self._folder.stored(taken)  # some were, since the last look
        mine = [sample_id for sample_id in taken if sample_id not in stored]
        self._tried.update(mine)
        if mine:
            yield mine
        claims.release(taken)

    def _left(self, claims: Claims) -> Iterator[list[str]]:
        """Yields batches of what is left: of the own shard what others had claimed, and images of other shards."""
        told = False
        while True:
            done, failed = self._folder.done(), set(self._failed()) if self._steals else set()
            looked, taken = time.monotonic(), False
            left = [
                [sample_id for sample_id in part if sample_id not in done and self._may_take(sample_id, index, failed)]
                for index, part in enumerate(self._parts)
            ]
            waiting = {sample_id for part in left for sample_id in part}
            for batch in _from_the_ends(left, self._size):
                for mine in self._claimed(batch, claims):
                    if not told:
                        log.info("taking images that no other worker has begun")
                    taken = told = True
                    yield mine
                if taken and (not self.in_reach or time.monotonic() - looked > LOOK):
                    break
            if not taken:
                if not doubtful(self._folder.path, waiting):
                    return
                time.sleep(DOUBT)

    def _may_take(self, sample_id: str, index: int, failed: Collection[str]) -> bool:
        """Returns whether this worker takes an image of a shard."""
        if sample_id in self._tried:
            return False
        return index == self._index or (self._steals and self.in_reach and sample_id not in failed)


def batches(plan: Sequence[str], size: int, done: Collection[str]) -> Iterator[list[str]]:
    """Yields batches of the plan, without the ids that are done. A continued run has the batches of an unbroken one."""
    for start in range(0, len(plan), size):
        batch = [sample_id for sample_id in plan[start : start + size] if sample_id not in done]
        if batch:
            yield batch


def _from_the_ends(parts: Sequence[list[str]], size: int) -> Iterator[list[str]]:
    """Yields batches from the ends of lists, of the longest one each time.

    >>> list(_from_the_ends([["a"], ["b", "c", "d"]], 2))
    [['c', 'd'], ['a'], ['b']]
    """
    rest = [list(part) for part in parts]
    while any(rest):
        longest = max(rest, key=len)
        yield longest[-size:]
        del longest[-size:]
