"""What the tests of INR families share: a small network of each family, and its slow oracle."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from inr_xai.inr import INR, FeatureGridINR, FourierINR, GridINR, SirenINR, WireINR
from inr_xai.inr.base import grid_points, side_positions
from tests.helpers import reference

CONDITIONINGS = ("concat", "film", "none")
AREAS = torch.tensor([0.1, 0.4])


@dataclass(frozen=True)
class Family:
    """A family's constructor at a small size, and its oracle.

    Args:
        logit: computes the logit from one image's stored weights, a point, an area and the conditioning.
        conditionings: those that the family has; the first is used where a test does not choose.
    """

    make: Callable[..., INR]
    logit: Callable[[dict[str, reference.Array], tuple[float, float], float, str], float]
    conditionings: tuple[str, ...] = CONDITIONINGS


def network(
    inputs: Callable[[dict[str, reference.Array], tuple[float, float]], list[float]],
    gain: Callable[[int, int], float] = lambda layer, index: 1.0,
    activation: Callable[[list[float]], list[float]] = lambda sums: [max(0.0, value) for value in sums],
) -> Callable[[dict[str, reference.Array], tuple[float, float], float, str], float]:
    """Returns the oracle of a family that ends in a `StackedMLP`.

    Args:
        inputs: computes the inputs of the network from one image's stored weights and a point.
        gain: returns the factor of sum i of hidden layer l, given (l, i).
        activation: maps the sums of a layer to its units.
    """

    def logit(weights: dict[str, reference.Array], point: tuple[float, float], area: float, conditioning: str) -> float:
        values = inputs(weights, point)
        return reference.network_logit(
            weights, values, area, conditioning=conditioning, gain=gain, activation=activation
        )

    return logit


def gabors(sums: list[float]) -> list[float]:
    half = len(sums) // 2
    return [math.cos(wave) * math.exp(-(width**2)) for wave, width in zip(sums[:half], sums[half:], strict=True)]


def grid(table_size: int | None) -> Family:
    options = {"levels": 4, "features": 2, "base": 2, "growth": 1.7, "table_size": table_size, "feature_scale": 1.0}
    sides = (2, 3, 5, 9)  # the whole parts of 2, 3.4, 5.78 and 9.826
    return Family(
        partial(GridINR, width=6, depth=2, **options),  # type: ignore[arg-type]
        network(lambda weights, point: reference.grid_inputs(weights["table"], point, sides, table_size)),
    )


FAMILIES = {
    "fourier": Family(
        partial(FourierINR, width=6, depth=3, frequencies=5),
        network(lambda weights, point: reference.fourier_inputs(weights["frequencies"], point)),
    ),
    "siren": Family(
        partial(SirenINR, width=6, depth=3, first_omega=7.0, hidden_omega=3.0),
        network(
            lambda weights, point: list(point),
            gain=lambda layer, index: 3.0 if layer else 7.0,
            activation=lambda sums: [math.sin(value) for value in sums],
        ),
    ),
    "wire": Family(
        partial(WireINR, width=6, depth=3, omega=4.0, scale=1.5),
        network(
            lambda weights, point: list(point),
            gain=lambda layer, index: 4.0 if index < 6 else 1.5,
            activation=gabors,
        ),
    ),
    "hash_grid": grid(16),
    "dense_grid": grid(None),
    "feature_grid": Family(
        partial(FeatureGridINR, sides=(2, 3, 5), width=14, depth=2, gain=4.0, scale=0.3, speed=0.25, film_speed=2.0),
        lambda weights, point, area, conditioning: reference.feature_grid_logit(
            weights, point, area if conditioning == "film" else None, (2, 3, 5), gain=4.0, speed=0.25, film_speed=2.0
        ),
        conditionings=("film", "none"),
    ),
}
EVERY = [(name, conditioning) for name, family in FAMILIES.items() for conditioning in family.conditionings]


def pixel_centres(size: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
    """Returns the (x, y) of every pixel centre in [-1, 1]^2, row by row, with the dtype and device of `like`."""
    return grid_points([side_positions(side) for side in size], like)


def draws(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def small(family: str, *seeds: int, conditioning: str | None = None) -> INR:
    """Returns a small stack in double precision, with weights changed from special initial ones (FiLM starts at 0)."""
    conditioning = conditioning or FAMILIES[family].conditionings[0]
    inr = FAMILIES[family].make(draws(*seeds), conditioning=conditioning).double()
    with torch.no_grad():
        for parameter in inr.parameters():
            moved = [
                torch.randn(parameter.shape[1:], generator=draw) for draw in draws(*(seed + 100 for seed in seeds))
            ]
            parameter += 0.1 * torch.stack(moved)
    return inr
