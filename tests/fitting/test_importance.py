"""The heatmap of a fit: its weights, its order of pixels, and the share of its mass on the first pixels."""

import numpy as np
import pytest
import torch

from inr_xai import INRAttribution
from inr_xai.fitting.importance import importance_areas, weighted_mean
from tests.conftest import pictures, tiny_network


def mean_of_weights(size: tuple[int, int]) -> float:
    """Returns the mean of a heatmap from masks of exact area: sum of a / a^2 over sum of 1 / a^2."""
    areas = np.array(importance_areas(size))
    return float((1 / areas).sum() / (1 / areas**2).sum())


def test_areas_grow_by_equal_ratios_from_one_pixel_or_one_percent() -> None:
    areas = np.array(importance_areas((224, 224)))
    assert (len(areas), areas[0], round(areas[-1], 12)) == (32, 0.01, 0.97)
    assert np.ptp(areas[1:] / areas[:-1]) < 1e-12
    assert min(importance_areas((5, 5))) * 25 >= 1


def test_a_pixels_value_is_the_weight_of_the_masks_that_keep_it() -> None:
    masks = torch.tensor([[[1.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]]], dtype=torch.float64)
    result = weighted_mean(masks, [0.1, 0.2])
    torch.testing.assert_close(result, torch.tensor([[1.0, 25 / 125, 0.0]], dtype=torch.float64))


def test_nested_masks_keep_the_order_of_pixels_with_most_of_the_mass_in_the_first_quarter() -> None:
    areas, ranks = importance_areas((64, 64)), torch.arange(64 * 64).reshape(64, 64)
    heat = weighted_mean(torch.stack([(ranks < area * 4096).double() for area in areas]), areas)
    assert (heat.flatten().diff() <= 0).all()
    assert float(heat.flatten()[:1024].sum() / heat.sum()) > 0.95


def test_the_heatmap_of_the_python_api() -> None:
    heat = INRAttribution(tiny_network(), steps=2).importance(pictures(2), target=0)
    assert heat.shape == (2, 1, 24, 24)
    expected = torch.full((2, 1), mean_of_weights((24, 24)))
    torch.testing.assert_close(heat.mean((-2, -1)), expected, atol=1e-3, rtol=0)
    assert heat.amax() == pytest.approx(1, abs=0.05)


def test_rounding_takes_no_pixel_above_one() -> None:
    areas = importance_areas((224, 224))
    assert float(weighted_mean(torch.ones(len(areas), 2, 2), areas).amax()) == 1
