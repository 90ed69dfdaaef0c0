"""Pools of baselines: which ids are in them."""

from itertools import pairwise

from inr_xai.data.pools import is_synthetic, split_pools


def test_pools_are_evenly_spaced_disjoint_and_independent_of_order() -> None:
    ids = [f"{number:04}" for number in range(1000)]
    scoring, donors = split_pools(list(reversed(ids)), size=64)
    assert (len(scoring), len(donors)) == (64, 64)
    assert not set(scoring) & set(donors)
    gaps = [int(b) - int(a) for a, b in pairwise(scoring)]
    assert set(gaps) <= {15, 16}
    assert split_pools(ids, size=64) == (scoring, donors)
    small = split_pools(ids[:9])
    assert [pool[:-4] for pool in small] == [["0000", "0002", "0004", "0006", "0008"], ["0001", "0003", "0005", "0007"]]
    assert all(is_synthetic(name) for pool in small for name in pool[-4:])
