"""Shapley values of a game, from the values of all its coalitions.

Shapley, "A Value for n-Person Games", Contributions to the Theory of Games II, 1953; for the parts of a classifier's
input: Strumbelj, Kononenko, "An Efficient Explanation of Individual Classifications using Game Theory", JMLR 11, 2010.
"""

from math import factorial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MAX_PLAYERS = 16
"""The largest number of players n; there are 2^n coalitions."""


def coalitions(players: int) -> Bool[Tensor, "c {players}"]:
    """Returns all 2^n sets of players, nobody first and everybody last; player i is in row r if bit i of r is 1.

    Raises ValueError for no player, or more than MAX_PLAYERS.

    >>> coalitions(2).int().tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if not 1 <= players <= MAX_PLAYERS:
        raise ValueError(f"expected 1 to {MAX_PLAYERS} players, got {players}; every one more doubles the coalitions")
    return (torch.arange(2**players).unsqueeze(1) >> torch.arange(players) & 1).bool()


def shapley_values(values: Float[Tensor, "*games c"]) -> Float[Tensor, "*games n"]:
    """Returns what each player adds, the mean over all orders in which players may come, in the units of the values.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)). The n values sum to v(everybody) -
    v(nobody). A NaN among a game's values makes its result NaN.

    Args:
        values: v(S) of the coalitions in the order of `coalitions`.

    Raises:
        ValueError: the number of values is not that of the coalitions of 1 to MAX_PLAYERS players.

    >>> shapley_values(torch.tensor([0.0, 0.5, 0.5, 0.5])).tolist()  # either player alone would do
    [0.25, 0.25]
    """
    players = values.shape[-1].bit_length() - 1
    if players < 1 or values.shape[-1] != 2**players:
        raise ValueError(f"expected the values of 2, 4, 8, ... coalitions, got {values.shape[-1]}")
    members = coalitions(players)
    # The share of all orders in which exactly a given set of `size` others comes before a player.
    shares = [factorial(size) * factorial(players - size - 1) / factorial(players) for size in range(players)]
    with_player = torch.tensor([0.0, *shares], dtype=torch.float64)
    without_player = torch.tensor([*shares, 0.0], dtype=torch.float64)
    sizes = members.sum(1, keepdim=True)
    # v(S) is the v(S + i) of its members i and the v(S) of all others.
    weights = torch.where(members, with_player[sizes], -without_player[sizes])
    return values @ weights.to(values)
