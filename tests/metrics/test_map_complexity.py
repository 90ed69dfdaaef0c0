"""Sparseness and complexity against loops, Quantus, and what they are for binary masks."""

import math
import warnings

import numpy as np
import pytest
import torch

from inr_xai.metrics.map_complexity import Complexity, Sparseness, complexity, sparseness


def some_maps(images: int = 5) -> torch.Tensor:
    """Maps of both signs with zeros; the last is a multiple of the first."""
    maps = torch.randn(images, 6, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    maps[maps.abs() < 0.3] = 0
    maps[-1] = -1e-9 * maps[0]
    return maps


def gini_by_pairs(saliency: np.ndarray) -> float:
    """Mean absolute difference of any two pixels over twice the mean: the index's other definition."""
    values = [abs(float(value)) for value in saliency.ravel()]
    differences = sum(abs(one - other) for one in values for other in values)
    return differences / (2 * len(values) * sum(values))


def entropy_by_loops(saliency: np.ndarray) -> float:
    values = [abs(float(value)) for value in saliency.ravel() if value != 0]
    return -sum(value / sum(values) * math.log(value / sum(values)) for value in values)


@pytest.mark.parametrize(("function", "oracle"), [(sparseness, gini_by_pairs), (complexity, entropy_by_loops)])
def test_against_loops_whatever_the_scale_and_the_order(function, oracle) -> None:
    maps = some_maps()
    found = function(maps)
    assert found.tolist() == pytest.approx([oracle(one.numpy()) for one in maps], abs=1e-12)
    torch.testing.assert_close(found[-1], found[0])
    torch.testing.assert_close(function(maps.flip(1)), found)
    torch.testing.assert_close(function(maps[1:2])[0], found[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_binary_masks_have_no_value_but_their_area(dtype: torch.dtype) -> None:
    counts = [1, 500, 5000, 12544, 50176]
    order = torch.randperm(50176, generator=torch.Generator().manual_seed(7))
    masks = torch.stack([(order < count).reshape(224, 224) for count in counts]).to(dtype)
    assert sparseness(masks).tolist() == pytest.approx([1 - count / 50176 for count in counts], abs=1e-5)
    assert complexity(masks).tolist() == pytest.approx([math.log(count) for count in counts], abs=1e-5)


def test_a_map_of_zeros_is_as_simple_as_any_constant_one() -> None:
    maps = torch.stack([torch.zeros(4, 5), torch.full((4, 5), -7.0), torch.full((4, 5), 1e-38)])
    assert sparseness(maps).tolist() == pytest.approx([0, 0, 0], abs=1e-7)
    assert complexity(maps).tolist() == pytest.approx([math.log(20)] * 3)


@pytest.mark.parametrize("function", [sparseness, complexity])
def test_maps_that_are_not_finite_are_refused(function) -> None:
    maps = some_maps()
    maps[2, 0, 0] = -torch.inf
    with pytest.raises(ValueError, match=r"NaN or infinity in the maps \[2\]"):
        function(maps)


@pytest.mark.parametrize(
    ("metric", "function", "better"), [(Sparseness, sparseness, True), (Complexity, complexity, False)]
)
def test_classes_are_means_over_all_processes(metric, function, better: bool) -> None:
    maps = some_maps()
    first, second = metric(), metric()
    first.update(maps[:2])
    second.update(maps[2:])
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(function(maps).mean()), abs=1e-6)
    assert metric.higher_is_better is better


@pytest.mark.slow
def test_quantus_agrees() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus")
        theirs = quantus.Sparseness(disable_warnings=True), quantus.Complexity(disable_warnings=True)
    maps = some_maps(20)[:-1].abs()  # as its caller takes them; the last map is no larger than the constants it adds
    gini, entropy = (metric.evaluate_batch(x_batch=None, a_batch=maps.numpy().copy()) for metric in theirs)
    np.testing.assert_allclose(sparseness(maps).numpy(), gini, atol=1e-6)
    np.testing.assert_allclose(complexity(maps).numpy(), entropy, atol=1e-9)
