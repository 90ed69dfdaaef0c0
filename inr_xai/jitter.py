"""Small random shifts (and flips) of the masked image, so that a mask does not fit one alignment of the pixels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.errors import UserError


class Jitter:
    """Shifts each image of a batch by a random whole number of pixels; borders are replicated.

    Args:
        shift: largest shift along each axis, as a fraction of the side; 0 switches it off.
        flip: also mirror left and right with probability 1/2 (not for classes that know left from right).
    """

    def __init__(self, shift: float = 0.03, *, flip: bool = False):
        if not 0 <= shift < 0.5:
            raise UserError(
                f"jitter.shift must lie in [0, 0.5), the largest shift as a fraction of the side; got {shift}"
            )
        self.shift, self.flip = shift, flip

    def __call__(
        self, images: Float[Tensor, "b a c h w"], generators: Sequence[torch.Generator]
    ) -> Float[Tensor, "b a c h w"]:
        """The same shift for all areas of an image, drawn from the image's own generator."""
        moved = [self._move(image, draw) for image, draw in zip(images, generators, strict=True)]
        return torch.stack(moved)

    def _move(self, image: Float[Tensor, "a c h w"], draw: torch.Generator) -> Float[Tensor, "a c h w"]:
        height, width = image.shape[-2:]
        dy, dx = (int(self._shift(side, draw)) for side in (height, width))
        if dy or dx:
            # Rows and columns taken with clamped indices: replicated borders, and a gradient that sums over copies.
            rows = (torch.arange(height, device=image.device) + dy).clamp(0, height - 1)
            columns = (torch.arange(width, device=image.device) + dx).clamp(0, width - 1)
            image = image.index_select(-2, rows).index_select(-1, columns)
        if self.flip and bool(torch.rand((), generator=draw) < 0.5):
            image = image.flip(-1)
        return image

    def _shift(self, side: int, draw: torch.Generator) -> Tensor:
        most = round(self.shift * side)
        return torch.randint(-most, most + 1, (), generator=draw)
