"""Ranks of pixels: against sorted lists, and ties that are uniform."""

import math

import pytest
import torch

from inr_xai.metrics.inputs import descending_ranks, maps_of
from tests.helpers.metric_inputs import distinct_maps, draws, order, tied_maps


@pytest.mark.parametrize("maps", [distinct_maps(), tied_maps(), tied_maps().half()])
def test_ranks_against_sorted_lists(maps: torch.Tensor) -> None:
    ranks = descending_ranks(maps, generators=draws(3))
    for image, draw in enumerate(draws(3)):
        expected = order(maps[image], draw)
        assert ranks[image].flatten().argsort().tolist() == expected


def test_ties_are_uniform() -> None:
    ranks = descending_ranks(torch.full((1500, 2, 3), 0.5), generators=draws(1500)).flatten(1)
    frequency = torch.nn.functional.one_hot(ranks).double().mean(0)
    assert (frequency - 1 / 6).abs().max() < 4.5 * math.sqrt(1 / 6 * 5 / 6 / 1500)


def test_ranks_of_an_image_depend_on_its_generator_alone() -> None:
    together = descending_ranks(tied_maps(), generators=draws(3))
    assert torch.equal(descending_ranks(tied_maps()[2:], generators=draws(3)[2:])[0], together[2])
    assert not torch.equal(descending_ranks(tied_maps(), generators=draws(3, seed=1)), together)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_maps_that_are_not_finite_are_refused(bad: float) -> None:
    maps = distinct_maps()
    maps[1, 2, 3] = bad
    with pytest.raises(ValueError, match=r"NaN or infinity in the maps \[1\]"):
        descending_ranks(maps, generators=draws(3))


def test_other_sizes_and_too_few_generators_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of shape \(3, 24, 24\), got \(3, 12, 12\)"):
        maps_of(torch.rand(3, 3, 24, 24), torch.rand(3, 12, 12))
    with pytest.raises(ValueError, match="one generator per image, 3, got 2"):
        descending_ranks(distinct_maps(), generators=draws(2))
