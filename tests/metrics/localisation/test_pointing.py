"""The pointing game against loops, TorchRay and Quantus."""

import math
import warnings

import numpy as np
import pytest
import scipy.ndimage
import torch

from inr_xai.metrics.localisation.pointing import PointingGame, peaks, pointing_hits, smoothed
from tests.helpers.metric_inputs import draws


def random_maps(images: int = 30, height: int = 23, width: int = 31) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns maps with one largest value each, and objects of few pixels, at least one an image."""
    random = torch.Generator().manual_seed(1)
    maps = torch.randn(images, height, width, generator=random, dtype=torch.float64)
    truth = torch.rand(images, height, width, generator=random) < 0.004
    truth[:, 5, 7] = True
    return maps, truth


def hit_by_loops(saliency: np.ndarray, truth: np.ndarray, tolerance: float) -> bool:
    _, top, left = max((value, i, j) for (i, j), value in np.ndenumerate(saliency))
    return any(math.dist((top, left), (int(i), int(j))) < tolerance for i, j in np.argwhere(truth))


@pytest.mark.parametrize("tolerance", [1, 2.5, 5, 15.0])
def test_hits_against_loops(tolerance: float) -> None:
    maps, truth = random_maps()
    result = pointing_hits(maps, truth, generators=draws(30), tolerance=tolerance).tolist()
    expected = [hit_by_loops(a.numpy(), b.numpy(), tolerance) for a, b in zip(maps, truth, strict=True)]
    assert result == expected
    assert len(set(expected)) == 1 + (tolerance > 1)


def test_a_distance_of_the_tolerance_is_a_miss() -> None:
    maps, truth = torch.zeros(2, 20, 20), torch.zeros(2, 20, 20, dtype=torch.bool)
    maps[:, 1, 2] = 1
    truth[0, 10, 14] = True  # 9 down, 12 to the right: 15
    truth[1, 10, 13] = True
    assert pointing_hits(maps, truth, generators=draws(2)).tolist() == [False, True]
    assert pointing_hits(maps, truth, generators=draws(2), tolerance=15.01).tolist() == [True, True]


def test_ties_are_uniform_and_follow_the_generator() -> None:
    maps = torch.zeros(400, 3, 4)
    maps[:, 1, :3] = 0.5
    maps[:, 2, 3] = 0.5
    result = peaks(maps, generators=draws(400))
    counts = torch.zeros(3, 4).index_put(tuple(result.T), torch.ones(400), accumulate=True)
    assert torch.equal(counts > 0, maps[0] > 0)
    assert (counts[counts > 0] / 400 - 0.25).abs().max() < 4.5 * math.sqrt(0.25 * 0.75 / 400)
    assert torch.equal(peaks(maps[:40], generators=draws(40)), result[:40])
    assert not torch.equal(peaks(maps[:40], generators=draws(40, seed=1)), result[:40])
    assert torch.equal(peaks(maps[7:8], generators=draws(8)[7:])[0], result[7])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_peaks_are_those_of_the_values_as_stored(dtype: torch.dtype) -> None:
    maps = random_maps()[0].to(dtype)
    result = peaks(maps, generators=draws(30))
    assert torch.equal(maps[range(30), result[:, 0], result[:, 1]], maps.amax((1, 2)))


def test_what_is_refused() -> None:
    maps, truth = random_maps(3)
    truth[1] = False
    with pytest.raises(ValueError, match=r"none in the images \[1\]"):
        pointing_hits(maps, truth, generators=draws(3))
    with pytest.raises(ValueError, match="one generator per image, 3, got 2"):
        pointing_hits(*random_maps(3), generators=draws(2))
    maps[2, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        peaks(maps, generators=draws(3))


def test_smoothing_against_scipy() -> None:
    maps, _ = random_maps(2)
    result = smoothed(maps, 0.1)
    expected = [scipy.ndimage.gaussian_filter(values.numpy(), 2.3, mode="constant", truncate=4) for values in maps]
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)
    assert torch.equal(smoothed(maps, 0), maps)
    assert not torch.allclose(result[:, 0], scipy_mirrored(maps)[:, 0], atol=0.01)  # the border matters


def scipy_mirrored(maps: torch.Tensor) -> torch.Tensor:
    return torch.tensor(scipy.ndimage.gaussian_filter(maps.numpy(), (0, 2.3, 2.3), mode="reflect"))


def test_the_class_is_a_mean_over_the_classes_that_occurred() -> None:
    maps, truth = random_maps()
    targets = torch.tensor([0, 3, 3] * 10)
    hits = pointing_hits(maps, truth, generators=draws(30), tolerance=5)
    first, second = PointingGame(5, tolerance=5), PointingGame(5, tolerance=5)
    first.update(maps[:13], truth[:13], targets[:13], generators=draws(30)[:13])
    second.update(maps[13:], truth[13:], targets[13:], generators=draws(30)[13:])
    first.merge_state(second)
    by_class = [hits[targets == target].double().mean() for target in (0, 3)]
    assert by_class[0] != by_class[1]
    assert float(first.compute()) == pytest.approx(float(sum(by_class)) / 2)
    assert first.trials.tolist() == [10, 0, 0, 20, 0]
    with pytest.raises(ValueError, match="from 0 to 4"):
        first.update(maps[:1], truth[:1], torch.tensor([5]), generators=draws(1))


@pytest.mark.slow
def test_torchray_agrees() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        benchmark = pytest.importorskip("torchray.benchmark.pointing_game")
        utils = pytest.importorskip("torchray.utils")
        maps, truth = random_maps(200, 40, 50)
        targets = torch.arange(200) % 4
        theirs, ours = benchmark.PointingGame(num_classes=5), PointingGame(5)
        for values, marks, target in zip(maps, truth, targets.tolist(), strict=True):
            row, column = divmod(int(values.argmax()), 50)
            theirs.aggregate(theirs.evaluate(marks, (column, row)), target)
        blurred = utils.imsmooth(maps[:, None].float(), sigma=0.1 * 40)[:, 0]
    ours.update(maps, truth, targets, generators=draws(200))
    assert torch.equal(ours.hits.double(), theirs.hits)
    assert torch.equal(ours.trials - ours.hits, theirs.misses.long())
    # TorchRay counts a class that never occurred as one with nothing but misses.
    assert float(ours.compute()) == pytest.approx(float(theirs.accuracy) * 5 / 4)
    assert float((smoothed(maps.float(), 0.1) - blurred).abs().max()) < 1e-6


@pytest.mark.slow
def test_quantus_has_no_tolerance_and_takes_any_of_the_largest() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus")
    theirs = quantus.PointingGame(disable_warnings=True)
    maps, truth = random_maps(200)
    truth[::2] |= maps[::2] > 2.7  # enough hits
    result = pointing_hits(maps, truth, generators=draws(200), tolerance=1)
    assert result.tolist() == theirs.evaluate_batch(a_batch=maps.numpy(), s_batch=truth.numpy()).tolist()
    assert 0.1 < result.double().mean() < 0.9
    # A binary mask with a tenth of its pixels on the object: Quantus counts a hit always, and we count one in ten.
    binary, marked = torch.zeros(500, 5, 8), torch.zeros(500, 5, 8, dtype=torch.bool)
    binary[:, :4, :5] = 1
    marked[:, 0, :2] = True
    assert theirs.evaluate_batch(a_batch=binary.numpy(), s_batch=marked.numpy()).all()
    share = pointing_hits(binary, marked, generators=draws(500), tolerance=1).double().mean()
    assert float(share) == pytest.approx(0.1, abs=4.5 * math.sqrt(0.1 * 0.9 / 500))
