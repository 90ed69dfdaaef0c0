"""Integrated gradients and occlusion of the package captum, with the arguments that its tutorials use.

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017; Zeiler, Fergus, "Visualizing and
Understanding Convolutional Networks", ECCV 2014.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import BATCH_SIZE, Explainer, MethodMaps, Stopwatch, require_module
from inr_xai.compare.methods.counted_logits import CountedLogits
from inr_xai.scoring.baselines import BLUR_SIDE
from inr_xai.types import Image

CAPTUM = ("captum.attr", "captum")


class IntegratedGradients(Explainer):
    """Integrated gradients of the logit from the mean colour to the image.

    The map is what captum's `visualize_image_attr` shows with sign="positive": the attributions summed over channels,
    of which values below 0 become 0. The map is smoothed, because the largest pixels of the raw map lie scattered, and
    scattered pixels make a poor mask.

    Args:
        steps: points of the Gauss-Legendre rule; each costs a forward and a backward.
        sigma: width of the smoothing Gaussian, in pixels of an image of side 224; scaled with the shorter side.
    """

    modules = (CAPTUM,)

    def __init__(self, classifier: FrozenClassifier, *, device: torch.device, steps: int = 50, sigma: float = 8.0):
        self._classifier, self._device, self._steps, self._sigma = classifier, device, steps, sigma

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"integrated_gradients": self._steps, "sigma": self._sigma}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        inputs = image[None].to(self._device, torch.float32)
        captum, model = require_module(*CAPTUM), CountedLogits(self._classifier)
        with (
            self._classifier.frozen(self._device, torch.float32),
            torch.enable_grad(),
            Stopwatch(self._device) as watch,
        ):
            attributions = captum.IntegratedGradients(model).attribute(
                inputs,
                baselines=_mean_colour(self._classifier, inputs),
                target=target,
                n_steps=self._steps,
                internal_batch_size=BATCH_SIZE,
            )
        positive = attributions.detach().sum(1, keepdim=True).clamp(min=0)
        heatmap = gaussian_blur(positive, self._sigma * min(image.shape[-2:]) / BLUR_SIDE)
        return MethodMaps(heatmap[0].float().cpu(), passes=float(self._steps), seconds=watch.seconds)


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
