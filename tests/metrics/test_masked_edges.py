"""Hallucination: against loops and SciPy's Sobel, and masks whose new edges are known."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from inr_xai.metrics.masked_edges import Hallucination, edges, hallucination
from tests.helpers.metric_inputs import photos

GREY = torch.full((3, 3, 24, 24), 0.5, dtype=torch.float64)
MASKS = torch.rand(3, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).round()
MASKS = MASKS.repeat_interleave(4, 2).repeat_interleave(4, 3)  # squares of four pixels


def edges_by_scipy(image: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    grey = image.sum(0) / 3
    down, across = (scipy.ndimage.sobel(grey, axis=axis, mode="nearest") / 8 for axis in (0, 1))
    places = np.ndindex(grey.shape)
    return {place for place in places if math.sqrt(down[place] ** 2 + across[place] ** 2 + 1e-6) > threshold}


@pytest.mark.parametrize("threshold", [0.03, 0.1])
def test_values_against_loops(threshold: float) -> None:
    images = photos()
    result = hallucination(images, MASKS, baseline=GREY, threshold=threshold)
    for i in range(3):
        own = edges_by_scipy(images[i].numpy(), threshold)
        found = {tuple(place) for place in edges(images[i : i + 1], threshold)[0].nonzero().tolist()}
        assert found == own
        near = {(row + down, column + right) for row, column in own for down in (-1, 0, 1) for right in (-1, 0, 1)}
        for j in range(2):
            weight = MASKS[i, j].numpy()
            picture = weight * images[i].numpy() + (1 - weight) * GREY[i].numpy()
            new = edges_by_scipy(picture, threshold) - near
            expected = len(new) / len(own) if own else math.nan
            assert float(result[i, j]) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert result[result.isfinite()].max() > 0


def test_no_edge_is_new_if_all_or_nothing_is_kept_on_a_plain_ground() -> None:
    ends = torch.stack([torch.ones(3, 24, 24), torch.zeros(3, 24, 24)], dim=1)
    assert hallucination(photos(), ends, baseline=GREY, threshold=0.03).tolist() == [[0, 0]] * 3


def test_a_mask_along_the_edges_of_the_image_adds_none_and_one_across_does() -> None:
    image = torch.zeros(1, 3, 24, 24)
    image[:, :, 6:18, 6:18] = 1
    square = image[:, :1].clone()
    across = torch.zeros(1, 1, 24, 24)
    across[..., :12] = 1
    call = {"baseline": torch.zeros_like(image)}
    assert hallucination(image, square, **call).item() == 0
    # The cut is two columns of 12 pixels, of which the outer two at either end touch an edge of the image.
    count = int(edges(image, 0.1).sum())
    assert hallucination(image, across, **call).item() == pytest.approx(2 * (12 - 4) / count)
    assert hallucination(image, across, baseline=image).item() == 0


def test_an_image_without_edges_has_no_value_whether_or_not_a_mask_adds_some() -> None:
    masks = torch.ones(1, 2, 8, 8)
    masks[:, 1, :4] = 0
    assert hallucination(torch.full((1, 1, 8, 8), 0.5), masks, baseline=torch.zeros(1, 1, 8, 8)).isnan().all()


@pytest.mark.parametrize("name", ["images", "masks", "baselines"])
def test_values_outside_the_unit_range_are_one_sentence(name: str) -> None:
    images, masks, baseline = photos(), MASKS, GREY
    changed = {"images": images, "masks": masks, "baselines": baseline}
    changed[name] = changed[name] - 0.9
    with pytest.raises(ValueError, match=rf"expected {name} in \[0, 1\]"):
        hallucination(changed["images"], changed["masks"], baseline=changed["baselines"])


def test_the_class_is_a_mean_over_all_processes() -> None:
    first, second = Hallucination(), Hallucination()
    first.update(torch.tensor([[0.25, 0.75]]))
    second.update(torch.tensor([[0.5, 1.5]]))
    first.merge_state(second)
    assert float(first.compute()) == 0.75
    assert Hallucination.higher_is_better is False
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([[torch.nan]]))
