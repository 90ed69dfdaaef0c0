"""The four baselines under which masks are scored: blur, mean colour, noise, and other photos.

No fit uses the last two, so no mask can exploit them (docs/method.md, "Metrics").
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.columns import BASELINES
from inr_xai.seeding import generator
from inr_xai.types import Images

BLUR_SIDE = 224
"""The side in pixels of the image to which the blur's sigma refers."""


def scoring_baselines(
    images: Images,
    sample_ids: Sequence[str],
    *,
    seed: int,
    colour_mean: Float[Tensor, " c"],
    photos: Float[Tensor, "b p c h w"],
    blur_sigma: float = 20.0,
    noise_std: float = 0.25,
    noise_draws: int = 4,
) -> dict[str, Float[Tensor, "b _d c h w"]]:
    """Returns what replaces the pixels that a mask does not keep: name of the baseline -> draws for each image.

    Args:
        images: values in [0, 1]; the draws are on their device.
        seed: the noise of an image depends on the seed and its sample id alone, not on the batch.
        photos: other photos for each image, at least one.
        blur_sigma: standard deviation in pixels of an image of side 224; it is scaled with the shorter side of the
            images. Borders are mirrored.
        noise_std: standard deviation of the Gaussian around the mean colour, per pixel and channel, before clipping
            to [0, 1].

    Raises:
        ValueError: the number of sample ids is wrong, or an image has no photo.
    """
    if len(sample_ids) != len(images) or photos.shape[1] == 0:
        raise ValueError(
            f"expected {len(images)} sample ids and at least one photo per image, got {len(sample_ids)} ids and "
            f"{photos.shape[1]} photos; build the scoring pool from more images"
        )
    colour = colour_mean.to(images).reshape(-1, 1, 1)
    noise = white_noise(images, sample_ids, seed=seed, draws=noise_draws)
    draws = (
        gaussian_blur(images, blur_sigma * min(images.shape[-2:]) / BLUR_SIDE).unsqueeze(1),
        colour.expand_as(images).unsqueeze(1),
        (colour + noise_std * noise).clamp(0, 1),
        photos.to(images),
    )
    return dict(zip(BASELINES, draws, strict=True))


def white_noise(
    images: Images, sample_ids: Sequence[str], *, seed: int, draws: int = 4
) -> Float[Tensor, "b {draws} c h w"]:
    """Returns standard normal noise for each image, in its dtype and on its device.

    The noise of an image depends on the seed and its sample id alone.
    """
    shape = draws, *images.shape[1:]
    # Drawn in single precision on the CPU, so that device and precision do not change the noise.
    noise = [torch.randn(shape, generator=generator(seed, name, "noise")) for name in sample_ids]
    return torch.stack(noise).to(images)
