"""Philox against the published vectors of Random123, and the draws against their definition and their statistics."""

import math

import pytest
import torch

from inr_xai.draws import Draws, Rows, philox, round_keys

SEEDS = [(0, "cat", 1), (0, "dog", 1), (7, "cat", 2)]


# Random123 (Salmon et al.), kat_vectors, philox4x32 10: counter, key, words.
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_words(counter: list[int], key: list[int], words: list[int]) -> None:
    found = philox(torch.tensor(counter).reshape(4, 1, 1), round_keys(torch.tensor(key).unsqueeze(1)))
    assert found.flatten().tolist() == words


def rows_of(steps: int, images: int, slots: int = 1) -> Rows:
    """All rows at every step."""
    return Rows.where(torch.ones(steps, images * slots, dtype=torch.bool), slots)


def test_each_counter_and_key_has_words_of_its_own() -> None:
    words = torch.stack([Draws(SEEDS).of(part).words("noise", rows_of(3, 3, 2), 18) for part in range(2)])
    assert words.shape == (2, 3 * 6, 18)
    assert len(words.unique()) == words.numel()
    assert 0 <= int(words.min()) < int(words.max()) < 2**32


def test_draws_depend_on_seed_purpose_step_and_row_alone() -> None:
    together, alone = Draws(SEEDS), Draws(SEEDS[1:2])
    rows, own = rows_of(4, 3, 2), rows_of(4, 1, 2)
    for draw in ("uniform", "normal"):
        numbers = getattr(together, draw)("a", rows, 6).reshape(4, 3, 2, 6)
        assert torch.equal(numbers[:, 1], getattr(alone, draw)("a", own, 6).reshape(4, 2, 6))
        assert not torch.equal(numbers[:, 0], numbers[:, 2])
        assert not torch.equal(numbers, getattr(together, draw)("b", rows, 6).reshape(4, 3, 2, 6))
    some = rows.between(1, 3)
    assert torch.equal(together.uniform("a", some, 6), together.uniform("a", rows, 6)[6:18])
    assert torch.equal(some.table, rows.table[1:3])
    assert [some.at(0), some.at(1)] == [slice(0, 6), slice(6, 12)]


def test_rows_are_those_of_the_table() -> None:
    chosen = torch.tensor([[True, False, True, False], [False] * 4, [False, True, False, False]])
    rows = Rows.where(chosen, slots=2)
    assert (rows.steps.tolist(), rows.rows.tolist()) == ([0, 0, 2], [0, 2, 1])
    assert [rows.at(step) for step in range(3)] == [slice(0, 2), slice(2, 2), slice(2, 3)]
    # A choice of rows changes no number.
    everything = Draws(SEEDS[:2]).uniform("a", rows_of(3, 2, 2), 3).reshape(3, 4, 3)
    assert torch.equal(Draws(SEEDS[:2]).uniform("a", rows, 3), everything[chosen])


def test_numbers_are_the_upper_bits_of_the_words() -> None:
    draws, rows = Draws(SEEDS), rows_of(2, 3)
    words = draws.words("a", rows, 6)
    assert torch.equal(draws.uniform("a", rows, 6), (words // 256 / 2**24).float())
    ends = [2, 3, 224, 1, 2**31, 1000]
    expected = [[word * end // 2**32 for word, end in zip(row, ends, strict=True)] for row in words.tolist()]
    assert draws.integers("a", rows, torch.tensor([ends])).tolist() == expected


def test_numbers_have_their_distribution() -> None:
    draws, rows = Draws(SEEDS, dtype=torch.float64), rows_of(50, 3)
    uniform, normal = draws.uniform("a", rows, 400).flatten(), draws.normal("a", rows, 401).flatten()
    assert uniform.dtype == torch.float64
    assert 0 <= float(uniform.min()) < float(uniform.max()) < 1
    count = uniform.numel() ** 0.5
    # Six standard errors of each moment.
    for power in (1, 2, 3):
        spread = (1 / (2 * power + 1) - 1 / (power + 1) ** 2) ** 0.5
        assert abs(float(uniform.pow(power).mean()) - 1 / (power + 1)) < 6 * spread / count
    assert abs(float(normal.mean())) < 6 / count
    assert abs(float(normal.square().mean()) - 1) < 6 * math.sqrt(2) / count
    assert abs(float(normal.pow(4).mean()) - 3) < 6 * math.sqrt(96) / count
    assert abs(float((normal.abs() < 1).double().mean()) - math.erf(0.5**0.5)) < 3 / count
