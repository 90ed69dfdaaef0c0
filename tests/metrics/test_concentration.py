"""Sparseness and complexity against loops, Quantus, and what they are for binary masks."""

import math
import warnings

import numpy as np
import pytest
import torch

from inr_xai.metrics.concentration import Complexity, Sparseness, complexity, sparseness


def random_maps(images: int = 5) -> torch.Tensor:
    """Returns maps of both signs with zeros; the last map is a multiple of the first."""
    maps = torch.randn(images, 6, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    maps[maps.abs() < 0.3] = 0
    maps[-1] = -1e-9 * maps[0]
    return maps


def gini_by_pairs(saliency: np.ndarray) -> float:
    """Returns the index by its other definition: the mean absolute difference of two pixels over twice the mean."""
    values = [abs(float(value)) for value in saliency.ravel()]
    differences = sum(abs(first - second) for first in values for second in values)
    return differences / (2 * len(values) * sum(values))


def entropy_by_loops(saliency: np.ndarray) -> float:
    values = [abs(float(value)) for value in saliency.ravel() if value != 0]
    return -sum(value / sum(values) * math.log(value / sum(values)) for value in values)


@pytest.mark.parametrize(("function", "oracle"), [(sparseness, gini_by_pairs), (complexity, entropy_by_loops)])
def test_against_loops_whatever_the_scale_and_the_order(function, oracle) -> None:
    maps = random_maps()
    result = function(maps)
    assert result.tolist() == pytest.approx([oracle(values.numpy()) for values in maps], abs=1e-12)
    torch.testing.assert_close(result[-1], result[0])
    torch.testing.assert_close(function(maps.flip(1)), result)
    torch.testing.assert_close(function(maps[1:2])[0], result[1])


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
    maps = random_maps()
    maps[2, 0, 0] = -torch.inf
    with pytest.raises(ValueError, match=r"NaN or infinity in the maps \[2\]"):
        function(maps)


@pytest.mark.parametrize(
    ("metric", "function", "better"), [(Sparseness, sparseness, True), (Complexity, complexity, False)]
)
def test_classes_are_means_over_all_processes(metric, function, better: bool) -> None:
    maps = random_maps()
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
    # Quantus takes absolute values, and the last map is as small as the constants that it adds.
    maps = random_maps(20)[:-1].abs()
    gini, entropy = (metric.evaluate_batch(x_batch=None, a_batch=maps.numpy().copy()) for metric in theirs)
    np.testing.assert_allclose(sparseness(maps).numpy(), gini, atol=1e-6)
    np.testing.assert_allclose(complexity(maps).numpy(), entropy, atol=1e-9)
