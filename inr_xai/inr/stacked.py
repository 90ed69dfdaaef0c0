"""Linear layers with a leading image axis: one batched product evaluates the layers of all images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.seeding import stacked_uniform


class StackedLinear(nn.Module):
    """b independent linear layers gain * (x W + c); image i's weights are drawn from generators[i] alone.

    Args:
        generators: one per image.
        inputs, outputs: number of inputs and of outputs.
        bound: W is uniform in +-bound. The default is 1/sqrt(inputs) as in torch.nn.Linear, and c always has it.
        gain: a factor of all outputs, or one for each. If W is drawn smaller by the same factor, the initial outputs
            stay the same, and an optimiser's step has an effect that is larger by this factor.
        speed: a further factor of all outputs, by which W and c are drawn smaller: only the effect of an optimiser's
            step changes.
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
        speed: float = 1.0,
    ):
        super().__init__()
        default = inputs**-0.5
        bound = default if bound is None else bound
        self.weight = nn.Parameter(stacked_uniform(generators, (inputs, outputs), bound / speed))
        self.bias = nn.Parameter(stacked_uniform(generators, (1, outputs), default / speed))
        self.register_buffer("gain", torch.tensor(gain) * speed, persistent=False)

    @property
    def outputs(self) -> int:
        return self.weight.shape[-1]

    def forward(self, x: Float[Tensor, "b n i"]) -> Float[Tensor, "b n o"]:
        return torch.baddbmm(self.bias * self.gain, x, self.weight * self.gain)
