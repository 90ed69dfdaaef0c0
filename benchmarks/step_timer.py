"""Times the steps of a fit and, in turn with them, the classifier's own passes over the tensors of these steps."""

import contextlib
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from operator_count import OperatorCount
from torch import Tensor, nn

from inr_xai.fitting.mask_module import MaskModule

WARM = {"cpu": 2, "cuda": 8}
"""Steps before those that are timed: libraries choose their kernels in them, and graphs are captured."""
BLOCK = {"cpu": 1, "cuda": 5}
"""Steps that are timed as one, so that a GPU need not wait for the host after each."""


class Clock:
    """Measures seconds: on a CPU by the clock of the wall, on a GPU by events of its stream.

    >>> clock = Clock(torch.device("cpu"))
    >>> clock.start()
    >>> 0 <= clock.stop() < 1
    True
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._began: Any = None

    def start(self) -> None:
        """Waits for the device and begins."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self._began = torch.cuda.Event(enable_timing=True)
            self._began.record()
        else:
            self._began = time.perf_counter()

    def stop(self) -> float:
        """Returns the seconds since `start`, in which the device has done everything that it was given."""
        if self._device.type != "cuda":
            return time.perf_counter() - self._began
        end = torch.cuda.Event(enable_timing=True)
        end.record()
        end.synchronize()
        return self._began.elapsed_time(end) / 1000


@dataclass(frozen=True)
class Call:
    """One call of the classifier's model: a copy of what it was given, in the same layout, and the precision."""

    inputs: Tensor
    autocast: AbstractContextManager[Any]


class Passes:
    """The calls of the model in one step, which can be made again without what is ours.

    >>> passes, model = Passes(), nn.Linear(2, 1)
    >>> with passes.recording(model):
    ...     _ = model(torch.ones(3, 2))
    >>> passes()
    >>> passes.images
    3
    """

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._model: nn.Module = nn.Identity()

    def recording(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Returns a context in which the calls of the model are recorded."""
        self._model = model
        return model.register_forward_pre_hook(self._record)

    def _record(self, model: nn.Module, arguments: Sequence[Tensor]) -> None:
        (inputs,) = arguments
        kind = inputs.device.type
        autocast = torch.autocast(
            kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
        )
        self._calls.append(Call(inputs.detach().clone(), autocast))

    @property
    def images(self) -> int:
        """The number of images that the model was given."""
        return sum(len(call.inputs) for call in self._calls)

    def __call__(self) -> None:
        """Does each call again, forward and backward to the inputs."""
        for call in self._calls:
            with torch.enable_grad():
                inputs = call.inputs.detach().requires_grad_()
                with call.autocast:
                    returned = self._model(inputs)
                outputs = getattr(returned, "logits", returned)
                torch.autograd.grad(outputs.sum(), inputs)

    def count(self) -> OperatorCount:
        """Does each call again, and returns the operators."""
        with OperatorCount() as count:
            self()
        return count


class StepTimer(lightning.Callback):
    """Times the steps of one fit, and after each the classifier's passes of such a step.

    The time of a step is that from the end of one batch of Lightning's to the end of the next: forward, backward,
    optimiser and loop. The classifier's passes have the same tensors, precision and memory layout.

    Attributes:
        steps, passes: seconds of each timed step, and of the classifier's passes after it.
        copies: images that the classifier is given in a step.
        operators: of the classifier's passes in a step, as `OperatorCount` counts them.
        overhead: seconds that the measurement itself took.
    """

    def __init__(self, device: torch.device):
        super().__init__()
        self._clock, self._warm, self._block = Clock(device), WARM[device.type], BLOCK[device.type]
        self._recorded, self._recording = Passes(), contextlib.ExitStack()
        self.steps: list[float] = []
        self.passes: list[float] = []
        self.copies = self.operators = 0
        self.overhead = 0.0

    @classmethod
    def steps_for(cls, repeats: int, device: torch.device) -> int:
        """Returns the steps of a fit in which a step is timed `repeats` times."""
        return WARM[device.type] + repeats * BLOCK[device.type]

    def on_train_batch_start(self, trainer: Any, module: MaskModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._recording.enter_context(self._recorded.recording(module.classifier.model))

    def on_train_batch_end(self, trainer: Any, module: MaskModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        timed = batch_idx - self._warm + 1
        ends = timed > 0 and timed % self._block == 0
        if ends:
            self.steps.append(self._clock.stop() / self._block)
        began = time.perf_counter()
        if batch_idx == 0:
            self._recording.close()
            self.copies, self.operators = self._recorded.images, self._recorded.count().operators
        if ends:
            self._clock.start()
            for _ in range(self._block):
                self._recorded()
            self.passes.append(self._clock.stop() / self._block)
        self.overhead += time.perf_counter() - began
        if ends or timed == 0:
            self._clock.start()
