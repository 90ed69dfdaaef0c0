"""How many operators a piece of code gives to the device, and how often the host waits for a value of a tensor."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
READS = (
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten.unique_dim,
    aten.unique_consecutive,
    aten._unique,
    aten._unique2,
    aten.bincount,
)
"""What returns a value, or a tensor whose shape depends on values: the host waits for the device."""
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index)
"""What counts the true elements of a Boolean index, and so waits for them."""
COPIES = (aten._to_copy, aten.copy_)
"""What waits if it takes a tensor from the device to the host."""
WRITES = (aten.lift_fresh, aten.lift_fresh_copy)
"""What makes a tensor of the host's numbers, such as torch.tensor([1.0]); such numbers are then sent to the device."""


class OperatorCount(TorchDispatchMode):
    """A context that counts the operators in it, those of the backward pass and of the optimiser among them.

    An operator is what PyTorch's dispatcher is given below autograd, views among them.
    Code that a graph of the device or a compiled function replays is not seen.

    Attributes:
        names: how often each operator was given.
        views: how many of them only give a tensor another shape, and leave the device nothing to do.
        reads: how often the host waited for a value of a tensor, as `Tensor.item()`, `nonzero` and Boolean indices do.
        writes: how often a tensor was made of numbers of the host.

    >>> with OperatorCount() as count:
    ...     total = float(torch.ones(3).exp().sum())
    >>> count.operators, count.reads, count.writes
    (4, 1, 0)
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.views = self.reads = self.writes = 0

    @property
    def operators(self) -> int:
        """The number of all operators."""
        return self.names.total()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace != "profiler":  # marks of an optimiser's step in a profile, which are no work
            packet = func.overloadpacket
            self.names[str(packet).removeprefix("aten.")] += 1
            self.views += func.is_view or packet is aten._unsafe_view  # which says nothing of its aliasing
            self.reads += is_read(packet, args, result)
            self.writes += packet in WRITES
        return result


def is_read(packet: Any, args: Sequence[Any], result: Any) -> bool:
    """Returns whether the host has to wait for an operator with these arguments and this result.

    Args:
        packet: the operator without the types of its arguments, such as torch.ops.aten.index.
    """
    if packet in INDEXING:
        return True in [isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]]
    if packet in COPIES:
        devices = [value.device.type for value in args if isinstance(value, Tensor)]
        return isinstance(result, Tensor) and result.device.type == "cpu" and devices[-1] != "cpu"
    # Without the size of its result, which is the sum of the counts, repeat_interleave reads them.
    return packet in READS or (packet is aten.repeat_interleave and args[0].ndim > 0)
