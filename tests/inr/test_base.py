"""Positions along a side, and linear interpolation between them against that of PyTorch."""

import pytest
import torch

from inr_xai.inr.base import grid_points, interpolate, interpolation, side_positions


@pytest.mark.parametrize(("coarse", "fine"), [(3, 12), (7, 24), (5, 13), (1, 4)])
def test_interpolation_between_centres_is_that_of_images(coarse: int, fine: int) -> None:
    values = torch.rand(1, 2, coarse, coarse, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(values, size=(fine, fine), mode="bilinear")
    actual = interpolate(values[0], [side_positions(coarse)] * 2, side_positions(fine))
    torch.testing.assert_close(actual, expected[0], rtol=0, atol=1e-12)


def test_a_linear_function_at_corners_is_exact_everywhere() -> None:
    corners, pixels = side_positions(30, finest=7), side_positions(30)
    assert corners.tolist() == pytest.approx([-1 + 2 * i / 7 for i in range(8)])
    torch.testing.assert_close(interpolation(corners, pixels) @ (3 * corners - 1), 3 * pixels - 1)


def test_a_stride_leaves_out_points_but_no_corners() -> None:
    assert len(side_positions(24, 4)) == 6
    assert side_positions(3, 4).tolist() == [0.0]
    assert len(side_positions(24, 4, finest=28)) == len(side_positions(224, finest=28)) == 29


def test_points_are_row_by_row() -> None:
    points = grid_points([side_positions(2), side_positions(3, finest=2)], torch.zeros(1))
    assert points.tolist() == [[-1.0, -0.5], [0.0, -0.5], [1.0, -0.5], [-1.0, 0.5], [0.0, 0.5], [1.0, 0.5]]
