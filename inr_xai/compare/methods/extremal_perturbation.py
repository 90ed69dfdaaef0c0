"""Extremal perturbations as users of TorchRay run them: TorchRay's function with its defaults, one mask per area.

Fong, Patrick, Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks", ICCV 2019.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import Explainer, MethodMaps, Stopwatch, require_module
from inr_xai.types import Image

TORCHRAY = ("torchray.attribution.extremal_perturbation", "torchray")


class TorchRay(Explainer):
    """`torchray.attribution.extremal_perturbation` on the normalised image.

    Args:
        reward: name of TorchRay's reward function: "simple_reward" (the logit) or "contrastive_reward" (the logit less
            the best other one).
        iterations: steps, by default as many as TorchRay's own default; each is a pass for every area.
    """

    fitted = True
    modules = (TORCHRAY,)

    def __init__(
        self,
        classifier: FrozenClassifier,
        *,
        areas: Sequence[float],
        device: torch.device,
        reward: str = "simple_reward",
        iterations: int = 800,
    ):
        self._classifier, self._areas, self._device = classifier, list(areas), device
        self._reward, self._iterations = reward, iterations

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"torchray": self._reward, "iterations": self._iterations, "areas": self._areas}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        torchray, preprocessing = require_module(*TORCHRAY), self._classifier.preprocessing
        mean, std = (image.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
        normalised = ((image - mean) / std if self._classifier.normalise else image)[None].to(self._device)
        # TorchRay switches the gradients of the parameters off and leaves them off; `frozen` restores them.
        with (
            self._classifier.frozen(self._device, torch.float32),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            Stopwatch(self._device) as watch,
        ):
            torch.manual_seed(0)  # TorchRay draws no random number; if a later version does, it draws the same ones
            warnings.simplefilter("ignore")  # TorchRay calls torch as in 2019
            masks, _ = torchray.extremal_perturbation(
                LogitsOfNormalised(self._classifier),
                normalised,
                target,
                areas=self._areas,
                max_iter=self._iterations,
                resize=True,
                reward_func=getattr(torchray, self._reward),
            )
        per_area = masks[:, 0].detach().cpu().to(torch.float16)
        return MethodMaps(per_area, passes=float(self._iterations * len(self._areas)), seconds=watch.seconds)


class LogitsOfNormalised(nn.Module):
    """The classifier's model as a plain module that takes normalised images and returns logits."""

    def __init__(self, classifier: FrozenClassifier):
        super().__init__()
        self.model = classifier.model

    def forward(self, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n"]:
        output = self.model(inputs)
        logits: Tensor = getattr(output, "logits", output)
        return logits
