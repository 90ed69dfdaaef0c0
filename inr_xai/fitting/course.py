"""The course of a fit: a module, those in which its images go on (`plateau.steps`), and the second try of some.

It can be kept after every step, and taken up where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import lightning
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.plateau import DRAWS
from inr_xai.inr import INR


@runtime_checkable
class NewModule(Protocol):
    """Returns a module whose fit begins."""

    def __call__(self, rows: Sequence[int], *, again: bool) -> MaskModule:
        """Returns the module of some images, in their first or second try."""


class Course:
    """The fit of one explanation of some images. Those whose loss diverges are fitted once more.

    Args:
        new_module: makes the modules.
        images: their number.

    Attributes:
        curves: the loss of each image at each of its steps; empty until its fit has ended.
        steps: what each image has cost, in steps. A check of `plateau` has no backward passes: they count half.
        again: for each image that was fitted once more, the learning rate of that.
        inr: the networks, of each image as its fit has ended.
    """

    def __init__(self, new_module: NewModule, images: int):
        self._new_module = new_module
        first = new_module(range(images), again=False)
        self._waiting, self.inr = [first], first.inr
        self.curves: list[Float[Tensor, " s"]] = [torch.empty(0)] * images
        self.steps, self.again = [0.0] * images, dict[int, float]()

    def run(
        self,
        make_trainer: Callable[[], AbstractContextManager[lightning.Trainer]],
        at_boundary: Callable[[], None] | None,
    ) -> None:
        """Fits the images.

        Args:
            at_boundary: is called between two steps, when `state` can be kept; None if nobody keeps it.
        """
        while self._waiting:
            part = self._waiting[0]
            part.at_boundary = at_boundary
            with make_trainer() as trainer:
                trainer.fit(part, train_dataloaders=list(range(part.first_step, len(part.progress))))
            self._waiting = [*self._waiting[1:], *part.parts]
            if part.parts:
                continue
            losses = torch.stack(part.losses, dim=1).float().cpu()
            for row, curve in zip(part.rows, losses, strict=True):
                self.curves[row] = curve
                self.steps[row] += len(curve) + part.checks * DRAWS / 2
                if part.again:
                    self.again[row] = part.lr
            if part.inr is not self.inr:
                self._write(part.rows, part.inr)
            if not (self._waiting or part.again):
                diverged = [row for row, curve in enumerate(self.curves) if not bool(curve.isfinite().all())]
                self._waiting = [self._new_module(diverged, again=True)] if diverged else []

    def state(self) -> dict[str, Any]:
        """Returns tensors and plain values with which a course of the same images goes on between two steps."""
        return {
            "parts": [part.state() | {"rows": part.rows, "again": part.again} for part in self._waiting],
            "inr": dict(self.inr.state_dict()),
            "curves": self.curves,
            "steps": self.steps,
            "again": self.again,
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Goes on where another course was, whose `state` is given."""
        self.inr.load_state_dict(state["inr"])
        self.curves, self.steps, self.again = list(state["curves"]), list(state["steps"]), dict(state["again"])
        self._waiting = []
        for known in state["parts"]:
            part = self._new_module(known["rows"], again=known["again"])
            part.go_on_from(known)
            self._waiting.append(part)

    def _write(self, rows: Sequence[int], inr: INR[Any]) -> None:
        """Gives some images other networks."""
        others = inr.state_dict()
        for name, value in self.inr.state_dict().items():
            value[list(rows)] = others[name].to(value)
