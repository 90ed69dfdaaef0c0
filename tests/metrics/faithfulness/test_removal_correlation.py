"""Faithfulness correlation: against loops, Quantus with the same subsets, and models whose answer is known."""

import copy
import math
import statistics
import warnings

import numpy as np
import pytest
import torch

from inr_xai.metrics.faithfulness.removal_correlation import (
    FaithfulnessCorrelation,
    faithfulness_correlation,
    random_subsets,
)
from tests.helpers.metric_inputs import NETWORK, TARGETS, distinct_maps, draws, photos, score, score_alone, tied_maps

GREY = torch.full((3, 3, 24, 24), 0.4, dtype=torch.float64)


@pytest.mark.parametrize("maps", [distinct_maps(), tied_maps()], ids=["distinct", "tied"])
def test_values_against_loops(maps: torch.Tensor) -> None:
    images, subsets = photos(), random_subsets(photos(), generators=draws(3), draws=7, size=200)
    result = faithfulness_correlation(score, images, TARGETS, maps, baseline=GREY, subsets=subsets)
    for i in range(3):
        sums, losses = [], []
        for subset in subsets[i]:
            changed = images[i].clone()
            for row, column in subset.nonzero().tolist():
                changed[:, row, column] = GREY[i, :, row, column]
            sums.append(math.fsum(float(maps[i, row, column]) for row, column in subset.nonzero().tolist()))
            losses.append(score_alone(images[i], int(TARGETS[i])) - score_alone(changed, int(TARGETS[i])))
        assert float(result[i]) == pytest.approx(statistics.correlation(sums, losses), abs=1e-9)


@pytest.mark.slow
def test_quantus_has_the_same_for_the_same_subsets() -> None:
    quantus = pytest.importorskip("quantus")
    images, maps, chosen = photos().float(), distinct_maps().float(), []
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1, bias=False), copy.deepcopy(NETWORK)).float().eval()
    torch.nn.init.ones_(network[0].weight)  # grey to colour, since Quantus draws channels of pixels
    grey = images[:, :1]

    def remember(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        subset = np.zeros_like(arr, dtype=bool)
        np.put_along_axis(subset, indices, True, axis=1)
        chosen.append(subset.reshape(-1, 24, 24))
        return np.where(subset, np.float32(0.25), arr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = quantus.FaithfulnessCorrelation(
            nr_runs=20, subset_size=50, perturb_func=remember, return_aggregate=False, disable_warnings=True
        )(network, grey.numpy(), TARGETS.numpy(), maps.unsqueeze(1).numpy(), device="cpu", softmax=True)

    @torch.no_grad()
    def probability(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return network(inputs).softmax(1).gather(1, targets.unsqueeze(1))[:, 0]

    subsets = torch.from_numpy(np.stack(chosen, axis=1))
    baseline = torch.full_like(grey, 0.25)
    ours = faithfulness_correlation(probability, grey, TARGETS, maps, baseline=baseline, subsets=subsets)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-5)


def test_the_contributions_of_a_linear_model_are_faithful_at_any_scale_and_offset() -> None:
    weights, images = distinct_maps()[0], photos()

    def linear(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (inputs * weights).sum((1, 2, 3))

    exact = ((images - GREY) * weights).sum(1)
    call = {"baseline": GREY, "subsets": random_subsets(images, generators=draws(3), draws=20)}
    for maps in (exact, 300 * exact - 7):
        result = faithfulness_correlation(linear, images, TARGETS, maps, **call)
        torch.testing.assert_close(result, torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-9)
    result = faithfulness_correlation(linear, images, TARGETS, -exact, **call)
    torch.testing.assert_close(result, -torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-9)
    still = faithfulness_correlation(lambda inputs, _: torch.ones(len(inputs)), images, TARGETS, exact, **call)
    assert still.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, 1 / 3, -7.3])
def test_a_constant_map_has_no_correlation_whatever_its_value(value: float, dtype: torch.dtype) -> None:
    images, subsets = photos(), random_subsets(photos(), generators=draws(3), draws=20, size=101)
    maps = torch.full((3, 24, 24), value, dtype=dtype)
    assert faithfulness_correlation(score, images, TARGETS, maps, baseline=GREY, subsets=subsets).isnan().all()


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    images, maps = photos(), distinct_maps()
    subsets = random_subsets(images, generators=draws(3), draws=5)
    together = faithfulness_correlation(score, images, TARGETS, maps, baseline=GREY, subsets=subsets)
    for i in range(3):
        place = slice(i, i + 1)
        alone = random_subsets(images[place], generators=draws(3)[place], draws=5)
        assert torch.equal(alone[0], subsets[i])
        value = faithfulness_correlation(
            score, images[place], TARGETS[place], maps[place], baseline=GREY[place], subsets=alone
        )
        torch.testing.assert_close(value[0], together[i], rtol=0, atol=1e-9)


def test_all_sets_of_a_size_are_equally_likely() -> None:
    count = 6000
    subsets = random_subsets(torch.zeros(1, 1, 2, 3), generators=draws(1), draws=count, size=2)
    assert set(subsets.flatten(2).sum(2).flatten().tolist()) == {2}
    sets, numbers = subsets.flatten(2)[0].unique(dim=0, return_counts=True)
    assert len(sets) == 15
    share = 1 / 15
    assert (numbers / count - share).abs().max() < 4.5 * math.sqrt(share * (1 - share) / count)
    assert random_subsets(photos()[..., :20], generators=draws(3)).flatten(2).sum(2).unique().tolist() == [20]


def test_bad_options_are_one_sentence() -> None:
    for size in (0, 577):
        with pytest.raises(ValueError, match=f"1 to 576 pixels, got size={size}"):
            random_subsets(photos(), generators=draws(3), size=size)
    with pytest.raises(ValueError, match="one generator per image, 3, got 2"):
        random_subsets(photos(), generators=draws(2))
    single = random_subsets(photos(), generators=draws(3), draws=1)
    with pytest.raises(ValueError, match="at least two subsets to correlate, got 1"):
        faithfulness_correlation(score, photos(), TARGETS, distinct_maps(), baseline=GREY, subsets=single)


def test_the_class_is_a_mean_over_all_processes() -> None:
    first, second = FaithfulnessCorrelation(), FaithfulnessCorrelation()
    first.update(torch.tensor([-0.5]))
    second.update(torch.tensor([0.5, 0.75]))
    first.merge_state(second)
    assert float(first.compute()) == 0.25
    assert FaithfulnessCorrelation.higher_is_better
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([torch.nan]))
