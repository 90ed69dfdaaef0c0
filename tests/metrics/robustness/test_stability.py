"""Agreement of masks from two runs: by hand, and against sets."""

import inspect

import pytest
import torch

from inr_xai import metrics
from tests.helpers import reference


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns random hard masks of two runs."""
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 3, 2, 7, 5, generator=draw) < 0.4
    return a, b


def test_intersection_over_union_against_sets() -> None:
    a, b = pair()
    result = metrics.mask_iou(a, b)
    for image in range(3):
        for area in range(2):
            expected = reference.intersection_over_union(a[image, area].numpy(), b[image, area].numpy())
            assert float(result[image, area]) == pytest.approx(expected, abs=1e-7)
    assert torch.equal(result, metrics.mask_iou(b, a))


def test_equal_masks_give_one_even_if_empty_and_disjoint_ones_give_zero() -> None:
    a, _ = pair()
    a[0, 0] = False
    assert (metrics.mask_iou(a, a) == 1).all()
    assert (metrics.mask_iou(a, ~a) == 0).all()
    assert float(metrics.mask_iou(a, torch.ones_like(a))[0, 0]) == 0


def test_masks_of_other_areas_are_refused_and_not_repeated() -> None:
    a, b = pair()
    unchecked = inspect.unwrap(metrics.mask_iou)  # as in a run: without the shape checks of the tests
    with pytest.raises(ValueError, match="same images and areas"):
        unchecked(a, b[:, :1])


def test_the_class_is_the_mean_over_all_processes() -> None:
    a, b = pair()
    first, second = metrics.SeedStability(), metrics.SeedStability()
    first.update(a[:1], b[:1])
    second.update(a[1:], b[1:])
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(metrics.mask_iou(a, b).mean()), rel=1e-6)
    assert metrics.SeedStability.higher_is_better is True
