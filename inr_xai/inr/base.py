"""The interface of every INR family: a stack of independent coordinate networks, one per image of a batch.

Byra and Skibbe, "Generating visual explanations from deep networks using implicit neural representations", WACV 2025:
the mask is a network of the pixel's coordinates, conditioned on the area.
"""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.types import Areas

Encoded = TypeVar("Encoded")
"""What a family computes from coordinates without learned weights: features, or the cells of a grid."""


class INR(nn.Module, ABC, Generic[Encoded]):
    """b networks f(u, a) -> logit, evaluated together.

    Every entry of the state dict has a leading image axis, so that the network of one image can be stored by itself.
    The constructor of a family takes one generator per image, and keyword arguments.
    """

    @abstractmethod
    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Encoded:
        """Computes the part without learned weights, as a fit does once for its grid; `forward` takes the result."""

    @abstractmethod
    def forward(self, encoded: Encoded, areas: Areas) -> Float[Tensor, "b a p"]:
        """Returns the logits of every image at every area and point."""
