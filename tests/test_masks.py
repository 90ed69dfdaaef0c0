"""Hard masks and the geometry of masks, against slow oracles."""

import math

import pytest
import torch

from inr_xai.masks import (
    area_error,
    grayness,
    hard_masks,
    nesting_violation,
    overlap,
    pixel_counts,
    rank_violation,
    share_above_half,
)
from inr_xai.seeding import generator
from tests.helpers import reference
from tests.helpers.metric_inputs import draws, tied_masks

AREAS = (0.05, 0.3, 0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("restricted", [False, True])
def test_hard_masks_are_the_largest_values(dtype: torch.dtype, restricted: bool) -> None:
    masks = tied_masks().to(dtype)
    free = torch.rand(masks.shape, generator=torch.Generator().manual_seed(1)) < 0.4 if restricted else None
    hard = hard_masks(masks, torch.tensor(AREAS), generators=draws(3), free=free)
    for image in range(3):
        for position, area in enumerate(AREAS):
            free_here = None if free is None else free[image, position].numpy()
            must, may, count = reference.hard_mask_bounds(masks[image, position].double().numpy(), area, free_here)
            chosen = set(hard[image, position].flatten().nonzero().flatten().tolist())
            assert must <= chosen <= may
            assert len(chosen) == count


def test_hard_masks_take_all_free_pixels_where_they_are_too_few() -> None:
    free = torch.zeros(2, 1, 5, 5, dtype=torch.bool)
    free[..., 0, :3] = True
    hard = hard_masks(torch.rand(2, 1, 5, 5), torch.tensor([0.5]), generators=draws(2), free=free)
    assert torch.equal(hard, free)


def test_an_area_below_one_pixel_keeps_none() -> None:
    assert not hard_masks(torch.rand(1, 1, 3, 3), torch.tensor([0.1]), generators=draws(1)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixel_counts_round_down_but_not_below_whole_numbers(dtype: torch.dtype) -> None:
    sides = [32, 96, 224, 230, 384]
    for area in (0.01, 0.05, 0.1, 0.29, 0.3, 0.7, 0.9, 1 / 3):
        expected = [math.floor(area * side * side + 1e-6) for side in sides]
        assert [pixel_counts(torch.tensor([area], dtype=dtype), side * side)[0] for side in sides] == expected


def test_half_precision_areas_are_their_decimals_and_bfloat16_is_refused() -> None:
    tenths = [place / 10 for place in range(1, 10)]
    assert pixel_counts(torch.tensor(tenths).half(), 100) == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    hard = hard_masks(torch.rand(1, 1, 10, 10), torch.tensor([0.1]).half(), generators=draws(1))
    assert hard.sum() == 10
    with pytest.raises(ValueError, match=r"areas in float16 or better, got bfloat16.*give float32"):
        hard_masks(torch.rand(1, 1, 10, 10), torch.tensor([0.1]).bfloat16(), generators=draws(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("area", [0.13, 0.26, 0.52, 0.7])
def test_a_hard_mask_violates_no_rank(dtype: torch.dtype, area: float) -> None:
    """In single precision 0.13 of 52,900 pixels are 6876.9995."""
    areas = torch.tensor([area], dtype=dtype)
    hard = hard_masks(torch.rand(1, 1, 230, 230), areas, generators=draws(1))
    assert hard.sum() == round(52900 * area)
    assert float(rank_violation(hard.float(), areas)) == 0


def test_ties_are_uniform_and_follow_the_generator() -> None:
    constant = torch.full((3000, 1, 4, 4), 0.25)
    area = torch.tensor([0.25])
    hard = hard_masks(constant, area, generators=draws(3000))
    frequency = hard.double().mean((0, 1))
    assert (frequency - 0.25).abs().max() < 4.5 * math.sqrt(0.25 * 0.75 / 3000)
    assert torch.equal(hard[:50], hard_masks(constant[:50], area, generators=draws(50)))
    assert not torch.equal(hard[:50], hard_masks(constant[:50], area, generators=draws(50, seed=1)))


def test_hard_masks_of_an_image_depend_on_neither_other_images_nor_other_areas() -> None:
    masks = tied_masks()
    together = hard_masks(masks, torch.tensor(AREAS), generators=draws(3))
    for image in range(3):
        for position, area in enumerate(AREAS):
            alone = hard_masks(
                masks[image, position][None, None], torch.tensor([area]), generators=[generator(0, image)]
            )
            assert torch.equal(alone[0, 0], together[image, position])


def test_geometry_against_loops() -> None:
    masks, areas = tied_masks(), torch.tensor(AREAS, dtype=torch.float64)
    columns = {
        "area": area_error(masks, areas),
        "gray": grayness(masks),
        "rank": rank_violation(masks, areas),
        "half": share_above_half(masks, areas),
    }
    for image in range(3):
        for position, area in enumerate(AREAS):
            mask = masks[image, position].numpy()
            values = [float(value) for value in mask.ravel()]
            expected = {
                "area": abs(sum(values) / len(values) - area),
                "gray": sum(4 * value * (1 - value) for value in values) / len(values),
                "rank": reference.rank_violation(mask, area),
                "half": abs(sum(value > 0.5 for value in values) / len(values) - area),
            }
            result = {name: float(column[image, position]) for name, column in columns.items()}
            assert result == pytest.approx(expected, abs=1e-7)


def test_nesting_violation_against_loops_in_any_order_of_areas() -> None:
    masks = tied_masks()
    shuffled = [2, 0, 1]
    result = nesting_violation(masks[:, shuffled], torch.tensor([AREAS[i] for i in shuffled], dtype=torch.float64))
    expected = [reference.nesting_violation(list(image.numpy()), AREAS) for image in masks]
    assert result.tolist() == pytest.approx(expected, abs=1e-12)
    assert nesting_violation(masks[:, :1], torch.tensor([0.1])).tolist() == [0, 0, 0]
    assert nesting_violation(masks.sort(dim=1).values, torch.tensor(AREAS)).tolist() == [0, 0, 0]


def test_overlap_against_sets() -> None:
    hard = torch.rand(2, 3, 2, 6, 5, generator=torch.Generator().manual_seed(2)) < 0.4
    hard[1, 2] = False
    result = overlap(hard)
    for image in range(2):
        for area in range(2):
            for first in range(3):
                for second in range(3):
                    pair = hard[image, first, area].numpy(), hard[image, second, area].numpy()
                    assert float(result[image, area, first, second]) == pytest.approx(
                        reference.intersection_over_union(*pair), abs=1e-6
                    )


@pytest.mark.parametrize(
    "function",
    [
        lambda masks, areas: hard_masks(masks, areas, generators=draws(1)),
        area_error,
        lambda masks, areas: grayness(masks),
        rank_violation,
        share_above_half,
        nesting_violation,
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(function, dtype: torch.dtype, bad: float) -> None:
    masks = torch.full((1, 2, 4, 4), 0.5, dtype=dtype)
    function(masks, torch.tensor([0.1, 0.2]))
    masks[0, 1, 2, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        function(masks, torch.tensor([0.1, 0.2]))


def test_half_precision_masks_are_computed_in_single_precision() -> None:
    # 300 x 300 ones sum to more than float16 can hold.
    masks = torch.ones(1, 1, 300, 300, dtype=torch.float16)
    area = torch.tensor([0.25], dtype=torch.float16)
    assert float(area_error(masks, area)) == 0.75
    assert float(rank_violation(masks, area)) == pytest.approx(0.75, abs=1e-6)
    assert float(grayness(masks)) == 0
