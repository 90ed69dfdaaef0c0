"""Which shard of a run an image belongs to."""

from collections.abc import Sequence

from inr_xai.seeding import sha256

HASH, STRIDE = "hash", "stride"
"""How images are split: by a hash of the id, and (runs of before 0.3) by the place in the sorted ids."""


def shard_of(sample_id: str, count: int) -> int:
    """Returns the shard of an image, by a hash of its id: images that are added later move no other one.

    >>> [shard_of(name, 3) for name in ("a", "b", "c", "d", "e")]
    [1, 1, 2, 2, 2]
    """
    return int(sha256(sample_id.encode(errors="surrogatepass")).hexdigest()[:16], 16) % count


def split_ids(ids: Sequence[str], count: int, split: str = HASH) -> list[list[str]]:
    """Returns the images of each of `count` shards, in their order.

    Args:
        split: HASH, or STRIDE for every `count`-th image.

    >>> split_ids(["a", "b", "c", "d"], 2), split_ids(["a", "b", "c", "d"], 2, "stride")
    ([['a', 'b', 'c'], ['d']], [['a', 'c'], ['b', 'd']])
    """
    if split == STRIDE or count == 1:  # all images are of the only shard, whatever their hashes are
        return [list(ids[index::count]) for index in range(count)]
    parts: list[list[str]] = [[] for _ in range(count)]
    for sample_id in ids:
        parts[shard_of(sample_id, count)].append(sample_id)
    return parts
