"""The smooth fields of random masks: their statistics, and that an image's fields depend on its generator alone."""

import math

import pytest
import torch

from inr_xai.scoring.random_masks import smooth_fields
from tests.helpers.metric_inputs import draws


def test_smooth_fields_are_stationary_with_the_filters_correlation() -> None:
    fields = smooth_fields((20, 20), generators=draws(40), count=50).flatten(0, 1).double()
    variance = fields.var(dim=0)
    border = torch.cat([variance[0], variance[-1], variance[:, 0], variance[:, -1]]).mean()
    assert float(border / variance[5:15, 5:15].mean()) == pytest.approx(1, abs=0.05)
    product = (fields[:, :, :-3] * fields[:, :, 3:]).mean() / (fields**2).mean()
    assert float(product) == pytest.approx(math.exp(-(3**2) / (4 * 2.0**2)), abs=0.03)


def test_smooth_fields_of_an_image_depend_on_its_generator_alone() -> None:
    together = smooth_fields((9, 7), generators=draws(3))
    assert torch.allclose(smooth_fields((9, 7), generators=draws(3)[2:])[0], together[2], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=0.1)
