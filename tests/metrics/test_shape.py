"""Compactness of hard masks: by hand, against flood fill and loops, and beside the total variation of a fit."""

import pytest
import torch

from inr_xai import metrics
from inr_xai.objective import total_variation
from tests.helpers import reference


def mask_of(*rows: str) -> torch.Tensor:
    """Returns a mask of one image and area, in which # is a kept pixel."""
    return torch.tensor([[[[letter == "#" for letter in row] for row in rows]]])


@pytest.mark.parametrize(
    ("rows", "parts", "contour"),
    [
        (("....", "....", "...."), 0, 0),
        (("####", "####", "####"), 1, 0),
        (("....", ".##.", "...."), 1, 4 / 4 + 2 / 3),
        (("##..", "##..", "##.."), 1, 3 / 3),
        (("####", "....", "...."), 1, 4 / 4),
        (("#...", ".#..", "..#."), 1, 4 / 4 + 5 / 3),  # corners connect
        (("#.#.", "....", "#.#."), 4, 4 / 4 + 6 / 3),
        (("###.", "#.#.", "###."), 1, 2 / 4 + 5 / 3),  # a ring has an inner contour too
    ],
)
def test_shapes_by_hand(rows: tuple[str, ...], parts: int, contour: float) -> None:
    assert metrics.components(mask_of(*rows)).tolist() == [[parts]]
    assert float(metrics.perimeter(mask_of(*rows))) == pytest.approx(contour, abs=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6])
def test_shapes_against_flood_fill_and_loops(share: float) -> None:
    hard = torch.rand(2, 3, 13, 17, generator=torch.Generator().manual_seed(0)) < share
    parts, contour = metrics.components(hard), metrics.perimeter(hard)
    for image in range(2):
        for area in range(3):
            mask = hard[image, area].numpy()
            assert int(parts[image, area]) == reference.components(mask)
            assert float(contour[image, area]) == pytest.approx(reference.perimeter(mask), rel=1e-6)


def test_a_spiral_is_one_part() -> None:
    rows = ("#######", "......#", "#####.#", "#...#.#", "#.###.#", "#.....#", "#######")
    assert float(metrics.components(mask_of(*rows))) == 1


def test_perimeter_is_the_total_variation_of_the_mask_and_of_its_complement() -> None:
    hard = torch.rand(2, 2, 9, 14, generator=torch.Generator().manual_seed(1)) < 0.4
    torch.testing.assert_close(metrics.perimeter(hard), total_variation(hard.float()))
    assert torch.equal(metrics.perimeter(hard), metrics.perimeter(~hard))


def test_shapes_of_a_mask_seen_closer_stay() -> None:
    hard = torch.rand(1, 2, 6, 8, generator=torch.Generator().manual_seed(2)) < 0.3
    closer = hard.repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert torch.equal(metrics.components(closer), metrics.components(hard))
    torch.testing.assert_close(metrics.perimeter(closer), metrics.perimeter(hard))


@pytest.mark.parametrize(
    ("metric", "function"), [(metrics.Components, metrics.components), (metrics.Perimeter, metrics.perimeter)]
)
def test_classes_are_means_over_all_processes(metric, function) -> None:
    hard = torch.rand(3, 2, 9, 11, generator=torch.Generator().manual_seed(3)) < 0.3
    first, second = metric(), metric()
    first.update(hard[:1])
    second.update(hard[1:])
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(function(hard).mean()), rel=1e-6)
    assert metric.higher_is_better is False
