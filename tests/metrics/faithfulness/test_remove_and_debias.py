"""ROAD: imputation against dense equations and pytorch-grad-cam, scores against loops, exact numbers of pixels."""

import math

import numpy as np
import pytest
import torch

from inr_xai.metrics.faithfulness.remove_and_debias import ROAD, linear_imputation, road, road_scores
from tests.helpers.metric_inputs import (
    NETWORK,
    TARGETS,
    distinct_maps,
    draws,
    order,
    photos,
    score,
    score_alone,
    tied_maps,
)

SIDE = 10  # 100 pixels: whole percentages are whole numbers of pixels


def dense_imputation(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Solves one equation per pixel: known pixels stay, removed ones are the weighted mean of their neighbours."""
    height, width = removed.shape
    equations, known = np.zeros((height * width, height * width)), np.zeros((height * width, len(image)))
    for row, column in np.ndindex(height, width):
        pixel = row * width + column
        equations[pixel, pixel] = 1
        if not removed[row, column]:
            known[pixel] = image[:, row, column]
            continue
        around = {
            (row + i) * width + column + j: 1 / 6 if i * j == 0 else 1 / 12
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
            if (i, j) != (0, 0) and 0 <= row + i < height and 0 <= column + j < width
        }
        for neighbour, weight in around.items():
            equations[pixel, neighbour] = -weight / sum(around.values())
    return np.linalg.solve(equations, known).T.reshape(image.shape)


def small() -> dict[str, torch.Tensor]:
    """Returns images of 10 x 10 pixels with maps without and with ties."""
    return {"images": photos(3, 12)[..., :SIDE, :SIDE], "maps": distinct_maps(3, SIDE), "tied": tied_maps(3, SIDE)}


def random_gaps(side: int = SIDE) -> torch.Tensor:
    """Returns removed pixels of three images, few to nearly all."""
    drawn = torch.rand(3, side, side, generator=torch.Generator().manual_seed(4))
    removed = drawn < torch.tensor([0.2, 0.6, 0.95]).reshape(3, 1, 1)
    removed[0, :, :4] = True  # a whole border
    return removed


def test_imputation_against_dense_equations() -> None:
    images, removed = small()["images"][..., :8], random_gaps()[..., :8]
    filled = linear_imputation(images, removed)
    for image in range(3):
        expected = dense_imputation(images[image].numpy(), removed[image].numpy())
        np.testing.assert_allclose(filled[image].numpy(), expected, rtol=0, atol=1e-12)
        alone = linear_imputation(images[image : image + 1], removed[image : image + 1])
        assert torch.equal(alone[0], filled[image])


def test_known_pixels_stay_and_a_slope_is_restored() -> None:
    slope = torch.arange(12.0).reshape(1, 1, 12, 1) + 2 * torch.arange(9.0)
    removed = torch.zeros(1, 12, 9, dtype=torch.bool)
    removed[:, 1:-1, 1:-1] = True  # not the border, where neighbours are missing on one side
    torch.testing.assert_close(linear_imputation(slope, removed), slope, rtol=0, atol=1e-5)
    images, gaps = small()["images"].half(), random_gaps()
    filled = linear_imputation(images, gaps)
    assert filled.dtype == torch.float16
    assert torch.equal(filled.masked_fill(gaps.unsqueeze(1), 0), images.masked_fill(gaps.unsqueeze(1), 0))
    assert torch.equal(linear_imputation(images, torch.zeros_like(gaps)), images)


@pytest.mark.parametrize("most_first", [True, False])
@pytest.mark.parametrize("kind", ["maps", "tied"])
@pytest.mark.slow
def test_scores_against_a_loop(most_first: bool, kind: str) -> None:
    images, maps = small()["images"], small()[kind]
    percentages = (0, 7, 50, 95.5)
    result = road_scores(
        *(score, images, TARGETS, maps), most_first=most_first, generators=draws(3), percentages=percentages, noise=0.1
    )
    for image, draw in enumerate(draws(3)):
        pixels = order(maps[image], draw)
        field = 0.1 * torch.randn(3, SIDE, SIDE, generator=draw).double().numpy()
        for position, count in enumerate((0, 7, 50, 95)):
            removed = np.zeros((SIDE, SIDE), dtype=bool)
            removed.flat[pixels[:count] if most_first else pixels[len(pixels) - count :]] = True
            filled = dense_imputation(images[image].numpy(), removed) + field * removed
            expected = score_alone(torch.from_numpy(filled), int(TARGETS[image]))
            assert float(result[image, position]) == pytest.approx(expected, abs=1e-10)


def test_combined_is_half_the_difference_of_the_means() -> None:
    call = score, small()["images"], TARGETS, small()["tied"]
    least, most = (road_scores(*call, most_first=first, generators=draws(3)) for first in (False, True))
    assert least.shape == (3, 9)
    combined = road(*call, generators=draws(3))
    assert torch.equal(combined, (least.mean(1) - most.mean(1)) / 2)
    options = {"percentages": (20, 70), "noise": 0.0}
    forth = road(*call[:3], small()["maps"], generators=draws(3), **options)
    back = road(*call[:3], -small()["maps"], generators=draws(3), **options)
    torch.testing.assert_close(forth, -back, rtol=0, atol=1e-12)


def test_both_directions_have_one_order_of_ties_and_one_field_of_noise() -> None:
    """LeRF and MoRF remove complementary halves of a constant map; a generator draws one order and one field."""
    seen: list[torch.Tensor] = []

    def watching(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.zeros(len(images))

    grey, constant = torch.full((2, 3, SIDE, SIDE), 0.5, dtype=torch.float64), torch.ones(2, SIDE, SIDE)
    used, unused = draws(2), draws(2)
    road(watching, grey, TARGETS[:2], constant, generators=used, percentages=(50, 90))
    changed = [(copies != 0.5).all(1) for copies in seen]
    for image in range(2):
        least, most = changed[image], changed[2 + image]
        assert torch.equal(least[0], ~most[0])
        both = (least[1] & most[1]).expand(3, -1, -1)
        assert both[0].sum() == 80
        torch.testing.assert_close(seen[image][1][both], seen[2 + image][1][both], rtol=0, atol=1e-12)
        order(constant[image], unused[image])
        torch.randn(3, SIDE, SIDE, generator=unused[image])
        assert torch.equal(used[image].get_state(), unused[image].get_state())


def test_a_binary_map_loses_exact_numbers_of_pixels_and_noise_falls_on_them_alone() -> None:
    seen = []

    def watching(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.zeros(len(images))

    grey, binary = torch.full((2, 3, 40, 40), 0.5, dtype=torch.float64), torch.zeros(2, 40, 40)
    binary[:, :10] = 1  # a quarter of the pixels
    road_scores(watching, grey, TARGETS[:2], binary, most_first=True, generators=draws(2), percentages=(10, 25, 60))
    for copies in seen:
        changed = (copies != 0.5).all(1)
        assert changed.sum((1, 2)).tolist() == [160, 400, 960]
        assert changed[0, :10].sum() == 160
        assert changed[1].eq(binary[0].bool()).all()
        assert changed[2, :10].all()
        noise = copies[2, :, changed[2]] - 0.5
        assert float(noise.mean()) == pytest.approx(0, abs=4.5 * 0.01 / math.sqrt(2880))
        assert float(noise.std()) == pytest.approx(0.01, rel=0.06)
    assert not torch.equal(seen[0], seen[1])


def test_a_score_depends_on_neither_other_images_nor_other_percentages() -> None:
    images, maps = small()["images"], small()["tied"]
    options = {"most_first": True, "noise": 0.1}
    together = road_scores(score, images, TARGETS, maps, generators=draws(3), percentages=(10, 30, 80), **options)
    for i in range(3):
        place = slice(i, i + 1)
        call = score, images[place], TARGETS[place], maps[place]
        alone = road_scores(*call, generators=draws(3)[place], percentages=(30,), **options)
        torch.testing.assert_close(alone[0, 0], together[i, 1], rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of NumPy, in the other package
def test_grad_cam_imputes_alike_and_scores_alike_without_noise() -> None:
    # Its threshold is a percentile of the pixels that stay; with 400 distinct values both remove the same pixels.
    theirs = pytest.importorskip("pytorch_grad_cam.metrics.road")
    model_targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    images, maps, removed = photos(3, 20), distinct_maps(3, 20), random_gaps(20)
    filled, impute = linear_imputation(images, removed), theirs.NoisyLinearImputer(noise=0.0)
    for image in range(3):
        expected = impute(images[image].float(), (~removed[image]).float())
        torch.testing.assert_close(filled[image], expected.double(), rtol=0, atol=1e-6)
    targets = [model_targets.ClassifierOutputSoftmaxTarget(int(target)) for target in TARGETS]
    call = images.float(), maps.numpy(), targets, lambda inputs: NETWORK(inputs.double())
    percentages = (10, 20, 50, 90)
    for most_first in (True, False):
        result = road_scores(
            *(score, images, TARGETS, maps),
            most_first=most_first,
            generators=draws(3),
            percentages=percentages,
            noise=0.0,
        )
        remove = theirs.RemoveMostRelevantFirst if most_first else theirs.RemoveLeastRelevantFirst
        for position, percentage in enumerate(percentages):
            metric = theirs.PerturbationConfidenceMetric(remove(100 - percentage, impute))
            expected = torch.from_numpy(metric(*call, return_diff=False)).double()
            torch.testing.assert_close(result[:, position], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"percentages": (50, 100)}, r"at least 0 and below 100, got \[50, 100\]"),
        ({"percentages": (-1,)}, "below 100"),
        ({"generators": draws(2)}, "one generator per image, 3, got 2"),
    ],
)
def test_bad_options_are_one_sentence(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        road(score, small()["images"], TARGETS, small()["maps"], **{"generators": draws(3)} | change)


def test_an_image_without_a_pixel_left_and_maps_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one pixel of each image to stay"):
        linear_imputation(torch.rand(2, 3, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="NaN or infinity"):
        road(score, small()["images"], TARGETS, small()["maps"] / 0, generators=draws(3))


def test_class_is_a_mean_over_all_processes() -> None:
    first, second = ROAD(), ROAD()
    first.update(torch.tensor([-0.25]))
    second.update(torch.tensor([0.25, 0.375], dtype=torch.float16))
    first.merge_state(second)
    assert float(first.compute()) == 0.125
    assert ROAD.higher_is_better
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([torch.nan]))
