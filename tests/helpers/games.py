"""Games of regions made by hand, and options of cheap runs, for the tests of the audit."""

from collections.abc import Callable, Sequence

import torch

from inr_xai.audit.coalition_game import CoalitionGame
from inr_xai.audit.estimates import AuditedImage, Estimates

REST = 0
"""The rest of the image among the players; regions count from 1."""
CHEAP = [
    "callbacks.curves=null",
    "callbacks.progress=null",
    "images_per_fit=4",
    "perturbation=mixture_even",
    "perturbation.parts=[{_target_:inr_xai.perturbation.Constant,colour:mean}]",  # reads no photos
]
ValueFunction = Callable[[set[int]], float]
"""Gives the value of a set of players."""


def make_game(regions: int, *functions: ValueFunction) -> CoalitionGame:
    """Returns a game with a row for each value function."""
    players = [*range(1, regions + 1), REST]
    sets = [{player for i, player in enumerate(players) if number >> i & 1} for number in range(1 << len(players))]
    values = [[function(members) for members in sets] for function in functions]
    return CoalitionGame(torch.tensor(values, dtype=torch.float64), regions)


def two_regions(
    nothing: float = 0.0,
    first: float = 0.0,
    second: float = 0.0,
    union: float = 0.0,
    rest: float = 0.0,
    without_2: float = 1.0,
    without_1: float = 1.0,
    whole: float = 1.0,
) -> ValueFunction:
    """Returns the value function of two regions that has these eight values."""
    values = [nothing, first, second, union, rest, without_2, without_1, whole]
    return lambda members: values[sum(4 if player == REST else player for player in members)]


def additive(*worth: float, nothing: float = 0.0) -> ValueFunction:
    """Returns the value function to which region 1, region 2, ..., and last the rest, add their worth."""
    return lambda members: nothing + sum(worth[player - 1] for player in members)  # REST is 0: the last worth


def random_games(*regions: int, baselines: int = 4, seed: int = 0) -> list[CoalitionGame]:
    """Returns a game for each fit, which has so many regions."""
    draw = torch.Generator().manual_seed(seed)
    return [CoalitionGame(torch.rand(baselines, 2 ** (k + 1), dtype=torch.float64, generator=draw), k) for k in regions]


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Asserts that both differ by the rounding of double precision alone."""
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def estimates_of(
    *functions: ValueFunction,
    regions: int = 2,
    on_object: Sequence[float] | None = None,
    object_share: float | None = None,
) -> Estimates:
    """Returns the estimates of one fit, with a baseline for each value function."""
    shares = None if on_object is None else [torch.tensor(on_object, dtype=torch.float64)]
    return Estimates(AuditedImage([make_game(regions, *functions)], shares, object_share))
