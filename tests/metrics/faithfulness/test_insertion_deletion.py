"""Insertion and deletion: against a plain loop, RISE's blur, Quantus where it can be compared, and known values."""

import copy
import itertools

import numpy as np
import pytest
import scipy.ndimage
import torch

from inr_xai.metrics.faithfulness.insertion_deletion import (
    COPIES,
    DeletionAUC,
    InsertionAUC,
    PixelFlipping,
    deletion_auc,
    deletion_curve,
    insertion_auc,
    insertion_curve,
    pixel_flipping,
    rise_blur,
)
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

GREY = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64).reshape(1, 3, 1, 1).expand(3, -1, 24, 24)


def loop_curve(start: torch.Tensor, finish: torch.Tensor, target: int, pixels: list[int], step: int) -> list[float]:
    """Returns the score of `start`, and again after every `step` pixels that changed to `finish`."""
    current, curve = start.clone(), [score_alone(start, target)]
    for done in range(0, len(pixels), step):
        changed = pixels[done : done + step]
        current.view(len(current), -1)[:, changed] = finish.reshape(len(finish), -1)[:, changed]
        curve.append(score_alone(current, target))
    return curve


@pytest.mark.parametrize(("maps", "orders"), [(distinct_maps(), 1), (tied_maps(), 3)])
@pytest.mark.parametrize("step", [130, 192])  # 576 pixels: with and without a rest
def test_curves_and_areas_against_a_loop(maps: torch.Tensor, orders: int, step: int) -> None:
    images, blurred = photos(), rise_blur(photos())
    for curve_of, area_of, baseline, starts, ends in [
        (insertion_curve, insertion_auc, blurred, blurred, images),
        (deletion_curve, deletion_auc, GREY, images, GREY),
    ]:
        call = score, images, TARGETS, maps
        curve = curve_of(*call, baseline=baseline, generators=draws(3), step=step)
        area = area_of(*call, baseline=baseline, generators=draws(3), step=step)
        for image, draw in enumerate(draws(3)):
            loops = [
                loop_curve(starts[image], ends[image], int(TARGETS[image]), order(maps[image], draw), step)
                for _ in range(orders)
            ]
            expected = np.mean(loops, axis=0)
            np.testing.assert_allclose(curve[image].numpy(), expected, rtol=0, atol=1e-12)
            rise = (expected.sum() - expected[0] / 2 - expected[-1] / 2) / (len(expected) - 1)
            assert float(area[image]) == pytest.approx(rise, abs=1e-12)


@pytest.mark.parametrize("maps", [distinct_maps(), tied_maps()])
def test_flipped_pixels_against_a_loop(maps: torch.Tensor) -> None:
    images = photos()
    result = pixel_flipping(score, images, TARGETS, maps, generators=draws(3), step=130, tie_draws=1)
    for image, draw in enumerate(draws(3)):
        pixels = order(maps[image], draw)
        curve = loop_curve(images[image], 1 - images[image], int(TARGETS[image]), pixels, 130)
        area = sum((before + after) / 2 for before, after in itertools.pairwise(curve)) / (len(curve) - 1)
        assert float(result[image]) == pytest.approx(area, abs=1e-12)


def test_a_flipped_digit_is_its_negative_and_grey_stays() -> None:
    def corner(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, 0]

    digits = torch.tensor([0.0, 1.0, 0.5]).reshape(3, 1, 1, 1).expand(-1, 1, 4, 4)
    maps = torch.zeros(3, 4, 4)
    maps[:, 0, 0] = 1  # flipped first: the curve is its start, and then the other value
    result = pixel_flipping(corner, digits, TARGETS, maps, generators=draws(3))
    assert result.tolist() == [7 / 8, 1 / 8, 1 / 2]


def test_more_steps_than_copies_are_made_at_once() -> None:
    image, maps = photos(1), distinct_maps(1)
    curve = deletion_curve(score, image, TARGETS[:1], maps, baseline=GREY[:1], generators=draws(1), step=5)
    assert curve.shape[1] == 117 > COPIES
    expected = loop_curve(image[0], GREY[0], 1, order(maps[0], draws(1)[0]), 5)
    np.testing.assert_allclose(curve[0].numpy(), expected, rtol=0, atol=1e-12)


def test_a_step_is_one_width_and_the_curve_has_both_ends() -> None:
    images = photos()[..., :16]
    curve = insertion_curve(
        score, images, TARGETS, distinct_maps()[..., :16], baseline=GREY[..., :16], generators=draws(3)
    )
    assert curve.shape == (3, 25)
    torch.testing.assert_close(curve[:, 0], score(GREY[..., :16], TARGETS), rtol=0, atol=1e-12)
    torch.testing.assert_close(curve[:, -1], score(images, TARGETS), rtol=0, atol=1e-12)


def test_brightness_rises_in_a_straight_line_and_one_pixel_at_once() -> None:
    def brightness(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))

    def corner(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, 0]

    white, black, maps = torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8)
    call = {"baseline": black, "generators": draws(2)}
    curve = insertion_curve(brightness, white, TARGETS[:2], maps, **call)
    torch.testing.assert_close(curve, torch.linspace(0, 1, 9).expand(2, -1))
    maps[0, 0, 0], maps[1, 0, 0] = 1, -1  # the one pixel that counts: first in one map, last in the other
    assert deletion_auc(corner, white, TARGETS[:2], maps, **call).tolist() == [1 / 16, 15 / 16]
    assert insertion_auc(corner, white, TARGETS[:2], maps, **call).tolist() == [15 / 16, 1 / 16]


def test_inserting_is_deleting_the_other_way_round() -> None:
    call = score, photos(), TARGETS
    forth = insertion_curve(*call, distinct_maps(), baseline=GREY, generators=draws(3))
    back = deletion_curve(*call, -distinct_maps(), baseline=GREY, generators=draws(3))
    torch.testing.assert_close(forth, back.flip(1), rtol=0, atol=1e-12)


def test_the_order_alone_counts() -> None:
    call = score, photos(), TARGETS
    expected = insertion_curve(*call, distinct_maps(), baseline=GREY, generators=draws(3))
    result = insertion_curve(*call, distinct_maps().exp() - 7, baseline=GREY, generators=draws(3, seed=1))
    assert torch.equal(result, expected)


def test_an_image_depends_on_neither_its_neighbours_nor_other_ties() -> None:
    images, maps = photos(), torch.cat([tied_maps(2), distinct_maps(1)])
    together = deletion_curve(score, images, TARGETS, maps, baseline=GREY, generators=draws(3))
    for i in range(3):
        place = slice(i, i + 1)
        alone = deletion_curve(
            score, images[place], TARGETS[place], maps[place], baseline=GREY[place], generators=draws(3)[place]
        )
        assert torch.equal(alone[0], together[i])


def gaussian_of_rise(side: int = 11, sigma: float = 5.0) -> np.ndarray:
    """Returns RISE's kernel."""
    point = np.zeros((side, side))
    point[side // 2, side // 2] = 1
    return scipy.ndimage.gaussian_filter(point, sigma)


def test_blur_is_that_of_rise() -> None:
    images = photos(2) - 0.5
    expected = [
        [scipy.ndimage.convolve(channel, gaussian_of_rise(), mode="constant") for channel in image.numpy()]
        for image in images
    ]
    np.testing.assert_allclose(rise_blur(images).numpy(), np.array(expected), rtol=0, atol=1e-12)


def test_blur_before_and_after_normalisation_is_the_same() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).reshape(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).reshape(3, 1, 1)
    images = photos(2)
    expected = rise_blur((images - mean) / deviation)
    result = (rise_blur(images, outside=mean.flatten()) - mean) / deviation
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_quantus_flips_the_pixels_of_one_channel_alike() -> None:
    # Quantus ranks every channel by itself and leaves out t = 0: with one channel, its curve is ours from t = 1.
    quantus = pytest.importorskip("quantus")
    colours = torch.nn.Conv2d(1, 3, 1, bias=False)
    torch.nn.init.ones_(colours.weight)  # grey to colour
    network = torch.nn.Sequential(colours, copy.deepcopy(NETWORK).float()).eval()
    images, maps = photos()[:, :1].float(), distinct_maps()
    data = {
        "model": network,
        "x_batch": images.numpy(),
        "y_batch": TARGETS.numpy(),
        "a_batch": maps.unsqueeze(1).numpy(),
        "device": "cpu",
        "softmax": True,
    }
    options = {"normalise": False, "perturb_baseline": 0.25, "disable_warnings": True}

    @torch.no_grad()
    def grey_score(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return network(inputs).softmax(1).gather(1, targets.unsqueeze(1))[:, 0]

    call = grey_score, images, TARGETS, maps
    baseline = torch.full_like(images, 0.25)
    ours = deletion_curve(*call, baseline=baseline, generators=draws(3))
    theirs = quantus.PixelFlipping(features_in_step=24, **options)(**data)
    np.testing.assert_allclose(ours[:, 1:].numpy(), np.array(theirs), rtol=0, atol=1e-6)

    def invert(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        flipped = arr.copy()
        np.put_along_axis(flipped, indices, 1 - np.take_along_axis(arr, indices, axis=1), axis=1)
        return flipped

    area = pixel_flipping(*call, generators=draws(3))
    theirs = np.array(quantus.PixelFlipping(features_in_step=24, perturb_func=invert, **options)(**data))
    curve = np.hstack([grey_score(images, TARGETS).numpy()[:, None], theirs])
    expected = ((curve[:, :-1] + curve[:, 1:]) / 2).mean(1)
    np.testing.assert_allclose(area.numpy(), expected, rtol=0, atol=1e-6)

    # Regions of one pixel are pixels; what it returns is the drop.
    ours = deletion_curve(*call, baseline=baseline, generators=draws(3), step=1)
    theirs = quantus.RegionPerturbation(patch_size=1, regions_evaluation=576, **options)(**data)
    np.testing.assert_allclose((ours[:, :1] - ours[:, 1:]).numpy(), np.array(theirs), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"step": 0}, "at least 1, got step=0"),
        ({"tie_draws": 0}, "tie_draws=0"),
        ({"generators": draws(2)}, "one generator per image, 3, got 2"),
    ],
)
@pytest.mark.parametrize("area", [insertion_auc, deletion_auc])
def test_bad_options_are_one_sentence(area, change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        area(score, photos(), TARGETS, distinct_maps(), **{"baseline": GREY, "generators": draws(3)} | change)


def test_bad_maps_and_kernels_are_one_sentence() -> None:
    call = {"baseline": GREY, "generators": draws(3)}
    with pytest.raises(ValueError, match="NaN or infinity"):
        insertion_auc(score, photos(), TARGETS, distinct_maps() / 0, **call)
    with pytest.raises(ValueError, match=r"images in \[0, 1\] to flip"):
        pixel_flipping(score, photos() - 1, TARGETS, distinct_maps(), generators=draws(3))
    with pytest.raises(ValueError, match="odd number of pixels as the side of the kernel, got 10"):
        rise_blur(photos(), kernel=10)


@pytest.mark.parametrize(("metric", "better"), [(InsertionAUC, True), (DeletionAUC, False), (PixelFlipping, False)])
def test_classes_are_means_over_all_processes(metric, better: bool) -> None:
    first, second = metric(), metric()
    first.update(torch.tensor([0.25]))
    second.update(torch.tensor([0.5, 0.75], dtype=torch.float16))
    first.merge_state(second)
    assert float(first.compute()) == 0.5
    assert metric.higher_is_better is better
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([torch.nan]))
