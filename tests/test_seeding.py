"""Random generators: each is determined by the seed and its parts alone, and no draw depends on the batch."""

from collections.abc import Callable

import pytest
import torch

from inr_xai.seeding import generator, sha256, stacked_normal, stacked_uniform

PARTS = [(0, "cat"), (0, "cat", 1), (0, "cat", 2), (1, "cat", 1), (0, "dog", 1), (0, "cat1"), (0, "cat", 1, "ties")]


def test_equal_parts_give_equal_generators() -> None:
    first, second = (torch.rand(8, generator=generator(3, "cat", 1)) for _ in range(2))
    assert torch.equal(first, second)


def test_another_seed_or_part_gives_other_draws() -> None:
    draws = {tuple(torch.rand(8, generator=generator(seed, *parts)).tolist()) for seed, *parts in PARTS}
    assert len(draws) == len(PARTS)


def test_the_derivation_never_changes() -> None:
    """Stored runs are drawn again from these seeds, so other values would make them other masks."""
    assert generator(0, "cat", 1).initial_seed() == 8565346199942928225
    assert generator(7, "00000-disc", 2, "weights").initial_seed() == 8063180523556273894
    assert torch.rand(2, generator=generator(0, "cat", 1)).tolist() == [0.5844671130180359, 0.22681164741516113]


def test_the_hash_is_that_of_all_parts_joined() -> None:
    assert sha256(b"a", b"bc").hexdigest() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("stacked", [stacked_normal, stacked_uniform])
def test_an_image_has_the_same_draws_alone_and_in_a_batch(stacked: Callable[..., torch.Tensor]) -> None:
    def drawn(*names: str) -> torch.Tensor:
        return stacked([generator(0, name) for name in names], (5, 4), 0.5)

    together = drawn("a", "b", "c")
    assert together.shape == (3, 5, 4)
    for place, name in enumerate("abc"):
        assert torch.equal(together[place], drawn(name)[0])
    assert torch.equal(drawn("c", "a"), together[[2, 0]])


def test_draws_have_the_bound_and_the_deviation_that_are_given() -> None:
    uniform = stacked_uniform([generator(0, "a")], (10_000,), 0.25)
    assert uniform.abs().max() <= 0.25
    assert uniform.min() < -0.24
    assert uniform.max() > 0.24
    normal = stacked_normal([generator(0, "a")], (10_000,), 0.25)
    assert float(normal.std()) == pytest.approx(0.25, rel=0.05)
    assert float(normal.mean()) == pytest.approx(0, abs=0.02)
