"""Shapley values against a loop over all orders of the players, and identities."""

import itertools

import pytest
import torch

from inr_xai.metrics import coalitions, shapley_values


@pytest.mark.parametrize("players", [1, 2, 4, 5])
def test_against_all_orders(players: int) -> None:
    """Four players, such as three regions and the rest of an image, have 24 orders."""
    values = torch.rand(3, 2**players, dtype=torch.float64, generator=torch.Generator().manual_seed(players))
    expected = torch.zeros(3, players, dtype=torch.float64)
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        number = 0  # of the coalition that has come so far
        for player in order:
            before, number = number, number | 1 << player
            expected[:, player] += values[:, number] - values[:, before]
    torch.testing.assert_close(shapley_values(values), expected / len(orders), rtol=0, atol=1e-14)


def test_values_sum_to_what_all_players_make() -> None:
    values = torch.randn(2, 5, 64, dtype=torch.float64)
    result = shapley_values(values)
    assert result.shape == (2, 5, 6)
    torch.testing.assert_close(result.sum(-1), values[..., -1] - values[..., 0])


def test_a_player_who_adds_nothing_gets_nothing_and_equals_get_the_same() -> None:
    members = coalitions(3)
    both = (members[:, 0] & members[:, 2]).double()
    assert shapley_values(both).tolist() == pytest.approx([0.5, 0.0, 0.5])
    either = (members[:, 0] | members[:, 2]).double()
    assert shapley_values(either).tolist() == pytest.approx([0.5, 0.0, 0.5])


def test_coalitions_are_numbered_by_their_bits() -> None:
    members = coalitions(4)
    assert members.shape == (16, 4)
    assert [sum(1 << i for i, is_member in enumerate(row) if is_member) for row in members.tolist()] == list(range(16))


def test_nan_stays_with_its_game() -> None:
    values = torch.zeros(2, 4)
    values[1, 2] = torch.nan
    result = shapley_values(values)
    assert result[0].tolist() == [0, 0]
    assert result[1].isnan().all()


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
