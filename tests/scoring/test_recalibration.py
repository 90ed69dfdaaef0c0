"""Temperatures: a planted one is found again, the fit against SciPy, and masked logits against copies made by hand."""

import math

import pytest
import scipy.optimize
import torch

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.metrics.inputs import probability_score
from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.recalibration import HOTTEST, fit_temperature, label_entropy, masked_logits, tempered
from tests.conftest import pictures

RANDOM = torch.Generator().manual_seed(3)
LOGITS = 3 * torch.randn(4000, 6, dtype=torch.float64, generator=RANDOM)


def drawn(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns labels that are drawn from softmax(logits / T)."""
    return torch.multinomial((logits / temperature).softmax(1), 1, generator=torch.Generator().manual_seed(4))[:, 0]


def entropy_by_loops(logits: torch.Tensor, labels: torch.Tensor, temperature: float) -> float:
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        scaled = [value / temperature for value in row]
        largest = max(scaled)
        total += largest + math.log(math.fsum(math.exp(value - largest) for value in scaled)) - scaled[label]
    return total / len(logits)


@pytest.mark.parametrize("planted", [0.4, 1.0, 2.5])
def test_a_planted_temperature_is_found_again(planted: float) -> None:
    found = fit_temperature(LOGITS, drawn(LOGITS, planted))
    scaled = LOGITS / planted
    variance = (scaled.softmax(1) * scaled.square()).sum(1) - (scaled.softmax(1) * scaled).sum(1).square()
    deviation = planted / math.sqrt(float(variance.sum()))  # of the estimate of maximum likelihood
    assert found == pytest.approx(planted, abs=4 * deviation)
    assert deviation < 0.05 * planted


def test_frequencies_that_are_probabilities_give_the_temperature_exactly() -> None:
    logits, labels = torch.tensor([[3.0, 0.0]] * 10), torch.tensor([0] * 7 + [1] * 3)
    assert fit_temperature(logits, labels) == pytest.approx(3 / math.log(7 / 3), rel=1e-12)


def test_the_fit_against_scipy() -> None:
    logits, labels = LOGITS[:60], drawn(LOGITS[:60], 1.7)
    least = scipy.optimize.minimize_scalar(
        lambda log: entropy_by_loops(logits, labels, math.exp(log)), bounds=(-3, 3), options={"xatol": 1e-9}
    )
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(math.exp(least.x), rel=1e-6)
    assert label_entropy(logits, labels, found) == pytest.approx(least.fun, abs=1e-12)
    for temperature in (0.5, 1.0, 3.0):
        value = label_entropy(logits, labels, temperature)
        assert value == pytest.approx(entropy_by_loops(logits, labels, temperature), abs=1e-12)


def test_scaled_logits_scale_the_temperature_and_offsets_do_not() -> None:
    labels = drawn(LOGITS, 1.3)
    found = fit_temperature(LOGITS, labels)
    assert fit_temperature(5 * LOGITS, labels) == pytest.approx(5 * found, rel=1e-9)
    assert fit_temperature(LOGITS + LOGITS.sum(1, keepdim=True), labels) == pytest.approx(found, rel=1e-9)


def test_a_perfect_and_a_useless_classifier_have_the_ends_of_the_range() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == pytest.approx(1 / HOTTEST)
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(HOTTEST)


@pytest.mark.parametrize("logits", [torch.zeros(0, 3), torch.tensor([[0.0, torch.nan]])])
def test_no_logits_and_nan_are_one_sentence(logits: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected finite logits of at least one image"):
        fit_temperature(logits, torch.zeros(len(logits), dtype=torch.int64))


def test_a_tempered_classifier_has_the_probabilities_of_divided_logits(tiny: FrozenClassifier) -> None:
    images, targets = pictures(2), torch.tensor([1, 3])
    with torch.no_grad(), tiny.frozen(dtype=images.dtype):
        expected = (tiny(images) / 2.5).softmax(1).gather(1, targets.unsqueeze(1))[:, 0]
    warm = tempered(tiny, 2.5)
    torch.testing.assert_close(probability_score(warm)(images, targets), expected)
    assert tiny.model is not warm.model


def test_what_cannot_be_tempered_is_one_sentence(tiny: FrozenClassifier) -> None:
    with pytest.raises(UserError, match="must be positive, got 0"):
        tempered(tiny, 0.0)
    function = FrozenClassifier(tiny.model.forward, preprocessing=tiny.preprocessing)
    with pytest.raises(UserError, match=r"only a torch\.nn\.Module"):
        tempered(function, 2.0)
    for head in ("sigmoid", "probabilities", "none"):
        other = FrozenClassifier(tiny.model, preprocessing=tiny.preprocessing, head=head)
        with pytest.raises(UserError, match=rf"a softmax over logits, and .* has classifier\.head={head}; use one"):
            tempered(other, 2.0)


class Mean(torch.nn.Module):
    """A model whose logits are the mean of each channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def test_masked_logits_are_those_of_copies_with_the_area_and_the_draws_in_turn(tiny: FrozenClassifier) -> None:
    classifier = FrozenClassifier(Mean(), preprocessing=tiny.preprocessing, normalise=False)
    white, photos = torch.ones(3, 24, 24), torch.stack([torch.full((3, 24, 24), shade) for shade in (0.1, 0.2, 0.3)])
    options = {"areas": [0.25, 0.5], "sample_id": "white", "seed": 0, "photos": photos, "masks": 3}
    logits = masked_logits(classifier, white, **options, at_once=5)
    assert logits.shape == (2, 12, 3)
    blur, grey, noise, photo = logits.reshape(2, 4, 3, 3).unbind(1)
    torch.testing.assert_close(blur, torch.ones(2, 3, 3))
    torch.testing.assert_close(grey, torch.tensor([0.25, 0.5]).reshape(2, 1, 1).expand(2, 3, 3))
    for place, area in enumerate((0.25, 0.5)):
        for mask, shade in enumerate((0.1, 0.2, 0.3)):
            assert photo[place, mask].tolist() == pytest.approx([area + (1 - area) * shade] * 3, abs=1e-6)
    draws = scoring_baselines(
        white[None], ["white"], seed=0, colour_mean=torch.zeros(3), photos=photos[None], noise_draws=4
    )["noise"][0, :3]
    assert (noise[1] - (0.5 + 0.5 * draws.mean((2, 3)))).abs().max() < 0.02  # half of the noise, chosen at random
    torch.testing.assert_close(masked_logits(classifier, white, **options, at_once=32), logits)
