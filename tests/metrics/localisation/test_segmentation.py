"""Masks against a segmentation: sets of pixels as oracle, and the mask cut to the object's size."""

import inspect

import numpy as np
import pytest
import torch

from inr_xai.metrics.localisation import segmentation
from inr_xai.metrics.localisation.segmentation import matched_area_mask, size_bin
from tests.helpers.metric_inputs import draws

FUNCTIONS = [segmentation.intersection_over_union, segmentation.precision, segmentation.recall]
CLASSES = [segmentation.IntersectionOverUnion, segmentation.Precision, segmentation.Recall]


def random_masks() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns hard masks (one empty, one only on pixels to ignore), objects, and pixels to ignore."""
    random = torch.Generator().manual_seed(2)
    hard = torch.rand(3, 2, 6, 7, generator=random) < 0.4
    truth, ignore = (torch.rand(3, 6, 7, generator=random) < share for share in (0.3, 0.2))
    hard[1, 0] = False
    hard[2, 1] = ignore[2]
    return hard, truth, ignore


def pixels(mask: torch.Tensor) -> set[int]:
    return set(np.flatnonzero(mask.numpy()).tolist())


@pytest.mark.parametrize("ignoring", [False, True])
def test_against_sets(ignoring: bool) -> None:
    hard, truth, ignore = random_masks()
    result = [function(hard, truth, ignore=ignore if ignoring else None) for function in FUNCTIONS]
    for image in range(3):
        out = pixels(ignore[image]) if ignoring else set()
        for area in range(2):
            mask, marked = pixels(hard[image, area]) - out, pixels(truth[image]) - out
            common = len(mask & marked)
            expected = [common / len(mask | marked), common / len(mask) if mask else 0, common / len(marked)]
            assert [float(values[image, area]) for values in result] == pytest.approx(expected, abs=1e-7)


def test_identities() -> None:
    hard, truth, ignore = random_masks()
    itself = truth.unsqueeze(1)
    assert all((function(itself, truth, ignore=ignore) == 1).all() for function in FUNCTIONS)
    assert all((function(~itself, truth, ignore=ignore) == 0).all() for function in FUNCTIONS)
    iou, precision, recall = (function(hard, truth) for function in FUNCTIONS)
    dice = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
    torch.testing.assert_close(iou, dice / (2 - dice))


def test_a_mask_of_fixed_area_reaches_the_stated_bounds() -> None:
    truth = torch.zeros(2, 10, 10, dtype=torch.bool)
    truth[0, :2] = truth[1, :6] = True
    hard = torch.zeros(2, 1, 10, 10, dtype=torch.bool)
    hard[..., :4, :] = True
    values = [function(hard, truth).flatten().tolist() for function in FUNCTIONS]
    for result, expected in zip(values, [(0.2 / 0.4, 0.4 / 0.6), (0.2 / 0.4, 1), (1, 0.4 / 0.6)], strict=True):
        assert result == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize("ignoring", [False, True])
def test_the_matched_mask_has_the_largest_values_and_the_size_of_the_object(ignoring: bool, dtype: torch.dtype) -> None:
    _, truth, marked = random_masks()
    maps = torch.randint(-2, 3, (3, 6, 7), generator=torch.Generator().manual_seed(3)).to(dtype)
    ignore = marked if ignoring else None
    hard = matched_area_mask(maps, truth, generators=draws(3), ignore=ignore)
    for image in range(3):
        allowed = set(range(42)) - (pixels(marked[image]) if ignoring else set())
        chosen = pixels(hard[image])
        assert chosen <= allowed
        assert len(chosen) == len(pixels(truth[image]) & allowed)
        values = maps[image].flatten().tolist()
        assert min(values[place] for place in chosen) >= max(values[place] for place in allowed - chosen)
    assert torch.equal(*(function(hard[:, None], truth, ignore=ignore) for function in FUNCTIONS[1:]))


def test_the_matched_mask_of_an_image_depends_on_its_map_and_generator_alone() -> None:
    _, truth, _ = random_masks()
    constant = torch.zeros(3, 6, 7)
    together = matched_area_mask(constant, truth, generators=draws(3))
    alone = matched_area_mask(constant[2:], truth[2:], generators=draws(3)[2:])
    assert torch.equal(alone[0], together[2])
    assert not torch.equal(matched_area_mask(constant, truth, generators=draws(3, seed=1)), together)


def test_the_matched_mask_of_every_size_has_that_size() -> None:
    sizes = range(1, 64)
    truth = torch.arange(63).reshape(1, 7, 9) < torch.tensor(sizes)[:, None, None]
    hard = matched_area_mask(torch.zeros(63, 7, 9), truth, generators=draws(63))
    assert hard.sum((1, 2)).tolist() == list(sizes)


def test_size_bins_end_with_their_edges() -> None:
    places = torch.arange(100).reshape(1, 10, 10)
    truth = places < torch.tensor([1, 5, 6, 25, 26, 50, 51, 100])[:, None, None]
    assert size_bin(truth).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert size_bin(truth, edges=(0.5, 1)).tolist() == [0] * 6 + [1] * 2
    # Half of the image counts, so the edges are 5, 25 and 50 of 50 pixels.
    ignore = (places >= 50).expand(8, -1, -1)
    assert size_bin(truth, ignore=ignore).tolist() == [0, 1, 1, 2, 3, 3, 3, 3]
    with pytest.raises(ValueError, match=r"at most 0.5 of the image, got 1.0"):
        size_bin(truth, edges=(0.1, 0.5))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_image_without_object_is_refused(function) -> None:
    hard, truth, _ = random_masks()
    with pytest.raises(ValueError, match=r"none in the images \[0, 2\]"):
        function(hard, truth, ignore=truth & torch.tensor([True, False, True])[:, None, None])
    unchecked = inspect.unwrap(segmentation.labelled)  # as in a run: without the shape checks of the tests
    with pytest.raises(ValueError, match=r"shape \(3, 6, 7\).*got truth of \(3, 6, 6\)"):
        unchecked(truth[..., :-1], truth.shape)


def test_what_else_the_matched_mask_refuses() -> None:
    _, truth, _ = random_masks()
    with pytest.raises(ValueError, match="one generator per image, 3, got 2"):
        matched_area_mask(torch.zeros(3, 6, 7), truth, generators=draws(2))
    with pytest.raises(ValueError, match="NaN or infinity"):
        matched_area_mask(torch.full((3, 6, 7), torch.inf), truth, generators=draws(3))


@pytest.mark.parametrize(("metric", "function"), list(zip(CLASSES, FUNCTIONS, strict=True)))
def test_classes_are_means_over_all_processes(metric, function) -> None:
    hard, truth, ignore = random_masks()
    first, second = metric(), metric()
    first.update(hard[:1], truth[:1], ignore=ignore[:1])
    second.update(hard[1:], truth[1:], ignore=ignore[1:])
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(function(hard, truth, ignore=ignore).mean()), abs=1e-6)
    assert metric.higher_is_better
