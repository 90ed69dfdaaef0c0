"""Sensitivity of explanations: against loops over draws, Captum, Quantus, and values known by hand."""

import numpy as np
import pytest
import torch

from inr_xai import INRAttribution
from inr_xai.metrics.robustness.sensitivity import (
    AverageSensitivity,
    MaxSensitivity,
    average_sensitivity,
    max_sensitivity,
    relative_changes,
)
from inr_xai.seeding import generator
from tests.conftest import pictures, tiny_network
from tests.helpers.metric_inputs import draws

TARGETS = torch.tensor([1, 3, 0])


def gradient_times_input(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Explains a smooth random model in double precision, with gradients."""
    weights = torch.randn(5, 3, 1, 1, dtype=images.dtype, generator=torch.Generator().manual_seed(1))
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        scores = (leaf.unsqueeze(1) * weights).sum(2).tanh().sum((2, 3))
        chosen = scores.gather(1, targets.unsqueeze(1)).sum()
        (gradient,) = torch.autograd.grad(chosen, leaf)
    return (gradient * images).sum(1)


def same_noise(images: torch.Tensor, radius: float, count: int) -> torch.Tensor:
    """Returns the perturbations that the generators of `draws` give, b x d x c x h x w."""
    noise = [[torch.rand(images.shape[1:], generator=draw) for _ in range(count)] for draw in draws(len(images))]
    return torch.stack([torch.stack(image) for image in noise]).double() * 2 * radius - radius


def test_changes_against_loops() -> None:
    images = pictures(3).double()
    noise = same_noise(images, 0.1, 4)
    expected = np.zeros((3, 4))
    for image in range(3):
        single, target = images[image : image + 1], TARGETS[image : image + 1]
        original = gradient_times_input(single, target).numpy().ravel()
        for draw in range(4):
            changed = gradient_times_input(single + noise[image, draw], target).numpy().ravel()
            squares = sum((float(a) - float(b)) ** 2 for a, b in zip(changed, original, strict=True))
            expected[image, draw] = (squares / sum(float(a) ** 2 for a in original)) ** 0.5
    call = gradient_times_input, images, TARGETS
    result = relative_changes(*call, generators=draws(3), radius=0.1, draws=4)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-7)
    largest = max_sensitivity(*call, generators=draws(3), radius=0.1, draws=4)
    average = average_sensitivity(*call, generators=draws(3), radius=0.1, draws=4)
    np.testing.assert_allclose(largest.numpy(), expected.max(1), atol=1e-7)
    np.testing.assert_allclose(average.numpy(), expected.mean(1), atol=1e-7)


def test_max_sensitivity_is_captums_for_the_same_perturbations() -> None:
    captum = pytest.importorskip("captum.metrics")
    images = pictures(3).double()
    noise = same_noise(images, 0.02, 10).flatten(0, 1)

    def explanation(inputs, target: torch.Tensor):
        if isinstance(inputs, tuple):  # Captum passes the original images in a tuple, and expects their maps in one
            return (gradient_times_input(inputs[0], target),)
        return gradient_times_input(inputs, target)

    expected = captum.sensitivity_max(explanation, images, perturb_func=lambda x: x + noise, target=TARGETS)
    result = max_sensitivity(gradient_times_input, images, TARGETS, generators=draws(3))
    torch.testing.assert_close(result, expected, atol=1e-7, rtol=0)


@pytest.mark.slow
def test_both_are_quantuss_for_the_same_perturbations() -> None:
    quantus = pytest.importorskip("quantus")
    images = pictures(3).double()
    noise = same_noise(images, 0.02, 4).numpy()

    def explanation(model, inputs, targets, **_) -> np.ndarray:
        return gradient_times_input(torch.as_tensor(inputs).double(), torch.as_tensor(targets)).numpy()

    for metric, function in [
        (quantus.MaxSensitivity, max_sensitivity),
        (quantus.AvgSensitivity, average_sensitivity),
    ]:
        drawn = iter(noise.transpose(1, 0, 2, 3, 4).reshape(4, 3, -1))
        theirs = metric(
            nr_samples=4,
            abs=False,
            normalise=False,
            perturb_func=lambda arr, drawn=drawn, **_: arr + next(drawn),
            disable_warnings=True,
        )
        expected = theirs(
            model=tiny_network().double().eval(),
            x_batch=images.numpy(),
            y_batch=TARGETS.numpy(),
            explain_func=explanation,
            device="cpu",
        )
        result = function(gradient_times_input, images, TARGETS, generators=draws(3), draws=4)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-7)


def test_an_explanation_that_ignores_the_image_does_not_change() -> None:
    def centre(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.eye(24).expand(len(images), -1, -1)

    assert max_sensitivity(centre, pictures(2), TARGETS[:2], generators=draws(2)).tolist() == [0, 0]


def test_perturbations_are_uniform_in_the_ball_and_independent() -> None:
    seen = []

    def first_channel(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images[:, 0]

    images = pictures(2)
    relative_changes(first_channel, images, TARGETS[:2], generators=draws(2), radius=0.3, draws=4)
    assert torch.equal(seen[0], images)
    noise = torch.stack(seen[1:]) - images
    assert 0.299 < float(noise.abs().max()) <= 0.3 + 1e-6
    assert float(noise.mean()) == pytest.approx(0, abs=0.006)  # 13,824 numbers: 4 standard errors
    assert float(noise.var()) == pytest.approx(0.3**2 / 3, rel=0.04)
    between = torch.corrcoef(noise.flatten(2).flatten(0, 1)).fill_diagonal_(0)
    assert between.abs().max() < 0.1


def test_an_image_depends_on_neither_its_neighbours_nor_later_draws() -> None:
    images = pictures(3).double()
    together = relative_changes(gradient_times_input, images, TARGETS, generators=draws(3), draws=5)
    for image in range(3):
        alone = relative_changes(
            gradient_times_input,
            images[image : image + 1],
            TARGETS[image : image + 1],
            generators=[generator(0, image)],
            draws=2,
        )
        torch.testing.assert_close(alone[0], together[image, :2], atol=1e-12, rtol=0)
    other = relative_changes(gradient_times_input, images, TARGETS, generators=draws(3, seed=1), draws=5)
    assert not torch.isclose(other, together).any()


def test_scale_of_the_explanation_is_without_effect_and_zero_is_not_a_number() -> None:
    def scaled(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return images.sum(1) * torch.tensor([1.0, 1000.0, 0.0]).reshape(3, 1, 1)

    images = pictures(1).expand(3, -1, -1, -1)
    result = max_sensitivity(scaled, images, TARGETS, generators=[generator(0, "same") for _ in range(3)])
    assert float(result[1]) == pytest.approx(float(result[0]), rel=1e-5)
    assert result.isnan().tolist() == [False, False, True]


def test_half_precision_maps_are_compared_in_single() -> None:
    def large(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (1000 * images.sum(1)).half()  # the squares would overflow

    result = max_sensitivity(large, pictures(2), TARGETS[:2], generators=draws(2))
    expected = max_sensitivity(lambda x, t: large(x, t).double(), pictures(2), TARGETS[:2], generators=draws(2))
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_fitted_masks_are_an_explanation() -> None:
    explainer = INRAttribution(tiny_network(), steps=2)

    def explain(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return explainer.importance(images, targets, areas=(0.2,), image_ids=["a", "b"])[:, 0]

    images = pictures(2)
    still = relative_changes(explain, images, TARGETS[:2], generators=draws(2), radius=0.0, draws=1)
    moved = relative_changes(explain, images, TARGETS[:2], generators=draws(2), radius=0.3, draws=1)
    assert still.tolist() == [[0], [0]]  # the same image_ids: no noise but that of the images
    assert (moved > 0).all()


@pytest.mark.parametrize(
    ("explain", "options", "sentence"),
    [
        (lambda x, t: x, {}, r"of shape \(2, 24, 24\), got \(2, 3, 24, 24\)"),
        (lambda x, t: x[:1, 0], {}, r"got \(1, 24, 24\)"),
        (lambda x, t: x[:, 0] / 0, {}, r"NaN or infinity in the maps \[0, 1\]"),
        (lambda x, t: x[:, 0], {"generators": draws(1)}, "one generator per image, 2, got 1"),
        (lambda x, t: x[:, 0], {"draws": 0}, "at least 1 draw, got 0"),
    ],
)
def test_bad_input_is_one_sentence(explain, options: dict[str, object], sentence: str) -> None:
    call = {"generators": draws(2)} | options
    with pytest.raises(ValueError, match=sentence):
        max_sensitivity(explain, pictures(2), TARGETS[:2], **call)


@pytest.mark.parametrize("metric", [MaxSensitivity, AverageSensitivity])
def test_classes_are_means_over_all_processes(metric) -> None:
    first, second = metric(), metric()
    first.update(torch.tensor([0.25]))
    second.update(torch.tensor([0.5, 1.5], dtype=torch.float16))
    first.merge_state(second)
    assert float(first.compute()) == 0.75
    assert metric.higher_is_better is False
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([torch.nan]))
