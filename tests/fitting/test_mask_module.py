"""One optimisation step: its gradient against autograd, what its state holds, and the length of a contour."""

from dataclasses import replace

import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.mask_module import MaskModule, total_variation
from inr_xai.method import Method
from inr_xai.perturbation import Jitter
from inr_xai.types import Batch
from tests.conftest import pictures

SHORT = Method(areas=(0.1, 0.3), explanations=2, steps=4)


def test_gradient_through_chunks_agrees_with_autograd(tiny: FrozenClassifier) -> None:
    images, targets = pictures(3).double(), torch.tensor([0, 1, 2])
    with tiny.frozen("cpu", torch.float64):
        method = replace(SHORT, masks_per_forward=2, jitter=Jitter(0.0))
        batch = Batch(images, targets, list("abc"))
        module = MaskModule(batch, explanation=1, classifier=tiny, method=method)
        kept = (pictures(6).double().reshape(3, 2, 3, 24, 24)).requires_grad_()
        weights = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        score = method.score.evidence
        chunked = module._score_masks(lambda _: kept, score, 1.0, torch.ones(3, 2, 24, 24))
        (gradient,) = torch.autograd.grad((chunked * weights).sum(), kept)
        direct = score(tiny(kept.flatten(0, 1)), targets.repeat_interleave(2), sigmoid=False).reshape(3, 2)
        (expected,) = torch.autograd.grad((direct * weights).sum(), kept)
    torch.testing.assert_close(chunked, direct)
    torch.testing.assert_close(gradient, expected)


def test_the_classifier_is_no_part_of_the_module(tiny: FrozenClassifier) -> None:
    batch = Batch(pictures(1), torch.tensor([0]), ["a"])
    module = MaskModule(batch, explanation=1, classifier=tiny, method=SHORT)
    assert all(name.startswith("inr.") for name in module.state_dict())
    assert tiny.model not in list(module.modules())


def test_total_variation_is_the_length_of_a_contour() -> None:
    square = torch.zeros(1, 1, 20, 20)
    square[..., 5:15, 5:15] = 1
    assert float(total_variation(square)) == pytest.approx(4 * 10 / 20)
