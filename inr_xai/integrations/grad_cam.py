"""Importance maps of masks, called as the methods of the package grad-cam are, whose tools take them. It needs none.

Gildenblat and contributors, "PyTorch library for CAM methods", 2021, https://github.com/jacobgil/pytorch-grad-cam.
"""

from collections.abc import Callable, Sequence
from numbers import Integral
from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.attribution import AreaValues, INRAttribution
from inr_xai.classifier.frozen import owner
from inr_xai.classifier.scored import kind_of
from inr_xai.errors import UserError
from inr_xai.objective import ScoreFunction
from inr_xai.types import Images

ModelTarget = Callable[[Any], Tensor]
"""What is explained of an image: maps the model's output for one image to one number."""


class INRCam:
    """Importance maps by `INRAttribution`, with the arguments and the result of grad-cam's methods.

    Args:
        model: a module, or any callable.
        target_layers, reshape_transform: accepted, since grad-cam's methods need them; masks need no layer.
        areas: fractions of the image that the masks keep.
        options: arguments of INRAttribution, such as donors=photos or steps=200.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
        >>> with INRCam(model=model, target_layers=[model[0]], steps=2) as cam:
        ...     cam(input_tensor=torch.rand(2, 3, 16, 16), targets=None).shape
        (2, 16, 16)
    """

    def __init__(
        self,
        model: nn.Module | Callable[..., Any],
        target_layers: Sequence[nn.Module] | None = None,
        reshape_transform: Callable[..., Any] | None = None,
        *,
        areas: AreaValues = (0.05, 0.1, 0.2, 0.3),
        **options: Any,
    ):
        self.model, self.target_layers, self.areas = model, target_layers, areas
        self.explainer = INRAttribution(model, **options)

    def __call__(
        self,
        input_tensor: Images,
        targets: Sequence[ModelTarget] | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> Float[np.ndarray, "b h w"]:
        """Returns the importance of each pixel in [0, 1], in single precision.

        Args:
            input_tensor: b x c x h x w, given to the model as they are, on its device.
            targets: what is explained of each image. A target that picks a class, as grad-cam's ClassifierOutputTarget
                does, is explained as a class: by the logarithm of its probability, unless the option `score` says else.
                Any other one is a score, such as a SemanticSegmentationTarget. None explains the class of the largest
                output.
            aug_smooth, eigen_smooth: False; True is refused.

        Raises:
            UserError: bad input, or what `INRAttribution.importance` refuses.
        """
        if aug_smooth or eigen_smooth:
            option = "aug_smooth" if aug_smooth else "eigen_smooth"
            raise UserError(f"{option}=True smooths the map of a layer, and masks have none; leave {option}=False")
        if not isinstance(input_tensor, Tensor) or input_tensor.ndim != 4:
            raise UserError(f"input_tensor must be images, b x c x h x w; got {kind_of(input_tensor)}")
        module = owner(self.model)
        tensors = [] if module is None else list(module.parameters())
        images = input_tensor.to(tensors[0].device) if tensors else input_tensor
        if targets is None:
            explains_class = isinstance(self.explainer.method.score, ScoreFunction)
            return self._maps(self.explainer, images, self._predicted(images) if explains_class else None)
        if len(targets) != len(images):
            raise UserError(f"targets must have one for each of the {len(images)} images; got {len(targets)}")
        maps = np.empty((len(images), *images.shape[-2:]), np.float32)
        classes = [class_of(target) for target in targets]
        cases: dict[int | None, list[int]] = {}  # images with a class are fitted together, and so are those of a score
        for place, (target, index) in enumerate(zip(targets, classes, strict=True)):
            cases.setdefault(id(target) if index is None else None, []).append(place)
        for case, places in cases.items():
            if case is None:
                chosen = torch.tensor([classes[place] for place in places])
                maps[places] = self._maps(self.explainer, images[places], chosen)
            else:
                explainer = self.explainer.with_options(score=OfEachImage(targets[places[0]]))
                maps[places] = self._maps(explainer, images[places], None)
        return maps

    def __enter__(self) -> "INRCam":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Does nothing: there are no hooks to take away."""

    @torch.no_grad()
    def _predicted(self, images: Images) -> Tensor:
        """Returns the class of the largest output for each image."""
        classifier = self.explainer.classifier_for(images)
        with classifier.frozen(images.device, images.dtype):
            return classifier(images).argmax(1)

    def _maps(self, explainer: INRAttribution, images: Images, target: Tensor | None) -> Float[np.ndarray, "b h w"]:
        maps = explainer.importance(images, target=target, areas=self.areas)
        return maps.squeeze(1).float().cpu().numpy()


class OfEachImage:
    """The score of a batch that a target gives for the output for each image, which it is iterated over."""

    def __init__(self, target: ModelTarget):
        self.target = target

    def __call__(self, outputs: Any) -> Tensor:
        return torch.stack([self.target(output) for output in outputs])


def class_of(target: ModelTarget) -> int | None:
    """Returns the class that a target picks out of an image's outputs; None if it does anything else.

    Such a target has a `category`, and for outputs 0, 1, 2 and so on it returns just this number.
    """
    category = getattr(target, "category", None)
    if not isinstance(category, Integral) or int(category) < 0:
        return None
    try:
        picked = target(torch.arange(int(category) + 2, dtype=torch.float64))
    except Exception:  # it needs the outputs of another kind of model
        return None
    is_class = isinstance(picked, Tensor) and picked.numel() == 1 and float(picked) == category
    return int(category) if is_class else None
