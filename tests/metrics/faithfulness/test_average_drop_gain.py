"""Average drop, increase and gain: by hand, and against pytorch-grad-cam, which does not divide by p."""

import pytest
import torch

from inr_xai.metrics.faithfulness.average_drop_gain import (
    AverageDrop,
    AverageGain,
    AverageIncrease,
    average_drop,
    average_gain,
    average_increase,
    masked_images,
)
from tests.helpers.metric_inputs import NETWORK, TARGETS, distinct_maps, photos, score, tied_maps

WHOLE = torch.tensor([0.5, 0.5, 0.8, 0.0, 1.0], dtype=torch.float64)
KEPT = torch.tensor([0.2, 0.75, 0.8, 0.3, 0.9], dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (average_drop, [0.6, 0, 0, 0, 0.1]),
        (average_increase, [0, 1, 0, 1, 0]),
        (average_gain, [0, 0.5, 0, 0.3, 0]),
    ],
)
def test_values_by_hand(function, expected: list[float]) -> None:
    assert function(KEPT, WHOLE).tolist() == pytest.approx(expected, abs=1e-12)
    assert function(KEPT[1:2], WHOLE[1:2]).tolist() == pytest.approx(expected[1:2], abs=1e-12)


def test_masked_images_against_loops() -> None:
    images, baseline = photos(), photos(6)[3:]
    black, between = masked_images(images, tied_maps()), masked_images(images, distinct_maps(), baseline=baseline)
    for i in range(3):
        low, high = float(distinct_maps()[i].min()), float(distinct_maps()[i].max())
        scale = (distinct_maps()[i] - low) / (high - low)
        for c in range(3):
            torch.testing.assert_close(black[i, c], images[i, c] * tied_maps()[i], rtol=0, atol=1e-12)
            expected = images[i, c] * scale + baseline[i, c] * (1 - scale)
            torch.testing.assert_close(between[i, c], expected, rtol=0, atol=1e-12)


def test_scale_and_offset_of_a_map_are_without_effect_and_a_constant_map_keeps_nothing() -> None:
    images = photos()
    result = masked_images(images, 50 * distinct_maps() - 8)
    torch.testing.assert_close(result, masked_images(images, distinct_maps()), rtol=0, atol=1e-12)
    assert not masked_images(images, torch.full((3, 24, 24), 0.7)).any()
    assert torch.equal(masked_images(images, torch.ones(3, 24, 24), baseline=images.flip(0)), images.flip(0))


@pytest.mark.slow
def test_grad_cam_has_the_drop_without_the_division() -> None:
    cams = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image")
    model_targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    images, maps = photos(), tied_maps()  # in [0, 1] already, since the package does not scale them
    targets = [model_targets.ClassifierOutputSoftmaxTarget(int(target)) for target in TARGETS]
    whole, kept = score(images, TARGETS), score(masked_images(images, maps), TARGETS)
    # The package multiplies c x h x w by h x w, image by image.
    call = images, maps.numpy(), targets, NETWORK
    drop, increase = torch.from_numpy(cams.DropInConfidence()(*call)), cams.IncreaseInConfidence()(*call)
    torch.testing.assert_close(average_drop(kept, whole) * whole, drop.double(), rtol=0, atol=1e-6)
    assert average_increase(kept, whole).tolist() == increase.tolist()


@pytest.mark.parametrize("bad", [torch.nan, -0.1, 1.5])
@pytest.mark.parametrize("function", [average_drop, average_increase, average_gain])
def test_what_is_no_probability_is_refused(function, bad: float) -> None:
    for kept, whole in [(torch.tensor([bad]), torch.tensor([0.5])), (torch.tensor([0.5]), torch.tensor([bad]))]:
        with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\]"):
            function(kept, whole)


@pytest.mark.parametrize(
    ("metric", "function", "better"),
    [
        (AverageDrop, average_drop, False),
        (AverageIncrease, average_increase, True),
        (AverageGain, average_gain, True),
    ],
)
def test_classes_are_means_over_all_processes(metric, function, better: bool) -> None:
    first, second = metric(), metric()
    first.update(KEPT[:2].half(), WHOLE[:2].half())
    second.update(KEPT[2:].half(), WHOLE[2:].half())
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(function(KEPT, WHOLE).mean()), abs=1e-3)
    assert metric.higher_is_better is better
