"""Where the memory of the device is small: it is found out once for start, fits and scores, and changes no result."""

import math

import pytest
import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.fitting.run_scorer import RunScorer
from inr_xai.method import Method
from inr_xai.types import Batch
from tests.conftest import pictures
from tests.helpers.memory import Scarce
from tests.helpers.runs import messages

METHOD = Method(areas=(0.1, 0.3), explanations=2, steps=3, images_per_fit=2, masks_per_forward=16)
DOUBLE = {"accelerator": "cpu", "devices": 1, "precision": "64-true"}
IDS, TARGETS = list("abcd"), torch.tensor([0, 1, 2, 3])


def explained(tiny: FrozenClassifier, most: float) -> tuple[FitResult, RunScorer, Scarce]:
    """Fits and scores four images in two stacks, in double precision."""
    images = pictures(4).double()
    assert isinstance(tiny.model, nn.Module)
    model = Scarce(tiny.model, most)
    classifier = tiny.of(model)
    scorer = RunScorer(classifier, Batch(images, TARGETS, IDS), METHOD, photos=pictures(4).double().unsqueeze(1))
    return fit_masks(images, TARGETS, IDS, classifier, METHOD, trainer=DOUBLE, keep=scorer), scorer, model


@pytest.mark.slow
def test_the_memory_is_found_out_once_and_changes_no_result(
    tiny: FrozenClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    plenty, expected, _ = explained(tiny, math.inf)
    scarce, scorer, model = explained(tiny, 2)
    assert messages(caplog.records) == ["the memory does not suffice; from here on masks_per_forward=2"]
    # The four masks of a stack, 2 images at 2 areas, do not go through at once, and nobody tries it again.
    assert model.refused == 1
    assert (plenty.losses - scarce.losses).abs().max() < 1e-6
    assert (plenty.masks.float() - scarce.masks.float()).abs().max() < 1e-3
    for ours, theirs in zip(scorer.rows, expected.rows, strict=True):
        for row, other in zip(ours, theirs, strict=True):
            assert row == pytest.approx(other, abs=1e-3, nan_ok=True)
