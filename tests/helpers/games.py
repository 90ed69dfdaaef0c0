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
    "perturbation.parts=[{_target_:inr_xai.perturbation.Constant,colour:mean}]",  # reads no photos
]
Game = Callable[[set[int]], float]


def played(regions: int, *games: Game) -> CoalitionGame:
    """A row for each game, which says the value of a set of players."""
    players = [*range(1, regions + 1), REST]
    sets = [{player for i, player in enumerate(players) if number >> i & 1} for number in range(1 << len(players))]
    return CoalitionGame(
        torch.tensor([[game(there) for there in sets] for game in games], dtype=torch.float64), regions
    )


def named(
    nothing: float = 0.0,
    first: float = 0.0,
    second: float = 0.0,
    union: float = 0.0,
    rest: float = 0.0,
    without_2: float = 1.0,
    without_1: float = 1.0,
    whole: float = 1.0,
) -> Game:
    """A game of two regions by its eight values."""
    values = [nothing, first, second, union, rest, without_2, without_1, whole]
    return lambda there: values[sum(4 if player == REST else player for player in there)]


def additive(*worth: float, nothing: float = 0.0) -> Game:
    """Each player adds its own: region 1, region 2, ..., the rest."""
    return lambda there: nothing + sum(worth[player - 1] for player in there)  # the rest, 0, comes last


def random_plays(*regions: int, baselines: int = 4, seed: int = 0) -> list[CoalitionGame]:
    """A play of each fit."""
    draw = torch.Generator().manual_seed(seed)
    return [CoalitionGame(torch.rand(baselines, 2 ** (k + 1), dtype=torch.float64, generator=draw), k) for k in regions]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Both are of double precision and differ by its rounding alone."""
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def read(
    *games: Game,
    regions: int = 2,
    on_object: Sequence[float] | None = None,
    object_share: float | None = None,
) -> Estimates:
    """The reading of one fit, a baseline for each game."""
    shares = None if on_object is None else [torch.tensor(on_object, dtype=torch.float64)]
    return Estimates(AuditedImage([played(regions, *games)], shares, object_share))
