"""Linear layers with a leading image axis: one batched product evaluates the networks of all images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.seeding import stacked_uniform


class StackedLinear(nn.Module):
    """b independent linear layers gain * (x W + c); image i's weights are drawn from generators[i] alone.

    Args:
        generators: one per image.
        inputs, outputs: widths.
        bound: W is uniform in +-bound; by default 1/sqrt(inputs) as in torch.nn.Linear, which c always is.
        gain: a factor of all outputs, or one for each. With W drawn smaller by the same factor it changes no output
            at the start, but how far an optimiser's step of a given size goes.
    """

    gain: Tensor

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        inputs: int,
        outputs: int,
        *,
        bound: float | None = None,
        gain: float | Sequence[float] = 1.0,
    ):
        super().__init__()
        usual = inputs**-0.5
        self.weight = nn.Parameter(stacked_uniform(generators, (inputs, outputs), usual if bound is None else bound))
        self.bias = nn.Parameter(stacked_uniform(generators, (1, outputs), usual))
        self.register_buffer("gain", torch.tensor(gain), persistent=False)

    @property
    def outputs(self) -> int:
        return self.weight.shape[-1]

    def forward(self, x: Float[Tensor, "b n i"]) -> Float[Tensor, "b n o"]:
        return torch.baddbmm(self.bias * self.gain, x, self.weight * self.gain)
