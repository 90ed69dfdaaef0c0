"""Counts what one step of a fit gives to the device, beside the classifier's own pass."""

from dataclasses import dataclass, field

import lightning
import torch

from benchmarks.operator_count import OperatorCount
from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.trainers import light_trainer, quiet_lightning
from inr_xai.method import Method
from inr_xai.types import Batch
from tests.conftest import pictures


@dataclass
class StepCounts(lightning.Callback):
    """What each step costs: operators with and without views, and how often the host waited for a value."""

    operators: list[int] = field(default_factory=list)
    kernels: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)

    def on_train_batch_start(self, trainer: object, module: object, batch: object, batch_idx: int) -> None:
        self._count = OperatorCount()
        self._count.__enter__()

    def on_train_batch_end(self, trainer: object, module: object, outputs: object, batch: object, idx: int) -> None:
        self._count.__exit__(None, None, None)
        self.operators.append(self._count.operators)
        self.kernels.append(self._count.operators - self._count.views)
        self.reads.append(self._count.reads)


def count_steps(classifier: FrozenClassifier, method: Method, images: int) -> StepCounts:
    """Fits images as one stack, and returns what its steps cost beside the classifier's own pass."""
    batch = Batch(pictures(images), torch.zeros(images, dtype=torch.long), [f"image {i}" for i in range(images)])
    counts = StepCounts()
    with classifier.frozen("cpu", torch.float32), quiet_lightning():
        module = MaskModule(batch, explanation=1, classifier=classifier, method=method, donors=pictures(4, seed=9))
        steps = list(range(method.steps))
        with light_trainer({"accelerator": "cpu"}, [counts]) as trainer:
            trainer.fit(module, train_dataloaders=steps)
        with OperatorCount() as own:
            inputs = batch.images.repeat_interleave(len(method.areas), 0).requires_grad_()
            logits = classifier(inputs)
            torch.autograd.grad(logits, inputs, torch.ones_like(logits))
    counts.operators = [count - own.operators for count in counts.operators]
    counts.kernels = [count - own.operators + own.views for count in counts.kernels]
    return counts
