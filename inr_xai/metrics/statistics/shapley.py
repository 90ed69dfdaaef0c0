"""Shapley values of a game whose every coalition has been played.

Shapley, "A Value for n-Person Games", Contributions to the Theory of Games II, 1953; of the parts of a classifier's
input: Strumbelj, Kononenko, "An Efficient Explanation of Individual Classifications using Game Theory", JMLR 11, 2010.
"""

from math import factorial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MOST = 16
"""Players; there are 2^n coalitions."""


def coalitions(players: int) -> Bool[Tensor, "c {players}"]:
    """All 2^n sets of players, nobody first and everybody last; bit i of the row's number says whether i is in it.

    Raises ValueError for no player, or more than MOST.

    >>> coalitions(2).int().tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if not 1 <= players <= MOST:
        raise ValueError(f"expected 1 to {MOST} players, got {players}; every one more doubles the coalitions")
    return (torch.arange(2**players).unsqueeze(1) >> torch.arange(players) & 1).bool()


def shapley_values(values: Float[Tensor, "*games c"]) -> Float[Tensor, "*games n"]:
    """What each player adds, as a mean over all orders in which the players may come; in the units of the values.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)). The n values sum to v(everybody) -
    v(nobody). A NaN among a game's values makes its result NaN.

    Args:
        values: v(S) of the coalitions in the order of `coalitions`.

    Raises:
        ValueError: where the number of values is not that of the coalitions of 1 to MOST players.

    >>> shapley_values(torch.tensor([0.0, 0.5, 0.5, 0.5])).tolist()  # either player alone would do
    [0.25, 0.25]
    """
    players = values.shape[-1].bit_length() - 1
    if players < 1 or values.shape[-1] != 2**players:
        raise ValueError(f"expected the values of 2, 4, 8, ... coalitions, got {values.shape[-1]}")
    among = coalitions(players)
    # How often a player finds a given set of `size` others there before it: in so large a part of all orders.
    found = [factorial(size) * factorial(players - size - 1) / factorial(players) for size in range(players)]
    joined, left_out = (
        torch.tensor([0.0, *found], dtype=torch.float64),
        torch.tensor([*found, 0.0], dtype=torch.float64),
    )
    sizes = among.sum(1, keepdim=True)
    # A coalition counts for its members as what they made of it, and against all others as what they would start from.
    weights = torch.where(among, joined[sizes], -left_out[sizes])
    return values @ weights.to(values)
