"""Metrics of masks against slow oracles, and the statistics of the baselines."""

import math

import numpy as np
import pytest
import torch

from inr_xai import metrics
from inr_xai.masks import pixel_counts
from inr_xai.metrics.masks import Overlap
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.seeding import generator
from tests.helpers import reference

AREAS = (0.05, 0.3, 0.5)


def some_masks(images: int = 3, areas: int = len(AREAS), size: tuple[int, int] = (9, 11), levels: int = 6):
    """Masks of few values, so that there are ties everywhere."""
    drawn = torch.randint(0, levels + 1, (images, areas, *size), generator=torch.Generator().manual_seed(0))
    return drawn.double() / levels


def draws(count: int, seed: int = 0) -> list[torch.Generator]:
    return [generator(seed, image) for image in range(count)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("restricted", [False, True])
def test_hard_masks_are_the_largest_values(dtype: torch.dtype, restricted: bool) -> None:
    masks = some_masks().to(dtype)
    free = torch.rand(masks.shape, generator=torch.Generator().manual_seed(1)) < 0.4 if restricted else None
    hard = metrics.hard_masks(masks, torch.tensor(AREAS), generators=draws(3), free=free)
    for image in range(3):
        for position, area in enumerate(AREAS):
            own = None if free is None else free[image, position].numpy()
            must, may, count = reference.hard_mask_bounds(masks[image, position].double().numpy(), area, own)
            chosen = set(hard[image, position].flatten().nonzero().flatten().tolist())
            assert must <= chosen <= may
            assert len(chosen) == count


def test_hard_masks_take_all_free_pixels_where_they_are_too_few() -> None:
    free = torch.zeros(2, 1, 5, 5, dtype=torch.bool)
    free[..., 0, :3] = True
    hard = metrics.hard_masks(torch.rand(2, 1, 5, 5), torch.tensor([0.5]), generators=draws(2), free=free)
    assert torch.equal(hard, free)


def test_an_area_below_one_pixel_keeps_none() -> None:
    assert not metrics.hard_masks(torch.rand(1, 1, 3, 3), torch.tensor([0.1]), generators=draws(1)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixel_counts_round_down_but_not_below_whole_numbers(dtype: torch.dtype) -> None:
    sides = [32, 96, 224, 230, 384]
    for area in (0.01, 0.05, 0.1, 0.29, 0.3, 0.7, 0.9, 1 / 3):
        wanted = [math.floor(area * side * side + 1e-6) for side in sides]
        assert [pixel_counts(torch.tensor([area], dtype=dtype), side * side)[0] for side in sides] == wanted


def test_half_precision_areas_are_their_decimals_and_bfloat16_is_refused() -> None:
    tenths = [place / 10 for place in range(1, 10)]
    assert pixel_counts(torch.tensor(tenths).half(), 100) == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    hard = metrics.hard_masks(torch.rand(1, 1, 10, 10), torch.tensor([0.1]).half(), generators=draws(1))
    assert hard.sum() == 10
    with pytest.raises(ValueError, match=r"areas in float16 or better, got bfloat16.*give float32"):
        metrics.hard_masks(torch.rand(1, 1, 10, 10), torch.tensor([0.1]).bfloat16(), generators=draws(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("area", [0.13, 0.26, 0.52, 0.7])
def test_a_hard_mask_violates_no_rank(dtype: torch.dtype, area: float) -> None:
    """In single precision 0.13 of 52,900 pixels are 6876.9995."""
    areas = torch.tensor([area], dtype=dtype)
    hard = metrics.hard_masks(torch.rand(1, 1, 230, 230), areas, generators=draws(1))
    assert hard.sum() == round(52900 * area)
    assert float(metrics.rank_violation(hard.float(), areas)) == 0


def test_ties_are_uniform_and_follow_the_generator() -> None:
    constant = torch.full((3000, 1, 4, 4), 0.25)
    area = torch.tensor([0.25])
    hard = metrics.hard_masks(constant, area, generators=draws(3000))
    frequency = hard.double().mean((0, 1))
    assert (frequency - 0.25).abs().max() < 4.5 * math.sqrt(0.25 * 0.75 / 3000)
    assert torch.equal(hard[:50], metrics.hard_masks(constant[:50], area, generators=draws(50)))
    assert not torch.equal(hard[:50], metrics.hard_masks(constant[:50], area, generators=draws(50, seed=1)))


def test_hard_masks_of_an_image_depend_on_neither_other_images_nor_other_areas() -> None:
    masks = some_masks()
    together = metrics.hard_masks(masks, torch.tensor(AREAS), generators=draws(3))
    for image in range(3):
        for position, area in enumerate(AREAS):
            alone = metrics.hard_masks(
                masks[image, position][None, None], torch.tensor([area]), generators=[generator(0, image)]
            )
            assert torch.equal(alone[0, 0], together[image, position])


def test_geometry_against_loops() -> None:
    masks, areas = some_masks(), torch.tensor(AREAS, dtype=torch.float64)
    columns = {
        "area": metrics.area_error(masks, areas),
        "gray": metrics.grayness(masks),
        "rank": metrics.rank_violation(masks, areas),
        "half": metrics.share_above_half(masks, areas),
    }
    for image in range(3):
        for position, area in enumerate(AREAS):
            mask = masks[image, position].numpy()
            values = [float(value) for value in mask.ravel()]
            wanted = {
                "area": abs(sum(values) / len(values) - area),
                "gray": sum(4 * value * (1 - value) for value in values) / len(values),
                "rank": reference.rank_violation(mask, area),
                "half": abs(sum(value > 0.5 for value in values) / len(values) - area),
            }
            found = {name: float(column[image, position]) for name, column in columns.items()}
            assert found == pytest.approx(wanted, abs=1e-7)


def test_nesting_violation_against_loops_in_any_order_of_areas() -> None:
    masks = some_masks()
    shuffled = [2, 0, 1]
    found = metrics.nesting_violation(
        masks[:, shuffled], torch.tensor([AREAS[i] for i in shuffled], dtype=torch.float64)
    )
    wanted = [reference.nesting_violation(list(image.numpy()), AREAS) for image in masks]
    assert found.tolist() == pytest.approx(wanted, abs=1e-12)
    assert metrics.nesting_violation(masks[:, :1], torch.tensor([0.1])).tolist() == [0, 0, 0]
    assert metrics.nesting_violation(masks.sort(dim=1).values, torch.tensor(AREAS)).tolist() == [0, 0, 0]


def test_overlap_against_sets() -> None:
    hard = torch.rand(2, 3, 2, 6, 5, generator=torch.Generator().manual_seed(2)) < 0.4
    hard[1, 2] = False
    found = metrics.overlap(hard)
    for image in range(2):
        for area in range(2):
            for one in range(3):
                for other in range(3):
                    pair = hard[image, one, area].numpy(), hard[image, other, area].numpy()
                    assert float(found[image, area, one, other]) == pytest.approx(
                        reference.intersection_over_union(*pair), abs=1e-6
                    )


@pytest.mark.parametrize(
    "function",
    [
        lambda masks, areas: metrics.hard_masks(masks, areas, generators=draws(1)),
        metrics.area_error,
        lambda masks, areas: metrics.grayness(masks),
        metrics.rank_violation,
        metrics.share_above_half,
        metrics.nesting_violation,
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
    assert float(metrics.area_error(masks, area)) == 0.75
    assert float(metrics.rank_violation(masks, area)) == pytest.approx(0.75, abs=1e-6)
    assert float(metrics.grayness(masks)) == 0


def baselines_of(images: torch.Tensor, names: list[str], seed: int = 0) -> dict[str, torch.Tensor]:
    photos = torch.rand(len(images), 3, *images.shape[1:], generator=torch.Generator().manual_seed(9)).to(images)
    colour = torch.tensor([0.5, 0.4, 0.3])
    return metrics.scoring_baselines(images, names, seed=seed, colour_mean=colour, photos=photos) | {"given": photos}


def test_baselines_are_what_they_are_called() -> None:
    images = torch.rand(2, 3, 28, 42, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    drawn = baselines_of(images, ["a", "b"])
    wanted = reference.gaussian_blur(images[1, 2].numpy(), 20 * 28 / 224)
    np.testing.assert_allclose(drawn["blur"][1, 0, 2].numpy(), wanted, atol=1e-12)
    colour = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float32).double()
    assert torch.equal(drawn["grey"], colour.reshape(1, 1, 3, 1, 1).expand(2, 1, 3, 28, 42))
    assert torch.equal(drawn["photo"], drawn["given"])


def test_noise_has_the_moments_of_a_clipped_gaussian() -> None:
    noise = baselines_of(torch.rand(2, 3, 96, 96), ["a", "b"])["noise"]
    assert noise.shape == (2, 4, 3, 96, 96)
    assert noise.min() == 0
    assert noise.max() == 1
    # Around 0.5 the clipping is at z = 2 on either side: variance = E[min(z^2, 4)] / 16.
    density, tail = math.exp(-2) / math.sqrt(2 * math.pi), math.erfc(2 / math.sqrt(2)) / 2
    variance = (1 - 2 * tail - 4 * density + 8 * tail) / 16
    red = noise[:, :, 0]
    assert float(red.mean()) == pytest.approx(0.5, abs=0.004)
    assert float(red.var()) == pytest.approx(variance, rel=0.02)
    # Four draws of two images: eight independent fields.
    assert torch.corrcoef(red.flatten(2).flatten(0, 1)).fill_diagonal_(0).abs().max() < 0.05


def test_noise_depends_on_seed_and_id_alone() -> None:
    images = torch.rand(3, 3, 8, 8)
    together = baselines_of(images, ["a", "b", "c"])["noise"]
    assert torch.equal(baselines_of(images[:1], ["c"])["noise"][0], together[2])
    assert not torch.equal(baselines_of(images, ["a", "b", "c"], seed=1)["noise"], together)


def test_baselines_refuse_an_empty_pool() -> None:
    with pytest.raises(ValueError, match="photo"):
        metrics.scoring_baselines(
            torch.rand(1, 3, 8, 8), ["a"], seed=0, colour_mean=torch.zeros(3), photos=torch.rand(1, 0, 3, 8, 8)
        )


def test_smooth_fields_are_stationary_with_the_filters_correlation() -> None:
    fields = smooth_fields((20, 20), generators=draws(40), count=50).flatten(0, 1).double()
    variance = fields.var(dim=0)
    border = torch.cat([variance[0], variance[-1], variance[:, 0], variance[:, -1]]).mean()
    assert float(border / variance[5:15, 5:15].mean()) == pytest.approx(1, abs=0.05)
    product = (fields[:, :, :-3] * fields[:, :, 3:]).mean() / (fields**2).mean()
    assert float(product) == pytest.approx(math.exp(-(3**2) / (4 * 2.0**2)), abs=0.03)


def test_smooth_fields_of_an_image_depend_on_its_generator_alone() -> None:
    together = smooth_fields((9, 7), generators=draws(3))
    assert torch.allclose(smooth_fields((9, 7), generators=draws(3)[2:])[0], together[2], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=0.1)


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (metrics.AreaError, metrics.area_error),
        (metrics.Grayness, lambda masks, areas: metrics.grayness(masks)),
        (metrics.RankViolation, metrics.rank_violation),
        (metrics.ShareAboveHalf, metrics.share_above_half),
        (metrics.NestingViolation, metrics.nesting_violation),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_classes_are_means_over_all_processes(metric, function, dtype: torch.dtype) -> None:
    masks, areas = some_masks().to(dtype), torch.tensor(AREAS)
    arguments = (lambda some: (some,)) if metric is metrics.Grayness else (lambda some: (some, areas))
    first, second = metric(), metric()
    first.update(*arguments(masks[:1]))
    second.update(*arguments(masks[1:]))
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(function(masks, areas).mean()), abs=1e-6)
    assert not metric.higher_is_better
    with pytest.raises(ValueError, match="NaN"):
        first.update(*arguments(torch.full_like(masks, torch.nan)))


def test_overlap_class_is_the_mean_over_pairs_of_different_explanations() -> None:
    hard = torch.rand(2, 3, 2, 6, 5, generator=torch.Generator().manual_seed(2)) < 0.4
    first, second = Overlap(), Overlap()
    first.update(hard[:1])
    second.update(hard[1:])
    second.update(hard[:, :1])  # one explanation alone: no pair
    first.merge_state(second)
    wanted = [
        reference.intersection_over_union(image[one, area].numpy(), image[other, area].numpy())
        for image in hard
        for area in range(2)
        for one, other in ((0, 1), (0, 2), (1, 2))
    ]
    assert float(first.compute()) == pytest.approx(sum(wanted) / len(wanted), abs=1e-6)
    assert not Overlap.higher_is_better


@pytest.mark.parametrize(("metric", "better"), [(metrics.PreservationRatio, True), (metrics.DeletionRatio, False)])
def test_ratio_classes_divide_means(metric, better: bool) -> None:
    first, second = metric(), metric()
    first.update(torch.tensor([0.1], dtype=torch.float16), torch.tensor([0.2], dtype=torch.float16))
    second.update(torch.tensor([0.3, 0.002]), torch.tensor([0.9, 0.001]))
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(0.402 / 1.101, abs=1e-4)  # the mean of ratios is 0.94
    assert metric.higher_is_better is better
    for bad in (torch.nan, torch.inf):
        for pair in ((bad, 0.5), (0.5, bad)):
            with pytest.raises(ValueError, match="NaN or infinity"):
                first.update(*map(torch.tensor, [[value] for value in pair]))


def test_a_mean_takes_no_infinity() -> None:
    mean = metrics.MaxSensitivity()
    for bad in (torch.inf, -torch.inf, torch.nan):
        with pytest.raises(ValueError, match="NaN or infinity"):
            mean.update(torch.tensor([0.5, bad]))
    mean.update(torch.tensor([0.5]))
    assert float(mean.compute()) == 0.5
