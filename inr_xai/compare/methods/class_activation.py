"""Class activation maps of one layer with the package grad-cam: Grad-CAM, Grad-CAM++, LayerCAM.

Selvaraju et al., ICCV 2017; Chattopadhay et al., WACV 2018; Jiang et al., IEEE TIP 2021.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import Explainer, MethodMaps, Stopwatch, require_module
from inr_xai.compare.methods.counted_logits import CountedLogits
from inr_xai.compare.methods.feature_layer import find_layer, last_feature_layer
from inr_xai.compare.methods.margin import MarginOfRow, require_two_classes
from inr_xai.types import Image


class CAM(Explainer):
    """One of the package's methods on one layer; its map is enlarged to the image.

    Args:
        kind: name of the method's class in `pytorch_grad_cam`.
        layer: name of a module of the classifier whose output is a feature map; None takes the last such module, see
            `last_feature_layer`.
        margin: explain the logit less that of the best other class (`MarginOfRow`).

    Raises:
        UserError: there is no such layer, or `margin` is true and the classifier has no second class.
    """

    modules = (("pytorch_grad_cam", "grad-cam"), ("pytorch_grad_cam.utils.model_targets", "grad-cam"))

    def __init__(
        self,
        classifier: FrozenClassifier,
        *,
        device: torch.device,
        kind: str,
        layer: str | None = None,
        margin: bool = False,
    ):
        self._classifier, self._device, self._kind, self._margin = classifier, device, kind, margin
        self.layer = last_feature_layer(classifier, device) if layer is None else layer
        self._module: nn.Module = find_layer(classifier, self.layer)
        if margin:
            require_two_classes(classifier)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"cam": self._kind, "layer": self.layer} | ({"margin": True} if self._margin else {})

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        package, targets = (require_module(*module) for module in self.modules)
        inputs = image[None].to(self._device, torch.float32).requires_grad_()
        score = MarginOfRow(target) if self._margin else targets.ClassifierOutputTarget(target)
        with (
            self._classifier.frozen(self._device, torch.float32),
            torch.enable_grad(),
            Stopwatch(self._device) as watch,
        ):
            method = getattr(package, self._kind)
            with method(model=CountedLogits(self._classifier), target_layers=[self._module]) as cam:
                activation_map = cam(input_tensor=inputs, targets=[score])
        heatmap = torch.from_numpy(activation_map).to(torch.float32)
        return MethodMaps(heatmap, passes=1.0, seconds=watch.seconds, layer=self.layer)
