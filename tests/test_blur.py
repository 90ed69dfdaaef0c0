"""The blur against direct convolution in float64, and what it must not change."""

import numpy as np
import pytest
import torch

from inr_xai.blur import gaussian_blur
from tests.helpers import reference


@pytest.mark.parametrize("sigma", [0.7, 2.0, 9.0])
def test_blur_is_a_direct_convolution_with_mirrored_borders(sigma: float) -> None:
    images = torch.rand(2, 2, 9, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    blurred = gaussian_blur(images, sigma)
    for image in range(2):
        for channel in range(2):
            expected = reference.gaussian_blur(images[image, channel].numpy(), sigma)
            np.testing.assert_allclose(blurred[image, channel].numpy(), expected, atol=1e-12)


def test_blur_keeps_the_mean_colour_and_constants() -> None:
    images = torch.rand(2, 3, 40, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    blurred = gaussian_blur(images, 6.0)
    torch.testing.assert_close(blurred.mean((-2, -1)), images.mean((-2, -1)), atol=1e-12, rtol=0)
    torch.testing.assert_close(gaussian_blur(torch.full_like(images, 0.3), 6.0), torch.full_like(images, 0.3))
    assert torch.equal(gaussian_blur(images, 0.0), images)
    with pytest.raises(ValueError, match="sigma"):
        gaussian_blur(images, -1.0)


def test_blur_of_half_precision_is_rounded_once() -> None:
    images = torch.rand(1, 3, 32, 32).half()
    assert torch.equal(gaussian_blur(images, 3.0), gaussian_blur(images.float(), 3.0).half())


def test_nan_does_not_spread_to_other_images() -> None:
    images = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    alone = gaussian_blur(images[1:], 2.0)
    images[0] = torch.nan
    torch.testing.assert_close(gaussian_blur(images, 2.0)[1:], alone)
