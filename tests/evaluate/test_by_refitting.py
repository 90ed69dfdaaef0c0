"""Metrics that explain anew: what they cannot do is one sentence."""

from pathlib import Path

import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.start import MapStart
from inr_xai.errors import UserError
from inr_xai.evaluate.by_refitting import refit
from inr_xai.method import Method
from tests.conftest import pictures


def test_a_run_that_starts_from_stored_maps_has_none_for_changed_images(tiny: FrozenClassifier, tmp_path: Path) -> None:
    explain = refit(tiny, Method(steps=1, start=MapStart(str(tmp_path))), None)
    with pytest.raises(UserError, match=r"start=maps has no maps of changed images.*start=gradient"):
        explain(tiny.model, pictures(1), torch.tensor([0]))
