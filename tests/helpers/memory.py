"""A classifier on a device whose memory is small."""

import torch
from torch import nn


class Scarce(nn.Module):
    """A classifier whose device has memory for `most` images at a time, and counts how often it did not suffice.

    Args:
        refusal: what is raised then.
    """

    def __init__(self, network: nn.Module, most: float, refusal: Exception | None = None):
        super().__init__()
        self.network, self.most, self.refused = network, most, 0
        self.refusal = refusal or RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            self.refused += 1
            raise self.refusal
        return self.network(images)
