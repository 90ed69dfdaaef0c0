"""What a step of our fit costs, for one classifier and number of images: a row of the benchmark's first table."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any

import lightning
import step_models
import torch
from jaxtyping import Float
from step_memory import peak_memory
from step_timer import StepTimer
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.fit import fit_masks
from inr_xai.method import Method
from inr_xai.types import Row


@dataclass(frozen=True)
class Setting:
    """Where and how all fits are done.

    Args:
        method: the method; its images are fitted as one stack, whatever it says.
        precision: of Lightning's trainer.
    """

    device: torch.device
    method: Method
    precision: str = "32-true"

    @property
    def trainer(self) -> Mapping[str, Any]:
        """Arguments of Lightning's trainer."""
        on_gpu = self.device.type == "cuda"
        return {"accelerator": "gpu" if on_gpu else "cpu", "devices": 1, "precision": self.precision}


def fit(
    classifier: FrozenClassifier,
    images: Float[Tensor, "b 3 h w"],
    setting: Setting,
    *,
    callbacks: Sequence[lightning.Callback] = (),
    **changes: Any,
) -> float:
    """Fits all images as one stack, for the classes 0, 1 and so on, and returns the seconds.

    Args:
        changes: arguments of the method that differ from the setting's.
    """
    count, device = len(images), setting.device
    method = replace(setting.method, images_per_fit=count, **changes)
    donors = step_models.donors(images.shape[-1]).to(device)
    ids = [f"image {number}" for number in range(count)]
    moved = images.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    fit_masks(
        moved,
        torch.arange(count, device=device),
        ids,
        classifier,
        method,
        donors=donors,
        callbacks=callbacks,
        trainer=setting.trainer,
    )
    return time.perf_counter() - began  # masks are on the CPU, so the device has ended


def time_steps(
    classifier: FrozenClassifier, images: Float[Tensor, "b 3 h w"], setting: Setting, *, repeats: int, **changes: Any
) -> tuple[StepTimer, float]:
    """Returns the times of a fit's steps, and the seconds that the fit took beside steps and measurement.

    Args:
        repeats: how often a step is timed.
        changes: arguments of the method that differ from the setting's.
    """
    timer, steps = StepTimer(setting.device), StepTimer.steps_for(repeats, setting.device)
    seconds = fit(classifier, images, setting, callbacks=[timer], steps=steps, **changes)
    return timer, max(0.0, seconds - timer.overhead - steps * fmean(timer.steps))


def measure(
    classifier: FrozenClassifier,
    images: Float[Tensor, "b 3 h w"],
    setting: Setting,
    *,
    repeats: int,
    longest_fit: float,
) -> Row:
    """Returns what a step of these images costs.

    Args:
        repeats: how often a step is timed.
        longest_fit: seconds up to which a whole fit is done; the time of a longer one is computed from its step.
    """
    timer, beside = time_steps(classifier, images, setting, repeats=repeats)
    seconds, whole = beside + setting.method.steps * fmean(timer.steps), False
    if seconds <= longest_fit:
        seconds, whole = fit(classifier, images, setting), True
    memory = peak_memory(lambda: fit(classifier, images, setting, steps=2), setting.device)
    return {
        "images": len(images),
        "areas": len(setting.method.areas),
        "copies": timer.copies,
        "repeats": len(timer.steps),
        "step_ms": 1000 * median(timer.steps),
        "step_least_ms": 1000 * min(timer.steps),
        "passes_ms": 1000 * median(timer.passes),
        "passes_least_ms": 1000 * min(timer.passes),
        "ratio": median([step / own for step, own in zip(timer.steps, timer.passes, strict=True)]),
        "ratio_least": min(timer.steps) / min(timer.passes),
        "ratio_all": sum(timer.steps) / sum(timer.passes),
        "classifier_operators": timer.operators,
        "memory_mib": memory,
        "photos_per_second": len(images) / seconds,
        "whole_fit": whole,
    }
