"""`fit_masks`: from images and targets to masks; the command line and the Python API share it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.maskfit import Classifier
from inr_xai.method import Method
from inr_xai.stack import Found, Stack
from inr_xai.stopping import Attempt, Keep, OnNoise
from inr_xai.trainers import device_of, light_trainer, quiet_lightning, trainer_of
from inr_xai.types import Free, Images, Targets

HALF = (torch.float16, torch.bfloat16)  # too coarse for an area: such inputs are fitted in single precision


@dataclass
class Fitted:
    """The masks of a batch of images. Images may have different numbers of explanations.

    Args:
        masks: float16, b x k x a x h x w; zero where an image has fewer explanations than others.
        free: per explanation, the pixels it could use (None: all); none where an image does not have it.
        networks: of each image and each of its explanations, the INR's weights and buffers.
        losses: b x f x steps, a row for each fit: one more than explanations where the last was not kept; NaN where
            others have more.
        fits: how many rows of `losses` are each image's own.
        failures: position in the batch -> why there is no mask for it.
        spans: of each image, the batch's optimisation steps before its stack was fitted, and after.
    """

    masks: Float[Tensor, "b k a h w"]
    free: list[Free | None]
    networks: list[list[dict[str, Tensor]]]
    losses: Float[Tensor, "b f s"]
    fits: list[int]
    failures: dict[int, str]
    spans: list[tuple[int, int]]

    @property
    def counts(self) -> list[int]:
        """The number of explanations of each image."""
        return [len(networks) for networks in self.networks]


def fit_masks(
    images: Images,
    targets: Targets,
    image_ids: Sequence[str],
    classifier: Classifier,
    method: Method,
    *,
    donors: Float[Tensor, "_d c h w"] | None = None,
    callbacks: Sequence[lightning.Callback] = (),
    trainer: Mapping[str, Any] | None = None,
    keep: Keep | None = None,
) -> Fitted:
    """Fits the explanations of a batch of images, in turn.

    Args:
        images: in the units of the classifier's input, on any device.
        targets: class index of each image.
        image_ids: name the images' random draws; repeated ids draw alike.
        trainer: accelerator, devices and precision for Lightning; by default the images' own device.
        keep: asked after each explanation which images keep it and go on, up to `method.most`. By default all do, and
            with explanations="auto" those that the rule of `stopping.OnNoise` keeps.

    Raises:
        UserError: a target outside the classifier's classes.
    """
    settings = dict(trainer) if trainer is not None else trainer_of(images.device)
    with _gradients(), quiet_lightning():
        device = device_of(settings)
        images = _as_fitted(images.detach().clone().to(device), settings.get("precision"))
        targets = targets.detach().clone().to(device)
        if keep is None:
            keep = OnNoise(classifier, images, targets, image_ids, method) if method.auto else _keep_all
        size = stack_size(method, device, len(images))
        with classifier.frozen(device, images.dtype):
            stacks = [
                Stack(
                    images[start : start + size],
                    targets[start : start + size],
                    image_ids[start : start + size],
                    classifier,
                    method,
                    first=start,
                    donors=donors,
                ).explain(lambda: light_trainer(settings, callbacks), keep)
                for start in range(0, len(images), size)
            ]
    return _join(stacks, method, (images.shape[-2], images.shape[-1]))


def _as_fitted(images: Images, precision: str | None) -> Images:
    """The images in the precision in which they are fitted."""
    if precision == "64-true":
        return images.double()
    return images.float() if images.dtype in HALF else images


def _keep_all(attempt: Attempt) -> list[bool]:
    return [True] * len(attempt.places)


def stack_size(method: Method, device: torch.device, images: int) -> int:
    """How many of `images` are fitted as one stack.

    On a CPU one: that costs nothing where the classifier fills the processor anyway, and then single precision gives
    the same bits whatever images come along. (Rounding differs with the batch, and fits amplify it.)
    """
    return method.images_per_fit or (1 if device.type == "cpu" else images)


def _join(stacks: Sequence[list[Found]], method: Method, size: tuple[int, int]) -> Fitted:
    """The images of all stacks as one batch, filled up to the most explanations and fits of any."""
    found = [image for stack in stacks for image in stack]
    explanations = max(1, *(len(image.masks) for image in found))
    fits = max(1, *(len(image.losses) for image in found))
    masks = torch.zeros(len(found), explanations, len(method.areas), *size, dtype=torch.float16)
    free = torch.zeros(masks.shape, dtype=torch.bool)
    limited = [False] * explanations
    losses = torch.full((len(found), fits, method.steps), torch.nan)
    for place, image in enumerate(found):
        for k, (mask, pixels) in enumerate(zip(image.masks, image.free, strict=True)):
            masks[place, k] = mask
            if pixels is not None:
                free[place, k], limited[k] = pixels, True
        if image.losses:
            losses[place, : len(image.losses)] = torch.stack(image.losses)
    spans, steps = [], 0
    for stack in stacks:
        after = steps + method.steps * max(len(image.losses) for image in stack)
        spans += [(steps, after)] * len(stack)
        steps = after
    return Fitted(
        masks=masks,
        free=[free[:, k] if limited[k] else None for k in range(explanations)],
        networks=[image.networks for image in found],
        losses=losses,
        fits=[len(image.losses) for image in found],
        failures={place: image.failure for place, image in enumerate(found) if image.failure is not None},
        spans=spans,
    )


@contextlib.contextmanager
def _gradients() -> Iterator[None]:
    """Gradients even where the caller switched them off (captum's metrics, Lightning's test loops do)."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
