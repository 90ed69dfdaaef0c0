"""Relevance mass and rank accuracy against loops and Quantus."""

import warnings

import numpy as np
import pytest
import torch

from inr_xai.metrics.localisation import relevance, segmentation
from inr_xai.metrics.localisation.relevance import (
    bounding_boxes,
    energy_pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)
from inr_xai.metrics.localisation.segmentation import matched_area_mask
from tests.helpers.metric_inputs import draws


def random_maps(images: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns maps of both signs, objects, and pixels to ignore."""
    random = torch.Generator().manual_seed(4)
    maps = torch.randn(images, 9, 11, generator=random, dtype=torch.float64)
    truth, ignore = (torch.rand(images, 9, 11, generator=random) < share for share in (0.3, 0.2))
    return maps, truth, ignore


def mass_by_loops(saliency: np.ndarray, truth: np.ndarray, ignore: np.ndarray) -> float:
    inside = total = 0.0
    for place, value in np.ndenumerate(saliency):
        if value > 0 and not ignore[place]:
            total += float(value)
            inside += float(value) if truth[place] else 0.0
    return inside / total


def rank_by_loops(saliency: np.ndarray, truth: np.ndarray, ignore: np.ndarray) -> float:
    places = [place for place in np.ndindex(saliency.shape) if not ignore[place]]
    count = sum(bool(truth[place]) for place in places)
    largest = sorted(places, key=lambda place: -float(saliency[place]))[:count]
    return sum(bool(truth[place]) for place in largest) / count


@pytest.mark.parametrize("ignoring", [False, True])
def test_against_loops(ignoring: bool) -> None:
    maps, truth, marked = random_maps()
    ignore = marked if ignoring else None
    out = marked & torch.tensor(ignoring)
    mass = relevance_mass_accuracy(maps, truth, ignore=ignore)
    rank = relevance_rank_accuracy(maps, truth, generators=draws(4), ignore=ignore)
    triples = [(a.numpy(), b.numpy(), c.numpy()) for a, b, c in zip(maps, truth, out, strict=True)]
    assert mass.tolist() == pytest.approx([mass_by_loops(*triple) for triple in triples], abs=1e-12)
    assert rank.tolist() == pytest.approx([rank_by_loops(*triple) for triple in triples], abs=1e-7)
    assert torch.equal(energy_pointing_game(maps, truth, ignore=ignore), mass)


def test_a_bounding_box_is_the_least_around_all_of_an_object() -> None:
    _, truth, _ = random_maps()
    truth &= torch.rand(truth.shape, generator=torch.Generator().manual_seed(1)) < 0.1
    truth[3] = False
    boxes = bounding_boxes(truth)
    for box, marks in zip(boxes, truth, strict=True):
        expected = torch.zeros_like(marks)
        if places := marks.nonzero().tolist():
            (top, bottom), (left, right) = ((min(axis), max(axis)) for axis in zip(*places, strict=True))
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    expected[row, column] = True
        assert torch.equal(box, expected)
    assert torch.equal(bounding_boxes(boxes), boxes)


def test_what_is_ignored_changes_nothing() -> None:
    maps, truth, ignore = random_maps()
    changed, marked = torch.where(ignore, 99, maps), truth | ignore
    for function in (
        lambda *inputs: relevance_mass_accuracy(*inputs, ignore=ignore),
        lambda *inputs: relevance_rank_accuracy(*inputs, generators=draws(4), ignore=ignore),
    ):
        assert torch.equal(function(changed, marked), function(maps, truth))


def test_mass_of_a_binary_mask_is_its_precision_and_rank_is_the_recall_at_matched_area() -> None:
    maps, truth, _ = random_maps()
    binary = maps > 0.5
    precision = segmentation.precision(binary[:, None], truth)[:, 0]
    torch.testing.assert_close(relevance_mass_accuracy(binary.float(), truth), precision)
    matched = matched_area_mask(binary.float(), truth, generators=draws(4))
    recall = segmentation.recall(matched[:, None], truth)[:, 0]
    assert torch.equal(relevance_rank_accuracy(binary.float(), truth, generators=draws(4)), recall)


def test_mass_of_a_constant_map_is_the_share_of_the_object_and_of_none_it_is_0() -> None:
    _, truth, _ = random_maps()
    share = truth.double().mean((1, 2))
    torch.testing.assert_close(relevance_mass_accuracy(torch.full((4, 9, 11), 0.3).double(), truth), share)
    assert relevance_mass_accuracy(-torch.ones(4, 9, 11), truth).tolist() == [0] * 4


def test_half_precision_is_summed_in_single_precision() -> None:
    maps = torch.ones(2, 300, 300, dtype=torch.float16)  # more than float16 can hold
    truth = torch.arange(300).expand(2, 300, -1) < torch.tensor([75, 150])[:, None, None]
    assert relevance_mass_accuracy(maps, truth).tolist() == [0.25, 0.5]


def test_what_is_refused() -> None:
    maps, truth, _ = random_maps()
    truth[3] = False
    for function in (
        lambda: relevance_mass_accuracy(maps, truth),
        lambda: relevance_rank_accuracy(maps, truth, generators=draws(4)),
    ):
        with pytest.raises(ValueError, match=r"none in the images \[3\]"):
            function()
    maps[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in the maps \[1\]"):
        relevance_mass_accuracy(maps, truth)


@pytest.mark.parametrize(
    ("metric", "function", "ranked"),
    [
        (relevance.RelevanceMassAccuracy, relevance_mass_accuracy, False),
        (relevance.EnergyPointingGame, energy_pointing_game, False),
        (relevance.RelevanceRankAccuracy, relevance_rank_accuracy, True),
    ],
)
def test_classes_are_means_over_all_processes(metric, function, ranked: bool) -> None:
    maps, truth, ignore = random_maps()
    ties = [{"generators": draws(4)[part]} if ranked else {} for part in (slice(1), slice(1, 4), slice(4))]
    first, second = metric(), metric()
    first.update(maps[:1], truth[:1], ignore=ignore[:1], **ties[0])
    second.update(maps[1:], truth[1:], ignore=ignore[1:], **ties[1])
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(function(maps, truth, ignore=ignore, **ties[2]).mean()))
    assert metric.higher_is_better


@pytest.mark.slow
def test_quantus_agrees() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus")
        theirs = (
            quantus.RelevanceMassAccuracy(disable_warnings=True),
            quantus.RelevanceRankAccuracy(disable_warnings=True),
        )
    maps, truth, _ = random_maps(50)
    positive = maps.clamp(min=0)  # Quantus subtracts what is negative; CLEVR-XAI defines the mass for s >= 0
    mass, rank = (
        metric.evaluate_batch(a_batch=batch.numpy(), s_batch=truth.numpy())
        for metric, batch in zip(theirs, (positive, maps), strict=True)
    )
    np.testing.assert_allclose(relevance_mass_accuracy(maps, truth).numpy(), mass, atol=1e-12)
    np.testing.assert_allclose(relevance_rank_accuracy(maps, truth, generators=draws(50)).numpy(), rank, atol=1e-7)
    signed = theirs[0].evaluate_batch(a_batch=maps.numpy(), s_batch=truth.numpy())
    assert np.abs(signed).max() > 1  # no share
