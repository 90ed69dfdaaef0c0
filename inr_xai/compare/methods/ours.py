"""Our own masks as methods of the comparison: the first explanation, and the second outside the pixels of the first."""

from collections.abc import Mapping
from typing import Any

import torch

from inr_xai.compare.methods.base import Explainer, MethodMaps, Stopwatch
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.digests import describe
from inr_xai.draws import GENERATOR
from inr_xai.errors import UserError
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.masks import hard_masks
from inr_xai.method import Method
from inr_xai.seeding import generator
from inr_xai.types import Classifier, Image

MEMORY_OPTIONS = ("masks_per_forward", "images_per_fit", "compile", "cuda_graphs", "channels_last")
"""Options of a method that its masks do not depend on."""


class MaskFitter:
    """Fits masks of single images with one method.

    Args:
        donors: photos for perturbations that need them.
        device: the device on which masks are fitted.
        trainer: accelerator and precision for Lightning; None takes those of the device.
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
        """The method's arguments, defaults included, the precision of the fit, and the version of its random draws."""
        arguments = describe(self.method)["arguments"]
        made = {"precision": (self._trainer or {}).get("precision", "32-true"), "draws": GENERATOR}
        without = MEMORY_OPTIONS if self.method.plateau.steps is not None else (*MEMORY_OPTIONS, "plateau")
        return {key: value for key, value in arguments.items() if key not in without} | made

    def fit(self, image: Image, target: int, image_id: str) -> tuple[FitResult, float]:
        """Returns the fit of one image and its seconds. Raises UserError if the fit failed."""
        donors = self._donors.all() if self._donors is not None and self.method.perturbation.needs_donors else None
        with Stopwatch(self.device) as watch:
            result = fit_masks(
                image[None].to(self.device),
                torch.tensor([target]),
                [image_id],
                self._classifier,
                self.method,
                donors=donors,
                trainer=self._trainer,
            )
        if result.failures:
            raise UserError(result.failures[0])
        return result, watch.seconds

    def passes(self, result: FitResult) -> float:
        """Returns the classifier passes of the image of a result of `fit`."""
        return self.method.image_passes(result.fits[0]) if result.passes is None else result.passes[0]


class FirstExplanation(Explainer):
    """The masks of the first explanation.

    Args:
        controlled: whether the wrong-target control is run for it; not every variant of one method needs the control.
    """

    def __init__(self, fitter: MaskFitter, *, controlled: bool = True):
        if fitter.method.explanations != 1:
            raise UserError(f"explanations={fitter.method.explanations} would fit more than is compared; use 1")
        self._fitter = fitter
        self.fitted = controlled

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._fitter.settings

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        result, seconds = self._fitter.fit(image, target, image_id)
        return MethodMaps(result.masks[0][0], passes=self._fitter.passes(result), seconds=seconds)


class SecondExplanation(Explainer):
    """The masks of the second explanation, with the pixels that were free for it."""

    def __init__(self, fitter: MaskFitter):
        if fitter.method.explanations != 2:
            raise UserError(f"explanations={fitter.method.explanations} has no second to compare, or more; use 2")
        self._fitter = fitter

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._fitter.settings

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        method = self._fitter.method
        result, seconds = self._fitter.fit(image, target, image_id)
        areas = torch.tensor(list(method.areas), dtype=torch.float64)
        first = hard_masks(result.masks[0][:1], areas, generators=[generator(method.seed, image_id, "ties")])
        free = result.free[1]
        return MethodMaps(
            result.masks[0][1],
            passes=self._fitter.passes(result),
            seconds=seconds,
            free=None if free is None else free[0],
            first_masks=first[0],
        )
