"""Infidelity: against loops, Captum with the same perturbations, and models whose answer is known."""

import math

import numpy as np
import pytest
import torch

from inr_xai.metrics.faithfulness.map_infidelity import Infidelity, gaussian_noise, infidelity, square_removal
from tests.helpers.metric_inputs import TARGETS, distinct_maps, draws, photos, score, score_alone


def noise(count: int = 6) -> torch.Tensor:
    return gaussian_noise(photos(), generators=draws(3), draws=count)


def squares(count: int = 6) -> torch.Tensor:
    return square_removal(photos(), baseline=torch.zeros_like(photos()), generators=draws(3), draws=count)


@pytest.mark.parametrize("perturbations", [noise(), squares()], ids=["noise", "squares"])
@pytest.mark.parametrize("normalise", [True, False])
def test_values_against_loops(perturbations: torch.Tensor, normalise: bool) -> None:
    images, maps = photos(), distinct_maps()
    result = infidelity(score, images, TARGETS, maps, perturbations=perturbations, normalise=normalise)
    for i in range(3):
        foretold, change = [], []
        for perturbation in perturbations[i]:
            products = perturbation.numpy() * np.stack([maps[i].numpy()] * 3)
            foretold.append(math.fsum(products.ravel()))
            target = int(TARGETS[i])
            change.append(score_alone(images[i], target) - score_alone(images[i] - perturbation, target))
        beta = 1.0
        if normalise:
            beta = sum(a * d for a, d in zip(foretold, change, strict=True)) / sum(a * a for a in foretold)
        expected = np.mean([(beta * a - d) ** 2 for a, d in zip(foretold, change, strict=True)])
        assert float(result[i]) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [True, False])
def test_captum_has_the_same_for_the_same_perturbations(normalise: bool) -> None:
    captum = pytest.importorskip("captum.metrics")
    images, maps = photos(), distinct_maps()

    def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = noise().flatten(0, 1)  # it asks for all draws of an image in a row
        return drawn, inputs - drawn

    expected = captum.infidelity(
        lambda inputs: score(inputs, TARGETS.repeat_interleave(len(inputs) // 3)),
        perturb,
        images,
        maps.unsqueeze(1).expand(-1, 3, -1, -1),
        n_perturb_samples=6,
        normalize=normalise,
    )
    result = infidelity(score, images, TARGETS, maps, perturbations=noise(), normalise=normalise)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("perturbations", [noise(), squares()], ids=["noise", "squares"])
def test_the_weights_of_a_linear_model_are_faithful_at_any_scale(perturbations: torch.Tensor) -> None:
    weights = distinct_maps()[0]

    def linear(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (images * weights).sum((1, 2, 3))

    call = linear, photos(), TARGETS
    exact = weights.expand(3, -1, -1)
    for scale in (1, -0.01, 300):
        assert infidelity(*call, scale * exact, perturbations=perturbations).max() < 1e-20
    assert infidelity(*call, exact, perturbations=perturbations, normalise=False).max() < 1e-20
    assert infidelity(*call, 2 * exact, perturbations=perturbations, normalise=False).min() > 1e-3
    assert infidelity(*call, distinct_maps()[1:2].expand(3, -1, -1), perturbations=perturbations).min() > 1e-3


@pytest.mark.parametrize("normalise", [True, False])
def test_a_map_of_zeros_predicts_no_change(normalise: bool) -> None:
    images = photos()
    result = infidelity(score, images, TARGETS, torch.zeros(3, 24, 24), perturbations=squares(), normalise=normalise)
    changes = [score(images, TARGETS) - score(images - draw, TARGETS) for draw in squares().unbind(1)]
    torch.testing.assert_close(result, torch.stack(changes).square().mean(0), rtol=0, atol=1e-12)


def test_noise_is_gaussian_and_independent() -> None:
    drawn = gaussian_noise(photos(), generators=draws(3), draws=8, sigma=0.3)
    count = drawn.numel()
    assert float(drawn.mean()) == pytest.approx(0, abs=4.5 * 0.3 / math.sqrt(count))
    assert float(drawn.var()) == pytest.approx(0.09, rel=4.5 * math.sqrt(2 / count))
    assert torch.corrcoef(drawn.flatten(2).flatten(0, 1)).fill_diagonal_(0).abs().max() < 5.5 / math.sqrt(1728)


def test_removed_squares_are_the_baseline_and_all_equally_likely() -> None:
    images = torch.ones(2, 2, 6, 5)
    baseline = torch.full_like(images, 0.25)
    count = 3000
    drawn = square_removal(images, baseline=baseline, generators=draws(2), draws=count, largest=0.6)
    assert set(drawn.unique().tolist()) == {0, 0.75}
    seen = (drawn[:, :, 0] != 0).flatten(0, 1).flatten(1)
    assert torch.equal(drawn[:, :, 0], drawn[:, :, 1])
    expected = set()
    for side in (1, 2, 3):
        for row in range(6 - side + 1):
            for column in range(5 - side + 1):
                square = torch.zeros(6, 5, dtype=torch.bool)
                square[row : row + side, column : column + side] = True
                expected.add(tuple(square.flatten().tolist()))
    squares_drawn, numbers = seen.unique(dim=0, return_counts=True)
    assert {tuple(square) for square in squares_drawn.tolist()} == expected
    share = 1 / len(expected)
    deviation = 4.5 * math.sqrt(share * (1 - share) / (2 * count))
    assert (numbers / (2 * count) - share).abs().max() < deviation


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    images, maps = photos(), distinct_maps()
    for whole, perturb in [
        (noise(), lambda image, draw: gaussian_noise(image, generators=draw, draws=6)),
        (
            squares(),
            lambda image, draw: square_removal(image, baseline=0 * image, generators=draw, draws=6),
        ),
    ]:
        together = infidelity(score, images, TARGETS, maps, perturbations=whole)
        for i in range(3):
            place = slice(i, i + 1)
            drawn = perturb(images[place], draws(3)[place])
            assert torch.equal(drawn[0], whole[i])
            alone = infidelity(score, images[place], TARGETS[place], maps[place], perturbations=drawn)
            torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-12)


def test_bad_input_is_one_sentence() -> None:
    images = photos()
    with pytest.raises(ValueError, match="NaN or infinity"):
        infidelity(score, images, TARGETS, distinct_maps() / 0, perturbations=noise(1))
    with pytest.raises(ValueError, match="one generator per image, 3, got 2"):
        gaussian_noise(images, generators=draws(2))
    with pytest.raises(ValueError, match=r"a share in \(0, 1\], got 5"):
        square_removal(images, baseline=images, generators=draws(3), largest=5)


def test_class_is_a_mean_over_all_processes() -> None:
    first, second = Infidelity(), Infidelity()
    first.update(torch.tensor([0.25]))
    second.update(torch.tensor([0.5, 1.5], dtype=torch.float16))
    first.merge_state(second)
    assert float(first.compute()) == 0.75
    assert Infidelity.higher_is_better is False
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([torch.nan]))
