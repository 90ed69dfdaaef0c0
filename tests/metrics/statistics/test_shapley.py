"""Shapley values against a loop over all orders of the players, and identities."""

import itertools

import pytest
import torch

from inr_xai.metrics import coalitions, shapley_values


@pytest.mark.parametrize("players", [1, 2, 4, 5])
def test_against_all_orders(players: int) -> None:
    """Four players are three regions and the rest of an image: 24 orders."""
    values = torch.rand(3, 2**players, dtype=torch.float64, generator=torch.Generator().manual_seed(players))
    expected = torch.zeros(3, players, dtype=torch.float64)
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        there: set[int] = set()
        for player in order:
            before, there = sum(1 << one for one in there), there | {player}
            expected[:, player] += values[:, sum(1 << one for one in there)] - values[:, before]
    torch.testing.assert_close(shapley_values(values), expected / len(orders), rtol=0, atol=1e-14)


def test_values_sum_to_what_all_players_make() -> None:
    values = torch.randn(2, 5, 64, dtype=torch.float64)
    found = shapley_values(values)
    assert found.shape == (2, 5, 6)
    torch.testing.assert_close(found.sum(-1), values[..., -1] - values[..., 0])


def test_a_player_who_adds_nothing_gets_nothing_and_equals_get_the_same() -> None:
    among = coalitions(3)
    both = (among[:, 0] & among[:, 2]).double()
    assert shapley_values(both).tolist() == pytest.approx([0.5, 0.0, 0.5])
    either = (among[:, 0] | among[:, 2]).double()
    assert shapley_values(either).tolist() == pytest.approx([0.5, 0.0, 0.5])


def test_coalitions_are_numbered_by_their_bits() -> None:
    among = coalitions(4)
    assert among.shape == (16, 4)
    assert [sum(1 << i for i, there in enumerate(row) if there) for row in among.tolist()] == list(range(16))


def test_nan_stays_with_its_game() -> None:
    values = torch.zeros(2, 4)
    values[1, 2] = torch.nan
    found = shapley_values(values)
    assert found[0].tolist() == [0, 0]
    assert found[1].isnan().all()


def test_precision_is_that_of_the_values() -> None:
    assert shapley_values(torch.rand(4)).dtype == torch.float32
    assert shapley_values(torch.rand(4).double()).dtype == torch.float64


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_wrong_numbers_of_values_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"got {count}"):
        shapley_values(torch.zeros(count))


@pytest.mark.parametrize("players", [0, 17])
def test_wrong_numbers_of_players_are_refused(players: int) -> None:
    with pytest.raises(ValueError, match=f"got {players}"):
        coalitions(players)
