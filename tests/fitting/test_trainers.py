"""Nothing of a fit stays in memory once it has ended, whatever its end, also while Python looks for no cycles."""

import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import lightning
import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.stack import FitStopped
from inr_xai.fitting.trainers import device_of
from inr_xai.limits import Plateau
from inr_xai.method import Method
from tests.conftest import pictures

SHORT: dict[str, Any] = {"areas": (0.1, 0.3), "explanations": 2, "steps": 4}
CPU = {"accelerator": "cpu", "devices": 1}


class Watch(lightning.Callback):
    """Remembers which trainers and modules fit, without keeping them, and may end the fit in its last step."""

    def __init__(self, error: type[Exception] | None = None):
        self.error = error
        self.seen: list[weakref.ref[object]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.seen += [weakref.ref(trainer), weakref.ref(pl_module)]

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def no_search() -> Iterator[None]:
    """Keeps Python from looking for cycles."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize(
    ("options", "error", "fits"),
    [
        ({}, None, 4),
        ({"plateau": Plateau(2), "steps": 16}, None, None),
        ({"cuda_graphs": True}, None, 4),  # which a CPU does not have: the module has an Accelerated all the same
        ({}, FitStopped, 2),
        ({}, RuntimeError, 1),
    ],
)
def test_trainers_and_modules_are_gone_after_a_fit(
    tiny: FrozenClassifier, options: dict[str, Any], error: type[Exception] | None, fits: int | None
) -> None:
    watch, method = Watch(error), Method(**SHORT | options)
    with contextlib.suppress(RuntimeError):
        fit_masks(pictures(2), torch.tensor([0, 1]), ["a", "b"], tiny, method, callbacks=[watch], trainer=CPU)
    assert len(watch.seen) == 2 * fits if fits is not None else len(watch.seen) > 8
    assert [seen() for seen in watch.seen if seen() is not None] == []


@pytest.mark.usefixtures("no_search")
def test_the_trainer_that_tells_the_device_is_gone() -> None:
    device_of(CPU)
    assert [type(part) for part in gc.get_objects() if type(part) is lightning.Trainer] == []
