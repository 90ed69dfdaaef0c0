"""The interface of every INR family: a stack of independent coordinate networks, one per image of a batch.

Byra and Skibbe, "Generating visual explanations from deep networks using implicit neural representations", WACV 2025:
the mask is a network of the pixel's coordinates, conditioned on the area.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.errors import UserError
from inr_xai.types import Areas

POINTS_AT_ONCE = 8192  # bounds the memory of a drawing at a high resolution

Encoded = TypeVar("Encoded")
"""What a family makes of coordinates before learned weights come in: features, or the cells of a grid."""


class INR(nn.Module, ABC, Generic[Encoded]):
    """b networks f(u, a) -> logit, evaluated together.

    Every entry of the state dict has a leading image axis, so that one image's network can be cut out and stored.
    A family is a final subclass whose constructor takes one generator per image, and keyword arguments.
    """

    @abstractmethod
    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Encoded:
        """The part of the network without learned weights, for `forward`; a fit computes it once for its grid."""

    @abstractmethod
    def forward(self, encoded: Encoded, areas: Areas) -> Float[Tensor, "b a p"]:
        """Logits of every image at every area and point."""

    def export(self, image: int) -> dict[str, Tensor]:
        """The weights and buffers of one image's network, without the image axis."""
        return {name: value[image].detach().cpu().contiguous() for name, value in self.state_dict().items()}

    def load(self, networks: Sequence[dict[str, Tensor]]) -> None:
        """Fills the stack with exported networks, one per image, in order. Raises KeyError where a weight misses."""
        names = self.state_dict().keys()
        self.load_state_dict({name: torch.stack([network[name] for network in networks]) for name in names})


def require_whole(**options: int) -> None:
    """Raises UserError unless every option of the INR is at least 1."""
    for name, value in options.items():
        if value < 1:
            raise UserError(f"inr.{name}={value} is out of range; it must be a whole number, at least 1")


def require_positive(**options: float) -> None:
    """Raises UserError unless every option of the INR is positive and finite."""
    for name, value in options.items():
        if not 0 < value < float("inf"):
            raise UserError(f"inr.{name}={value:g} is out of range; it must be a positive number")


def pixel_centres(size: tuple[int, int], like: Tensor) -> Float[Tensor, "p 2"]:
    """The (x, y) of every pixel's centre in [-1, 1]^2, row by row; dtype and device of `like`.

    >>> pixel_centres((1, 2), torch.zeros(1)).tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    height, width = size
    y, x = (((torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1).to(like) for side in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2)


@torch.no_grad()
def draw_logits(inr: INR[Any], areas: Areas, size: tuple[int, int]) -> Float[Tensor, "b a h w"]:
    """The INR at every pixel of a grid of any size, in bounded memory."""
    points = pixel_centres(size, areas).split(POINTS_AT_ONCE)
    logits = torch.cat([inr(inr.encode(part), areas) for part in points], dim=-1)
    return logits.unflatten(-1, size)
