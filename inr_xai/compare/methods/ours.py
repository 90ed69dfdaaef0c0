"""Our own masks as methods of the comparison: the first explanation, and the second beside what the first took."""

from collections.abc import Mapping
from typing import Any

import torch

from inr_xai.compare.methods.base import Explainer, Maps, Stopwatch
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.digests import describe
from inr_xai.errors import UserError
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.masks import hard_masks
from inr_xai.method import Method
from inr_xai.seeding import generator
from inr_xai.types import Classifier, Image

MEMORY = ("masks_per_forward", "images_per_fit")
"""Options of a method that its masks do not depend on."""


class Fit:
    """Fits masks of single images with one method.

    Args:
        donors: photos for perturbations that want them.
        device: where to fit.
        trainer: accelerator and precision for Lightning; None: those of the device.
    """

    def __init__(
        self,
        method: Method,
        classifier: Classifier,
        *,
        device: torch.device,
        donors: PhotoPool | None = None,
        trainer: Mapping[str, Any] | None = None,
    ):
        self.method, self.device = method, device
        self._classifier, self._donors, self._trainer = classifier, donors, trainer

    @property
    def settings(self) -> dict[str, Any]:
        """The method's, defaults included, with the precision of the fit."""
        arguments = describe(self.method)["arguments"]
        precision = (self._trainer or {}).get("precision", "32-true")
        return {key: value for key, value in arguments.items() if key not in MEMORY} | {"precision": precision}

    def run(self, image: Image, target: int, image_id: str) -> tuple[FitResult, float]:
        """The masks of one image, and the seconds. Raises UserError where the fit failed."""
        donors = self._donors.all() if self._donors is not None and self.method.perturbation.needs_donors else None
        with Stopwatch(self.device) as watch:
            fitted = fit_masks(
                image[None].to(self.device),
                torch.tensor([target]),
                [image_id],
                self._classifier,
                self.method,
                donors=donors,
                trainer=self._trainer,
            )
        if fitted.failures:
            raise UserError(fitted.failures[0])
        return fitted, watch.seconds


class FirstExplanation(Explainer):
    """The masks of the first explanation.

    Args:
        controlled: whether the wrong-target control is run for it; variants of one method do not each need it.
    """

    def __init__(self, fit: Fit, *, controlled: bool = True):
        if fit.method.explanations != 1:
            raise UserError(f"explanations={fit.method.explanations} would fit more than is compared; use 1")
        self._fit = fit
        self.fitted = controlled

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._fit.settings

    def explain(self, image: Image, target: int, image_id: str) -> Maps:
        fitted, seconds = self._fit.run(image, target, image_id)
        return Maps(fitted.masks[0][0], passes=float(self._fit.method.passes), seconds=seconds)


class SecondExplanation(Explainer):
    """The masks of the second explanation, with the pixels that were free for it."""

    def __init__(self, fit: Fit):
        if fit.method.explanations != 2:
            raise UserError(f"explanations={fit.method.explanations} has no second to compare, or more; use 2")
        self._fit = fit

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._fit.settings

    def explain(self, image: Image, target: int, image_id: str) -> Maps:
        method = self._fit.method
        fitted, seconds = self._fit.run(image, target, image_id)
        areas = torch.tensor(list(method.areas), dtype=torch.float64)
        first = hard_masks(fitted.masks[0][:1], areas, generators=[generator(method.seed, image_id, "ties")])
        free = fitted.free[1]
        return Maps(
            fitted.masks[0][1],
            passes=2.0 * method.passes,
            seconds=seconds,
            free=None if free is None else free[0],
            first=first[0],
        )
