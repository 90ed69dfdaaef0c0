"""The course of a fit: a module, and those in which some of its images go on after it (`plateau.steps`).

It can be kept after every step, and taken up where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.plateau import DRAWS, PlateauModule
from inr_xai.inr import INR


class Course:
    """The fit of one explanation of some images.

    Args:
        module: a module whose fit begins.

    Attributes:
        curves: the loss of each image at each of its steps; empty until its fit has ended.
        steps: what each image has cost, in steps. A check of `plateau` has no backward passes: they count half.
        inr: the networks, of each image as its fit has ended.
    """

    def __init__(self, module: MaskModule):
        self._module, self._waiting = module, [module]
        self.curves: list[Float[Tensor, " s"]] = [torch.empty(0)] * len(module.rows)
        self.steps = [0.0] * len(module.rows)
        self.inr: INR[Any] = module.inr

    @property
    def lr(self) -> float:
        """The learning rate at the first step."""
        return self._module.lr

    def run(self, make_trainer: Callable[[], lightning.Trainer], at_boundary: Callable[[], None] | None) -> None:
        """Fits the module, and those that go on after it.

        Args:
            at_boundary: is called after each step, when `state` can be kept; None if nobody keeps it.
        """
        while self._waiting:
            part = self._waiting[0]
            part.at_boundary = at_boundary
            if part.first_step < len(part.progress):  # otherwise it was kept after its last step
                make_trainer().fit(part, train_dataloaders=list(range(part.first_step, len(part.progress))))
            self._waiting = [*self._waiting[1:], *part.parts]
            if part.parts:
                continue
            losses = torch.stack(part.losses, dim=1).float().cpu()
            for row, curve in zip(part.rows, losses, strict=True):
                self.curves[row], self.steps[row] = curve, len(curve) + part.checks * DRAWS / 2
            if part is not self._module:
                self._write(part.rows, part.inr)

    def replace(self, rows: Sequence[int], other: "Course") -> None:
        """Replaces the fits of some images by those of another course, whose steps are added."""
        for row, curve, steps in zip(rows, other.curves, other.steps, strict=True):
            self.curves[row], self.steps[row] = curve, self.steps[row] + steps
        self._write(rows, other.inr)

    def state(self) -> dict[str, Any]:
        """Returns tensors and plain values with which a course of the same images goes on where this one is."""
        begun = [part for part in self._waiting if part.losses]
        return {
            "parts": [part.state() | {"whole": part is self._module} for part in begun],
            "inr": dict(self.inr.state_dict()),
            "lr": self.lr,
            "curves": self.curves,
            "steps": self.steps,
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Goes on where another course was that had begun, whose `state` is given."""
        self.inr.load_state_dict(state["inr"])
        self._module.lr = state["lr"]
        self.curves, self.steps = list(state["curves"]), list(state["steps"])
        self._waiting = []
        for known in state["parts"]:
            part = self._module
            if not known["whole"]:
                assert isinstance(part, PlateauModule)
                part = part.of_rows(known["rows"])
            part.go_on_from(known)
            self._waiting.append(part)

    def _write(self, rows: Sequence[int], inr: INR[Any]) -> None:
        """Gives some images other networks."""
        others = inr.state_dict()
        for name, value in self.inr.state_dict().items():
            value[list(rows)] = others[name].to(value)
