"""Linear layers with a leading image axis: one batched product evaluates the networks of all images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """b independent linear layers; image i's weights are drawn from generators[i] alone.

    Weights and biases are uniform in +-1/sqrt(inputs), as in torch.nn.Linear.
    """

    def __init__(self, generators: Sequence[torch.Generator], inputs: int, outputs: int):
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(stacked_uniform(generators, (inputs, outputs), bound))
        self.bias = nn.Parameter(stacked_uniform(generators, (1, outputs), bound))

    def forward(self, x: Float[Tensor, "b n i"]) -> Float[Tensor, "b n o"]:
        return torch.baddbmm(self.bias, x, self.weight)


def stacked_uniform(
    generators: Sequence[torch.Generator], shape: tuple[int, ...], bound: float
) -> Float[Tensor, "b ..."]:
    """Uniform draws in [-bound, bound], each image's from its own generator."""
    return torch.stack([(torch.rand(shape, generator=draw) * 2 - 1) * bound for draw in generators])


def stacked_normal(generators: Sequence[torch.Generator], shape: tuple[int, ...], std: float) -> Float[Tensor, "b ..."]:
    """Normal draws of mean 0, each image's from its own generator."""
    return torch.stack([torch.randn(shape, generator=draw) * std for draw in generators])
