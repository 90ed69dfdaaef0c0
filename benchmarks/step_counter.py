"""How many operators a step of our fit has outside the classifier, and how often the host waits in it."""

import contextlib
import math
from statistics import fmean
from typing import Any

import lightning
import step_models
import torch
from operator_count import OperatorCount
from step_cells import Setting, fit
from step_timer import WARM, Passes
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.types import Preprocessing, Row

STEPS = 33
"""Steps that are counted; what is drawn for several steps at once is drawn in some of them."""


class StepCounter(lightning.Callback):
    """Counts the operators of each step of a fit, and those of the classifier's passes.

    Attributes:
        steps: what each step was counted to have.
        own: what the classifier's passes of a step have.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passes, self._step = Passes(), contextlib.ExitStack()
        self.steps: list[OperatorCount] = []
        self.own = OperatorCount()

    def on_train_batch_start(self, trainer: Any, module: MaskModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._step.enter_context(self._passes.recording(module.classifier.model))
        else:
            self.steps.append(self._step.enter_context(OperatorCount()))

    def on_train_batch_end(self, trainer: Any, module: MaskModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._step.close()
        if batch_idx == 0:
            self.own = self._passes.count()


def count_operators(images: int, setting: Setting, *, steps: int = STEPS, side: int = step_models.SIDE) -> Row:
    """Returns the operators of a step less those of the classifier, which is a small one here: ours are the same.

    Args:
        images: number of images, in one stack.
        steps: steps that are counted.
        side: of the images, in pixels.
    """
    counter, warm = StepCounter(), WARM[setting.device.type]
    fit(small_classifier(side), step_models.images(images, side), setting, callbacks=[counter], steps=warm + steps)
    counted = counter.steps[-steps:]
    ours = [step.operators - counter.own.operators for step in counted]
    return {
        "our_operators": math.floor(fmean(ours) + 0.5),
        "our_most_operators": max(ours),
        "our_views": math.floor(fmean(step.views - counter.own.views for step in counted) + 0.5),
        "reads": fmean(step.reads for step in counted),
        "writes": fmean(step.writes for step in counted),
    }


def small_classifier(side: int) -> FrozenClassifier:
    """Returns a classifier of few operators, which are soon done."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(3, 8, 16, stride=16), nn.ReLU())
        model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 64))
    preprocessing = Preprocessing((side, side), side, "bilinear", (0.5,) * 3, (0.25,) * 3)
    return FrozenClassifier(model, preprocessing=preprocessing, channels_last=True)
