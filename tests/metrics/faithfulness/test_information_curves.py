"""Information curves: against a loop that draws the curve on a grid, and images whose curve is known."""

import io
import itertools
import math

import numpy as np
import PIL.Image
import pytest
import torch

from inr_xai.metrics.faithfulness.information_curves import (
    THRESHOLDS,
    InformationAUC,
    compressed_size,
    information_auc,
    information_aucs,
)
from inr_xai.metrics.faithfulness.insertion_deletion import rise_blur
from inr_xai.metrics.inputs import accuracy_score
from tests.conftest import tiny_classifier
from tests.helpers.metric_inputs import TARGETS, distinct_maps, draws, order, score, score_alone, tied_maps

NOISE = torch.rand(3, 3, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
BLURRED = rise_blur(NOISE, outside=NOISE.mean((0, 2, 3)))


def webp(image: torch.Tensor) -> int:
    """Returns the bytes of a file with the image."""
    pixels = [[[round(255 * float(value)) for value in pixel] for pixel in row] for row in image.permute(1, 2, 0)]
    file = io.BytesIO()
    PIL.Image.fromarray(np.array(pixels, dtype=np.uint8)).save(file, "webp", lossless=True, quality=100)
    return len(file.getvalue())


def area_by_loops(image: torch.Tensor, blurred: torch.Tensor, target: int, pixels: list[int]) -> float:
    """Returns the area under the curve, by a fine grid as the authors' code has it; NaN if there is none."""
    low, high = (webp(blurred), score_alone(blurred, target)), (webp(image), score_alone(image, target))
    if low[0] >= high[0] or low[1] >= high[1]:
        return math.nan
    points, best = [(0.0, 0.0)], 0.0
    for share in THRESHOLDS:
        shown = blurred.clone()
        for pixel in pixels[: round(share * len(pixels))]:
            shown[:, pixel // 24, pixel % 24] = image[:, pixel // 24, pixel % 24]
        best = max(best, min(1.0, (score_alone(shown, target) - low[1]) / (high[1] - low[1])))
        information = (webp(shown) - low[0]) / (high[0] - low[0])
        points.append((min(1.0, max(0.0, information)), best))
    points.append((1.0, 1.0))
    points.sort(key=lambda point: point[0])
    total, steps = 0.0, 4000
    for step in range(steps):
        x = (step + 0.5) / steps
        left, right = next(pair for pair in itertools.pairwise(points) if pair[0][0] <= x <= pair[1][0])
        total += left[1] + (right[1] - left[1]) * (x - left[0]) / (right[0] - left[0])
    return total / steps


@pytest.mark.parametrize("maps", [distinct_maps(), tied_maps()], ids=["distinct", "tied"])
def test_areas_against_loops(maps: torch.Tensor) -> None:
    found = []
    for target in (0, 1, 3):  # an image has a curve only if the blur loses the class
        targets = torch.full((3,), target)
        result = information_auc(score, NOISE, targets, maps, blurred=BLURRED, generators=draws(3))
        for i, draw in enumerate(draws(3)):
            expected = area_by_loops(NOISE[i], BLURRED[i], target, order(maps[i], draw))
            assert float(result[i]) == pytest.approx(expected, abs=5e-4, nan_ok=True)
            found.append(expected)
    assert 2 <= sum(not math.isnan(area) for area in found) < len(found)


def test_a_pixel_that_is_the_class_comes_first_or_last() -> None:
    def corner(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (images[:, 0, 0, 0] > 0.9).double()

    image, blurred = NOISE[:1].clone(), torch.full_like(NOISE[:1], 0.5)
    image[:, :, 0, 0] = 1
    first, last = torch.linspace(1, 0, 576).reshape(1, 24, 24), torch.linspace(0, 1, 576).reshape(1, 24, 24)
    call = {"blurred": blurred, "generators": draws(1)}
    best = information_auc(corner, image, TARGETS[:1], first, **call)
    worst = information_auc(corner, image, TARGETS[:1], last, **call)
    # From (0, 0) the curve rises to 1 at the first threshold; or it stays at 0 up to the last, and is 1 at the end.
    sizes = [webp(torch.where(ranked, image[0], blurred[0])) for ranked in (first[0] > 1 - 3 / 575, last[0] > 0.25)]
    low, high = webp(blurred[0]), webp(image[0])
    start, end = ((size - low) / (high - low) for size in sizes)
    assert float(best) == pytest.approx(1 - start / 2, abs=1e-3)
    assert float(worst) == pytest.approx((1 - end) / 2, abs=1e-3)


def test_what_a_blur_does_not_lose_has_no_curve() -> None:
    call = {"blurred": BLURRED, "generators": draws(3)}
    still = information_auc(lambda images, _: torch.ones(len(images)), NOISE, TARGETS, distinct_maps(), **call)
    assert still.isnan().all()
    flat = torch.full_like(NOISE, 0.5)
    call |= {"blurred": NOISE}
    rises = information_auc(lambda images, _: -images.var((1, 2, 3)), flat, TARGETS, distinct_maps(), **call)
    assert rises.isnan().all()  # the blur needs more bytes than the image


def test_several_scores_have_their_own_areas_and_share_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def redness(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return images[:, 0].mean((1, 2))

    def call() -> dict[str, object]:
        return {"blurred": 0.5 * BLURRED, "generators": draws(3)}

    alone = [information_auc(each, NOISE, TARGETS, distinct_maps(), **call()) for each in (score, redness)]
    written = []
    monkeypatch.setattr(
        "inr_xai.metrics.faithfulness.information_curves.compressed_size",
        lambda image: written.append(image) or compressed_size(image),
    )
    together = information_aucs([score, redness], NOISE, TARGETS, distinct_maps(), **call())
    torch.testing.assert_close(together, torch.stack(alone), equal_nan=True)
    assert len(written) == 3 * (len(THRESHOLDS) + 2)
    assert not torch.equal(together[0], together[1])
    assert together[1].isfinite().all()


def test_the_size_is_that_of_a_file() -> None:
    assert [compressed_size(image) for image in NOISE] == [webp(image) for image in NOISE]
    grey = PIL.Image.fromarray((255 * NOISE[0, 0]).round().byte().numpy())
    file = io.BytesIO()
    grey.save(file, "webp", lossless=True, quality=100)
    assert compressed_size(NOISE[0, :1]) == len(file.getvalue())
    assert compressed_size(torch.zeros(3, 24, 24)) < 100 < compressed_size(NOISE[0])


def test_accuracy_is_one_where_the_class_is_the_largest() -> None:
    classifier, images = tiny_classifier(), NOISE.float()
    with torch.no_grad(), classifier.frozen():
        largest = classifier(images).argmax(1)
    right = accuracy_score(classifier, batch_size=2)
    assert right(images, largest).tolist() == [1, 1, 1]
    assert right(images, (largest + 1) % 5).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"thresholds": (0.5, 0.1)}, r"thresholds that rise within \(0, 1\), got \[0\.5, 0\.1\]"),
        ({"thresholds": (0.5, 1.0)}, "thresholds that rise"),
        ({"blurred": BLURRED - 1}, r"images and blurs in \[0, 1\]"),
        ({"generators": draws(2)}, "one generator per image, 3, got 2"),
    ],
)
def test_bad_options_are_one_sentence(change: dict[str, object], sentence: str) -> None:
    call = {"blurred": BLURRED, "generators": draws(3)} | change
    with pytest.raises(ValueError, match=sentence):
        information_auc(score, NOISE, TARGETS, distinct_maps(), **call)


def test_the_class_is_a_mean_over_all_processes() -> None:
    first, second = InformationAUC(), InformationAUC()
    first.update(torch.tensor([0.25]))
    second.update(torch.tensor([0.5, 0.75]))
    first.merge_state(second)
    assert float(first.compute()) == 0.5
    assert InformationAUC.higher_is_better
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([torch.nan]))
