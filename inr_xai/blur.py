"""Gaussian blur as two matrix products, with mirrored borders folded into the matrices, so that no colour drifts.

A matrix that holds kernel and borders is symmetric and its rows sum to 1; its columns do too, and the mean of every
channel stays what it was. At sigma 20 and side 224 this is faster on a CPU than convolutions of 161 taps.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.types import Images


def gaussian_blur(images: Images, sigma: float, *, truncate: float = 4.0) -> Images:
    """Returns the images convolved with a Gaussian along both axes.

    Borders are mirrored with the edge pixel repeated (d c b a | a b c d), as often as the kernel needs. Half
    precision is computed in single precision.

    Args:
        sigma: standard deviation in pixels; 0 leaves the images as they are.
        truncate: the kernel ends at this many sigmas.

    >>> point = torch.zeros(1, 1, 5, 5); point[..., 2, 2] = 1
    >>> float(gaussian_blur(point, 1.0).sum().round(decimals=5))
    1.0
    """
    if sigma < 0:
        raise ValueError(f"expected sigma >= 0, in pixels, got {sigma}")
    if sigma == 0:
        return images.clone()
    exact = images.to(torch.promote_types(images.dtype, torch.float32))
    down, across = [_matrix(side, sigma, truncate).to(exact) for side in images.shape[-2:]]
    rows = exact @ across  # the matrices are symmetric: no transposition
    return (rows.transpose(-2, -1) @ down).transpose(-2, -1).contiguous().to(images.dtype)


def _matrix(side: int, sigma: float, truncate: float) -> Float[Tensor, "n n"]:
    """Returns the matrix whose row i holds the weights of all pixels in the blurred pixel i."""
    radius = max(1, round(truncate * sigma))
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    # Mirroring has the period 2 * side; the second half of a period runs backwards.
    position = (torch.arange(side).unsqueeze(1) + offsets) % (2 * side)
    source = torch.minimum(position, 2 * side - 1 - position)
    weights = (kernel / kernel.sum()).expand(side, -1)
    return torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, source, weights)
