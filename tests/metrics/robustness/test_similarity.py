"""Similarity of two maps: ranks against SciPy, structure against loops over windows."""

import inspect
import math

import numpy as np
import pytest
import scipy.stats
import torch

from inr_xai.metrics.robustness.similarity import spearman, structural_similarity


def two_maps(levels: int | None = None, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns two related maps of three images; with `levels` they have few values, and so ties."""
    first, noise = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    second = torch.tensor([0.8, 0.0, -0.6]).double().reshape(3, 1, 1) * first + 0.5 * noise
    if levels is not None:
        first, second = (first * levels).round(), (second * levels).round()
    return first.to(dtype), second.to(dtype)


@pytest.mark.parametrize("levels", [None, 1, 3])
def test_spearman_is_scipys(levels: int | None) -> None:
    first, second = two_maps(levels)
    expected = [
        scipy.stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(first.numpy(), second.numpy(), strict=True)
    ]
    assert spearman(first, second).tolist() == pytest.approx(expected, abs=1e-12)
    assert spearman(first.float(), second.float()).tolist() == pytest.approx(expected, abs=1e-6)


def test_spearman_depends_on_the_order_alone() -> None:
    first, second = two_maps()
    assert torch.equal(spearman(first.exp(), 3 * second), spearman(first, second))
    torch.testing.assert_close(spearman(first, -second), -spearman(first, second))
    assert spearman(first, first).tolist() == pytest.approx([1, 1, 1], abs=1e-12)


def test_spearman_of_a_constant_map_is_not_a_number() -> None:
    first, second = two_maps(dtype=torch.float32)
    second[1] = 0.1
    assert spearman(first, second).isnan().tolist() == [False, True, False]


def mirrored(index: int, side: int) -> int:
    """Returns the place of a pixel beyond the border after it is mirrored at the outermost pixel."""
    return -index if index < 0 else 2 * (side - 1) - index if index >= side else index


def slow_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the mean over pixels of SSIM in a Gaussian window around each, from weighted moments about the mean."""
    first, second = ((image - image.min()) / (image.max() - image.min()) for image in (first, second))
    height, width = first.shape
    reach = range(-5, 6)
    weights = [math.exp(-(i * i + j * j) / (2 * 1.5**2)) for i in reach for j in reach]
    values = []
    for y in range(height):
        for x in range(width):
            places = [(mirrored(y + i, height), mirrored(x + j, width)) for i in reach for j in reach]
            a, b = (np.array([image[place] for place in places]) for image in (first, second))
            mean_a, mean_b = np.average(a, weights=weights), np.average(b, weights=weights)
            var_a = np.average((a - mean_a) ** 2, weights=weights)
            var_b = np.average((b - mean_b) ** 2, weights=weights)
            covariance = np.average((a - mean_a) * (b - mean_b), weights=weights)
            luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
            values.append(luminance * (2 * covariance + 0.03**2) / (var_a + var_b + 0.03**2))
    return float(np.mean(values))


def test_structural_similarity_against_loops() -> None:
    first, second = two_maps()
    expected = [slow_ssim(a, b) for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    assert structural_similarity(first, second).tolist() == pytest.approx(expected, abs=1e-12)
    assert structural_similarity(first.float(), second.float()).tolist() == pytest.approx(expected, abs=1e-5)


def test_structural_similarity_depends_on_neither_scale_nor_offset() -> None:
    first, second = two_maps()
    scales = torch.tensor([1.0, 100.0, 0.01]).double().reshape(3, 1, 1)
    torch.testing.assert_close(structural_similarity(scales * first - 7, second), structural_similarity(first, second))


def test_structural_similarity_takes_a_constant_map_for_zeros() -> None:
    ramp = torch.arange(48.0).reshape(1, 6, 8)
    level = torch.full_like(ramp, 0.3)
    assert structural_similarity(level, 5 * level).item() == 1
    assert structural_similarity(level, ramp).item() == structural_similarity(ramp, torch.zeros_like(ramp)).item()
    assert structural_similarity(level, ramp).item() < 0.1


@pytest.mark.parametrize("similarity", [spearman, structural_similarity])
def test_images_are_independent_and_the_order_of_maps_does_not_matter(similarity) -> None:
    first, second = two_maps(levels=2)
    together = similarity(first, second)
    alone = torch.cat([similarity(a.unsqueeze(0), b.unsqueeze(0)) for a, b in zip(first, second, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
    torch.testing.assert_close(together, similarity(second, first), atol=1e-12, rtol=0)


@pytest.mark.parametrize("similarity", [spearman, structural_similarity])
def test_half_precision_is_computed_in_single(similarity) -> None:
    first, second = two_maps(dtype=torch.float16)
    assert torch.equal(similarity(first, second), similarity(first.float(), second.float()))
    assert similarity(first, second).dtype == torch.float32


@pytest.mark.parametrize("similarity", [spearman, structural_similarity])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_maps_that_are_not_finite_are_refused_by_place(similarity, bad: float) -> None:
    first, second = two_maps()
    second[2, 0, 0] = bad
    with pytest.raises(ValueError, match=r"NaN or infinity in the maps \[2\]"):
        similarity(first, second)


@pytest.mark.parametrize("similarity", [spearman, structural_similarity])
def test_maps_of_other_shapes_are_refused_and_not_repeated(similarity) -> None:
    first, second = two_maps()
    unchecked = inspect.unwrap(similarity)  # as in a run: without the shape checks of the tests
    with pytest.raises(ValueError, match=r"one size, got shapes \(3, 9, 12\) and \(1, 9, 12\)"):
        unchecked(first, second[:1])


def test_structural_similarity_refuses_maps_smaller_than_half_a_window() -> None:
    with pytest.raises(ValueError, match=r"at least 6 pixels a side, got \(5, 9\)"):
        structural_similarity(torch.rand(1, 5, 9), torch.rand(1, 5, 9))
