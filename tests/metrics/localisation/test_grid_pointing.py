"""The grid pointing game against loops."""

import numpy as np
import pytest
import torch

from inr_xai.metrics.localisation.grid_pointing import GridPointingGame, grid_pointing_game


def random_maps(images: int = 9, side: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns maps of a mosaic with the cell of each map's class."""
    maps = torch.randn(images, 4 * side, 5 * side, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return maps, torch.arange(images) * 2 % side**2


def share_by_loops(saliency: np.ndarray, cell: int, side: int) -> float:
    height, width = saliency.shape
    sums = [0.0] * side**2
    for (i, j), value in np.ndenumerate(saliency):
        sums[i * side // height * side + j * side // width] += max(float(value), 0.0)
    return sums[cell] / sum(sums) if sum(sums) > 1e-7 else 0.0


@pytest.mark.parametrize("side", [1, 2, 3])
def test_against_loops(side: int) -> None:
    maps, cells = random_maps(side=side)
    result = grid_pointing_game(maps, cells, side=side).tolist()
    expected = [share_by_loops(saliency.numpy(), int(cell), side) for saliency, cell in zip(maps, cells, strict=True)]
    assert result == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) > 1 or side == 1


def test_the_cells_share_the_whole_and_a_constant_map_is_at_chance() -> None:
    maps, _ = random_maps(2)
    every = torch.stack([grid_pointing_game(maps, torch.full((2,), cell), side=3) for cell in range(9)])
    torch.testing.assert_close(every.sum(0), torch.ones(2, dtype=torch.float64))
    constant = torch.stack([torch.full((6, 9), 0.2), torch.full((6, 9), 5.0)])
    assert grid_pointing_game(constant, torch.tensor([0, 7]), side=3).tolist() == pytest.approx([1 / 9] * 2)


def test_a_map_without_positive_values_has_nothing_in_its_cell() -> None:
    maps = torch.stack([-torch.ones(4, 4), torch.full((4, 4), 6.2e-9), torch.full((4, 4), 6.3e-9)])
    cells = torch.tensor([0, 1, 2])
    assert grid_pointing_game(maps, cells, side=2).tolist() == pytest.approx([0, 0, 0.25])  # 16 x 6.25e-9 = 1e-7
    assert grid_pointing_game(maps, cells, side=2, negligible=0).tolist() == pytest.approx([0, 0.25, 0.25])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single_precision(dtype: torch.dtype) -> None:
    maps = torch.ones(2, 600, 600, dtype=dtype)
    maps[1, :300, :300] = 3
    assert grid_pointing_game(maps, torch.tensor([0, 0]), side=2).tolist() == [0.25, 0.5]


def test_what_is_refused() -> None:
    maps, cells = random_maps()
    with pytest.raises(ValueError, match="2 x 2 cells, got 12 x 15 pixels"):
        grid_pointing_game(maps, cells, side=2)
    for wrong in (9, -1):
        with pytest.raises(ValueError, match="cells from 0 to 8"):
            grid_pointing_game(maps[:2], torch.tensor([0, wrong]), side=3)
    maps[4] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in the maps \[4\]"):
        grid_pointing_game(maps, cells, side=3)


def test_the_class_is_a_mean_over_all_processes() -> None:
    maps, cells = random_maps()
    first, second = GridPointingGame(), GridPointingGame()
    first.update(maps[:2], cells[:2], side=3)
    second.update(maps[2:], cells[2:], side=3)
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(grid_pointing_game(maps, cells, side=3).mean()), abs=1e-6)
    assert GridPointingGame.higher_is_better
