"""The network at the end of a family: hidden layers with the conditioning on the area, and one logit."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.inr.conditioning import make_conditioning
from inr_xai.inr.stacked import StackedLinear
from inr_xai.limits import require_capacity, require_numbers
from inr_xai.types import Areas

Coordinates = Float[Tensor, "b p 2"]
"""The points of each image, from -1 to 1."""
Activation = Callable[[Tensor], Tensor]
Layer = Callable[[int, bool], StackedLinear]
"""Makes a hidden layer, given the number of its inputs and whether it is the first."""


class StackedMLP(nn.Module):
    """b networks of `depth` hidden layers of `width` units and a linear last one.

    Args:
        generators: one per image.
        inputs: number of inputs.
        width, depth: units of a hidden layer, and the number of hidden layers.
        conditioning: "concat", "film" or "none": see `inr_xai.inr.conditioning`.
        layer: makes the hidden layers; by default a linear layer of `width` sums.
        activation: maps a layer's sums to its `width` units.
        last_bound: the last layer's weights are uniform in +-last_bound; None for the default of `StackedLinear`.
        speed, film_speed: how fast the layers and FiLM's scales and shifts learn, see `StackedLinear`; the layers that
            `layer` makes have their own.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        inputs: int,
        *,
        width: int,
        depth: int,
        conditioning: str,
        layer: Layer | None = None,
        activation: Activation = torch.relu,
        last_bound: float | None = None,
        speed: float = 1.0,
        film_speed: float = 1.0,
    ):
        super().__init__()
        require_numbers("inr", width=width, depth=depth, speed=speed, film_speed=film_speed)
        require_capacity(2 * width * (inputs + width * (depth - 1)))
        make = layer or (lambda inputs, _: StackedLinear(generators, inputs, width, speed=speed))
        self.activation = activation
        self.first = make(inputs, True)
        self.area = make_conditioning(
            conditioning, generators, sums=self.first.outputs, layers=depth, film_speed=film_speed
        )
        self.hidden = nn.ModuleList(make(width, False) for _ in range(depth - 1))
        self.last = StackedLinear(generators, width, 1, bound=last_bound, speed=speed)

    def __len__(self) -> int:
        """Returns the number of networks."""
        return len(self.last.weight)

    def forward(self, x: Float[Tensor, "b p i"], areas: Areas) -> Float[Tensor, "b a p"]:
        b, p = x.shape[:2]
        x = self.activation(self.area(self.first(x).unsqueeze(1), areas, 0))
        for index, layer in enumerate(self.hidden, start=1):
            sums = layer(x.flatten(1, 2)).unflatten(1, (-1, p))
            x = self.activation(self.area(sums, areas, index))
        return self.last(x.flatten(1, 2)).reshape(b, -1, p).expand(b, len(areas), p)
