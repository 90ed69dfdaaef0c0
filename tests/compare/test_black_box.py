"""RISE, LIME and SHAP's partition explainer: known answers, honest counts, the same maps for the same seed and image.

The tests of SHAP are slow because the package compiles its functions at their first call.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import Explainer
from inr_xai.compare.methods.lime import LIME
from inr_xai.compare.methods.registry import MethodSetup, build_other_method
from inr_xai.compare.methods.rise import RISE
from inr_xai.compare.methods.shap import PartitionSHAP
from inr_xai.compare.scorer import harden
from inr_xai.errors import UserError
from inr_xai.types import Image, Preprocessing
from tests.helpers.comparison import CPU

FEW: dict[str, Callable[..., Explainer]] = {
    "rise": lambda classifier, **options: RISE(classifier, device=CPU, **{"masks": 300, **options}),
    "lime": lambda classifier, **options: LIME(classifier, device=CPU, **{"samples": 100, **options}),
    "shap": lambda classifier, **options: PartitionSHAP(classifier, device=CPU, **{"evaluations": 60, **options}),
}
"""The methods with few samples."""
EACH = pytest.mark.parametrize("name", ["rise", "lime", pytest.param("shap", marks=pytest.mark.slow)])


def made(name: str, classifier: FrozenClassifier, **options: Any) -> Explainer:
    """Returns a method of few samples; the test is skipped if its package is missing."""
    explainer = FEW[name](classifier, **options)
    try:
        explainer.require_packages()
    except UserError as error:
        pytest.skip(str(error))
    return explainer


class Recorder(nn.Module):
    """Remembers the inputs that it is given."""

    def __init__(self, logits: Callable[[Tensor], Tensor]):
        super().__init__()
        self._logits, self.seen = logits, []

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.append(inputs.clone())
        return self._logits(inputs)


def recorded(
    logits: Callable[[Tensor], Tensor], image: Image, *, mean: float = 0.0, head: str = "softmax"
) -> tuple[FrozenClassifier, Recorder]:
    """A classifier of such images, which subtracts the mean and divides by one, and its model."""
    channels, height, width = image.shape
    preprocessing = Preprocessing((height, width), height, "bilinear", (mean,) * channels, (1.0,) * channels)
    model = Recorder(logits)
    return FrozenClassifier(model, preprocessing=preprocessing, head=head), model


def contrast_of_first_quarter(inputs: Tensor) -> Tensor:
    """Logits whose class 1 sees the contrast in the upper left quarter alone."""
    contrast = inputs[..., :16, :24].square().mean((1, 2, 3))
    return (30 * contrast - 1)[:, None] * torch.tensor([-1.0, 1.0])


def four_quarters(channels: int = 3) -> Image:
    """Quarters of different shades, each with a little noise."""
    shades = torch.tensor([[0.1, 0.4], [0.6, 0.85]]).repeat_interleave(16, 0).repeat_interleave(24, 1)
    return shades + 0.1 * torch.rand(channels, 32, 48, generator=torch.Generator().manual_seed(1))


@EACH
@pytest.mark.parametrize("channels", [1, 3])
def test_the_quarter_that_the_classifier_sees_comes_first(name: str, channels: int) -> None:
    image = four_quarters(channels)
    explainer = made(name, recorded(contrast_of_first_quarter, image, mean=0.5)[0])
    maps = explainer.explain(image, 1, "x")
    assert (maps.maps.shape, maps.maps.dtype, maps.per_area) == ((1, 32, 48), torch.float32, False)
    assert harden(maps, (0.25,), "x", seed=0)[0, 0, :16, :24].float().mean() > {"rise": 0.7}.get(name, 0.99)
    of_other_class = explainer.explain(image, 0, "x").maps[0]
    assert of_other_class[:16, :24].mean() < of_other_class[16:].mean()


@EACH
def test_an_image_that_the_classifier_is_given_is_half_a_pass(name: str) -> None:
    image = four_quarters()
    classifier, model = recorded(contrast_of_first_quarter, image, mean=0.5)
    maps = made(name, classifier).explain(image, 1, "x")
    batches = [len(inputs) for inputs in model.seen]
    assert maps.passes == sum(batches) / 2 == {"rise": 150.5, "lime": 50, "shap": 30}[name]
    assert max(batches) <= 50


@EACH
def test_draws_derive_from_seed_and_image_and_leave_the_global_ones_alone(name: str) -> None:
    image = four_quarters()
    classifier, _ = recorded(contrast_of_first_quarter, image, mean=0.5)
    first = made(name, classifier).explain(image, 1, "x").maps
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    assert torch.equal(made(name, classifier, seed=0).explain(image, 1, "x").maps, first)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    if name == "shap":
        return  # which draws only to order rectangles of equal effect
    assert not torch.equal(made(name, classifier, seed=1).explain(image, 1, "x").maps, first)
    assert not torch.equal(made(name, classifier).explain(image, 1, "y").maps, first)


def test_rise_is_the_published_mean_over_its_masks() -> None:
    """The image is ones on a mean colour of zeros, so that the network is given the masks themselves."""
    image = torch.ones(1, 20, 24)

    def logits(inputs: Tensor) -> Tensor:
        sums = 6 * inputs[..., :10, :12].mean((1, 2, 3))
        return torch.stack([torch.full_like(sums, 3.0), sums, -sums], 1)

    classifier, model = recorded(logits, image)
    maps = made("rise", classifier, masks=70).explain(image, 1, "x").maps
    masks = torch.cat(model.seen[1:])[:, 0].double()
    expected = torch.zeros(20, 24, dtype=torch.float64)
    for mask in masks:
        score = 6 * sum(float(mask[row, column]) for row in range(10) for column in range(12)) / 120
        expected += np.exp(score) / (np.exp(3) + np.exp(score) + np.exp(-score)) * mask / 70
    torch.testing.assert_close(maps[0].double(), expected, atol=1e-6, rtol=0)
    assert masks.shape == (70, 20, 24)
    assert 0 <= float(masks.min()) < 0.01 < 0.99 < float(masks.max()) <= 1
    assert float(masks.mean()) == pytest.approx(0.5, abs=0.05)


def test_lime_finds_the_effects_of_superpixels_on_a_linear_score() -> None:
    """Hidden superpixels have their own mean colour. The ridge's penalty takes less than a hundredth of an effect."""
    image, weights = four_quarters(), torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(2))
    classifier, _ = recorded(lambda inputs: (weights * inputs).sum((1, 2, 3))[:, None], image, head="none")
    maps = made("lime", classifier, samples=1000).explain(image, 0, "x").maps[0]
    assert len(maps.unique()) == 4
    for rows in (slice(16), slice(16, None)):
        for columns in (slice(24), slice(24, None)):
            quarter = image[:, rows, columns]
            effect = (weights[:, rows, columns] * (quarter - quarter.mean((1, 2), keepdim=True))).sum()
            torch.testing.assert_close(maps[rows, columns], effect.expand(16, 24), rtol=0.01, atol=0.02)


@pytest.mark.slow
def test_shap_of_a_linear_logit_is_its_terms() -> None:
    """Of 16 pixels 240 evaluations give every Owen value, which of a linear logit is the pixel's own effect.

    The blur's box has 2 x 2 pixels: the pixel, those above and to the left, and the one between; mirrored at the edge.
    """
    draws = torch.Generator().manual_seed(3)
    image, weights = torch.rand(1, 4, 4, generator=draws), torch.randn(1, 4, 4, generator=draws)
    classifier, model = recorded(lambda inputs: (weights * inputs).sum((1, 2, 3))[:, None] * torch.ones(2), image)
    maps = made("shap", classifier, evaluations=500).explain(image, 1, "x")
    blurred = torch.zeros(4, 4)
    for row in range(4):
        for column in range(4):
            box = [image[0, abs(row - down), abs(column - right)] for down in (0, 1) for right in (0, 1)]
            blurred[row, column] = sum(box) / 4
    torch.testing.assert_close(maps.maps[0], weights[0] * (image[0] - blurred), atol=1e-5, rtol=1e-4)
    assert maps.passes == sum(len(inputs) for inputs in model.seen) / 2 < 250


@pytest.mark.slow
def test_shap_shares_out_the_effect_of_the_blur() -> None:
    image = four_quarters()
    classifier, model = recorded(contrast_of_first_quarter, image, mean=0.5)
    maps = made("shap", classifier).explain(image, 1, "x").maps
    hidden, whole = (contrast_of_first_quarter(inputs)[0, 1] for inputs in model.seen[:2])
    torch.testing.assert_close(whole, contrast_of_first_quarter(image[None] - 0.5)[0, 1])
    torch.testing.assert_close(maps.sum(), whole - hidden, atol=1e-4, rtol=1e-4)


@EACH
def test_the_classifier_is_left_as_it_was(name: str) -> None:
    image = four_quarters()
    classifier, model = recorded(contrast_of_first_quarter, image, mean=0.5)
    model.weight = nn.Parameter(torch.ones(1))
    made(name, classifier).explain(image, 1, "x")
    assert model.training
    assert model.weight.requires_grad


@pytest.mark.parametrize(("name", "package"), [("rise", "torchray"), ("lime", "lime"), ("shap", "shap")])
def test_a_missing_package_is_named_with_its_command(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(module)

    image = four_quarters()
    classifier, _ = recorded(contrast_of_first_quarter, image)
    monkeypatch.setattr(importlib, "import_module", missing)
    refusal = rf"needs the package {package}.*pip install 'inr-xai\[peers\]'"
    with pytest.raises(UserError, match=refusal):
        build_other_method(name, MethodSetup(classifier, CPU, (0.1,)))
    with pytest.raises(UserError, match=refusal):
        FEW[name](classifier).explain(image, 1, "x")


def test_what_cannot_be_explained_is_refused_when_the_method_is_built() -> None:
    images = torch.zeros(4, 8, 8)
    with pytest.raises(UserError, match="images of 1 or 3 channels and the classifier's have 4"):
        FEW["lime"](recorded(contrast_of_first_quarter, images)[0])
    with pytest.raises(UserError, match="RISE needs probabilities"):
        FEW["rise"](recorded(contrast_of_first_quarter, images, head="none")[0])


def test_the_defaults_are_those_that_are_reported() -> None:
    classifier, _ = recorded(contrast_of_first_quarter, four_quarters())
    settings = [METHOD(classifier, device=CPU).settings for METHOD in (RISE, LIME, PartitionSHAP)]
    assert settings == [
        {"rise": 1000, "seed": 0},
        {"lime": 1000, "seed": 0},
        {"shap": 500, "blur": 128, "at_once": 50, "seed": 0},
    ]
