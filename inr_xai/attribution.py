"""The Python API, in Captum's calling convention and on the same path as the command line (`fit_masks`).

Convention: Kokhlikyan et al., "Captum: A unified and generic model interpretability library for PyTorch", 2020.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.classifier.frozen import FrozenClassifier, require_head
from inr_xai.errors import UserError, did_you_mean
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.fitting.importance import importance_maps
from inr_xai.method import Method
from inr_xai.seeding import sha256
from inr_xai.types import Images, Preprocessing


class INRAttribution:
    """Area-exact masks of what a model needs to see of an image, drawn by implicit neural representations.

    Args:
        model: a module (or any callable) that maps inputs b x c x h x w to logits b x n. It is not changed.
        input_mean, input_std: mean and standard deviation of the inputs, one number or one per channel: 0 and 1 for
            normalised tensors, the data set's for images in [0, 1]. Only baselines of colours and of noise use them.
        head: "softmax", or "sigmoid" for a multi-label model.
        donors: other images, p x c x h x w in the units of the inputs. The default perturbation then also replaces
            pixels by those of donors, which makes masks more reliable. None if there are none.
        method: any argument of `inr_xai.Method` except areas and explanations, such as steps=200, seed=1 or
            stop=Stop(share=0.2).

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
        >>> explainer = INRAttribution(model, steps=2)
        >>> explainer.attribute(torch.rand(2, 3, 16, 16), target=1, areas=(0.25,)).shape
        torch.Size([2, 1, 1, 16, 16])
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        input_mean: float | Sequence[float] = 0.0,
        input_std: float | Sequence[float] = 1.0,
        head: str = "softmax",
        donors: Images | None = None,
        **method: Any,
    ):
        require_options(method)
        require_head(head)
        self.model, self.head, self.donors, self.method = model, head, donors, Method(**method)
        self.input_mean, self.input_std = input_mean, input_std

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor],
        target: int | Sequence[int] | Tensor,
        areas: Sequence[float] = (0.05, 0.1, 0.2, 0.3),
        explanations: int | str = 1,
        image_ids: Sequence[str] | None = None,
    ) -> Float[Tensor, "b k a h w"]:
        """Returns masks in [0, 1], where 1 keeps the pixel, with the dtype and device of the inputs.

        Args:
            inputs: b x c x h x w, given to the model as they are (a tuple of one such tensor is accepted too).
            target: a class index for all images, or one for each.
            areas: fractions of the image that the masks keep.
            explanations: masks per image and area, which do not overlap. With "auto" an image gets further masks
                until the next one would carry less than `Stop.share` of the class, or no more than chance, with noise
                in place of all other pixels. The result then has as many explanations as the image with the most;
                missing masks are 0, and `counts` returns the number of each image.
            image_ids: names from which the images' random draws derive; by default a hash of each image.

        Raises:
            ValueError: bad input, or an image for which the model returns NaN or infinite logits.
        """
        images = _tensor(inputs)
        method = replace(self.method, areas=tuple(areas), explanations=explanations)
        return self._fit(images, target, method, _ids(images, image_ids)).masks.to(images)

    @staticmethod
    def counts(masks: Float[Tensor, "b k a h w"]) -> Int[Tensor, " b"]:
        """Returns how many explanations each image has in a result of `attribute`.

        >>> masks = torch.zeros(2, 3, 1, 4, 4)
        >>> masks[0, 0], masks[1, :2] = 1, 1
        >>> INRAttribution.counts(masks).tolist()
        [1, 2]
        """
        return (masks != 0).flatten(2).any(2).sum(1)

    def importance(
        self,
        inputs: Tensor | tuple[Tensor],
        target: int | Sequence[int] | Tensor,
        areas: Sequence[float] = (0.05, 0.1, 0.2, 0.3),
        image_ids: Sequence[str] | None = None,
    ) -> Float[Tensor, "b 1 h w"]:
        """Returns one heatmap in [0, 1] per image, for tools that expect one; see `inr_xai.fitting.importance`."""
        images = _tensor(inputs)
        method = replace(self.method, areas=tuple(areas), explanations=1)
        ids = _ids(images, image_ids)
        result = self._fit(images, target, method, ids)
        size = (images.shape[-2], images.shape[-1])
        return importance_maps(result, method, ids, size).unsqueeze(1).to(images)

    def _fit(
        self,
        images: Images,
        target: int | Sequence[int] | Tensor,
        method: Method,
        image_ids: Sequence[str],
    ) -> FitResult:
        size, channels = (images.shape[-2], images.shape[-1]), images.shape[1]
        classifier = FrozenClassifier(
            self.model,
            preprocessing=Preprocessing(size, size, "bilinear", (0.0,) * channels, (1.0,) * channels),
            head=self.head,
            normalise=False,  # the inputs are the model's own
            input_mean=_per_channel("input_mean", self.input_mean, images),
            input_std=_per_channel("input_std", self.input_std, images),
        )
        result = fit_masks(images, _targets(target, images), image_ids, classifier, method, donors=self.donors)
        if result.failures:
            position, reason = next(iter(result.failures.items()))
            raise UserError(f"image {position} of {len(images)}: {reason}")
        return result


def require_options(options: dict[str, Any]) -> None:
    """Raises UserError for an option that `Method` does not have."""
    known = [option.name for option in fields(Method)]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f"; the options are {', '.join(known)}"
            raise UserError(f"{name}={options[name]!r} is not an option of the method{hint}")


def _tensor(inputs: Tensor | tuple[Tensor]) -> Images:
    images = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point() or len(images) == 0:
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UserError(f"inputs must be one floating-point tensor of shape b x c x h x w, not empty; got {got}")
    return images


def _per_channel(name: str, value: float | Sequence[float], images: Images) -> tuple[float, ...]:
    channels = images.shape[1]
    values = (float(value),) * channels if isinstance(value, (int, float)) else tuple(float(part) for part in value)
    if len(values) != channels:
        raise UserError(f"{name} must be one number or one for each of the {channels} channels; got {len(values)}")
    return values


def _targets(target: int | Sequence[int] | Tensor, images: Images) -> Tensor:
    try:
        targets = torch.as_tensor(target, device=images.device).reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        targets = images.new_zeros(0)
    if targets.is_floating_point() or targets.dtype == torch.bool or len(targets) not in (1, len(images)):
        raise UserError(
            f"target must be a class index, or one for each of the {len(images)} images; got {target!r:.80}"
        )
    return targets.long().expand(len(images))


def _ids(images: Images, image_ids: Sequence[str] | None) -> list[str]:
    if image_ids is None:
        return [sha256(image.float().cpu().numpy().tobytes()).hexdigest() for image in images.detach()]
    if len(image_ids) != len(images):
        raise UserError(f"image_ids must name each of the {len(images)} images; got {len(image_ids)}")
    return list(image_ids)
