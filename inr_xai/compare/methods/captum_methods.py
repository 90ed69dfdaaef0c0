"""Integrated gradients and occlusion of the package captum, with the arguments that its tutorials use.

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017; Zeiler, Fergus, "Visualizing and
Understanding Convolutional Networks", ECCV 2014.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import BATCH_SIZE, Explainer, MethodMaps, Stopwatch, require_module
from inr_xai.compare.methods.counted_logits import CountedLogits
from inr_xai.compare.methods.margin import LogitMargin, require_two_classes
from inr_xai.compare.methods.pixel_attributions import smoothed_positive_part
from inr_xai.scoring.baselines import BLUR_SIDE
from inr_xai.types import Image

CAPTUM = ("captum.attr", "captum")


class IntegratedGradients(Explainer):
    """Integrated gradients of the logit, or of the margin, from the mean colour to the image.

    The map is what captum's `visualize_image_attr` shows with sign="positive", smoothed.

    Args:
        steps: points of the Gauss-Legendre rule; each costs a forward and a backward.
        sigma: width of the smoothing Gaussian, in pixels of an image of side 224; scaled with the shorter side.
        margin: explain the logit less that of the best other class (`LogitMargin`), which costs one forward more.

    Raises:
        UserError: `margin` is true and the classifier has no second class.
    """

    modules = (CAPTUM,)

    def __init__(
        self,
        classifier: FrozenClassifier,
        *,
        device: torch.device,
        steps: int = 50,
        sigma: float = 8.0,
        margin: bool = False,
    ):
        self._classifier, self._device, self._steps, self._sigma = classifier, device, steps, sigma
        self._margin = margin
        if margin:
            require_two_classes(classifier)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"integrated_gradients": self._steps, "sigma": self._sigma} | ({"margin": True} if self._margin else {})

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        with Stopwatch(self._device) as watch:
            attributions = self.attributions(image, target)
        return MethodMaps(
            smoothed_positive_part(attributions, self._sigma),
            passes=self._steps + self._margin / 2,
            seconds=watch.seconds,
        )

    def attributions(self, image: Image, target: int) -> Image:
        """Returns the attributions with their signs, on the device of the method; they are linear in the score."""
        inputs = image[None].to(self._device, torch.float32)
        captum, model = require_module(*CAPTUM), CountedLogits(self._classifier)
        with self._classifier.frozen(self._device, torch.float32), torch.enable_grad():
            attributions = captum.IntegratedGradients(
                LogitMargin(model, inputs, target) if self._margin else model
            ).attribute(
                inputs,
                baselines=_mean_colour(self._classifier, inputs),
                target=None if self._margin else target,
                n_steps=self._steps,
                internal_batch_size=BATCH_SIZE,
            )
        return attributions[0].detach()


class Occlusion(Explainer):
    """The fall of the logit while a square of the image is filled with the mean colour.

    Args:
        window: side of the square in pixels of an image of side 224; scaled with the image's sides.
        stride: distance between two squares, in the same unit.
    """

    modules = (CAPTUM,)

    def __init__(self, classifier: FrozenClassifier, *, device: torch.device, window: int = 32, stride: int = 16):
        self._classifier, self._device, self._window, self._stride = classifier, device, window, stride

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"occlusion": self._window, "stride": self._stride}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        inputs = image[None].to(self._device, torch.float32)
        captum, model = require_module(*CAPTUM), CountedLogits(self._classifier)
        with self._classifier.frozen(self._device, torch.float32), torch.no_grad(), Stopwatch(self._device) as watch:
            attributions = captum.Occlusion(model).attribute(
                inputs,
                sliding_window_shapes=(len(image), *self._scaled(self._window, image)),
                strides=(len(image), *self._scaled(self._stride, image)),
                baselines=_mean_colour(self._classifier, inputs),
                target=target,
                perturbations_per_eval=BATCH_SIZE,
            )
        return MethodMaps(attributions.mean(1).float().cpu(), passes=model.images / 2, seconds=watch.seconds)

    def _scaled(self, pixels: int, image: Image) -> tuple[int, int]:
        height, width = (max(1, round(pixels * side / BLUR_SIDE)) for side in image.shape[-2:])
        return height, width


def _mean_colour(classifier: FrozenClassifier, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return inputs.new_tensor(classifier.colour_mean)[:, None, None].expand_as(inputs)
