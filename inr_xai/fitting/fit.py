"""`fit_masks`: from images and targets to masks; the command line and the Python API share it.

A batch is fitted in stacks, see `inr_xai.fitting.stack`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import lightning
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.fitting.stack import ImageResult, Stack
from inr_xai.fitting.stopping import KeepRule, NoiseRule
from inr_xai.fitting.trainers import device_of, quiet_lightning
from inr_xai.method import Method
from inr_xai.objective import Logit, ScoreFunction
from inr_xai.types import Batch, Classifier, Free, Images, Targets

HALF = (torch.float16, torch.bfloat16)  # too coarse for an area: such inputs are fitted in single precision


@runtime_checkable
class FitKeeper(Protocol):
    """Where a fit keeps its state now and then, so that it can be taken up there; see `inr_xai.runs.checkpoint`."""

    def fitting(self) -> AbstractContextManager[dict[str, Any] | None]:
        """A context for a fit; its value is the state from which the fit goes on, or None."""

    def at_boundary(self, state: Callable[[], dict[str, Any]]) -> None:
        """Is called between steps and after each explanation with what returns the state, tensors and plain values."""


@dataclass
class FitResult:
    """The explanations of a batch of images, which may have different numbers of them.

    Args:
        masks: float16, b x k x a x h x w; 0 for explanations that an image does not have.
        free: for each explanation the pixels that it could use (None for all), False for images without it.
        networks: the weights and buffers of the INR, for each image and each of its explanations.
        losses: b x f x steps, one row for each fit, which is one more than explanations if the last one was not kept;
            NaN for fits that an image does not have, and for the steps that a fit which ended early did not take.
        fits: the number of fits of each image.
        failures: position in the batch -> why the image has no mask.
        spans: for each image, the batch's optimisation steps before and after its stack was fitted, all steps of every
            fit counted.
        passes: the classifier passes of each image, its start included; None if every fit took all its steps once.
        again: for each image the explanations that diverged and were fitted once more, see `ImageResult`; their curves
            and networks are those of the second try, whose steps are not in `spans`.
    """

    masks: Float[Tensor, "b k a h w"]
    free: list[Free | None]
    networks: list[list[dict[str, Tensor]]]
    losses: Float[Tensor, "b f s"]
    fits: list[int]
    failures: dict[int, str]
    spans: list[tuple[int, int]]
    passes: list[float] | None = None
    again: list[list[dict[str, Any]]] = field(default_factory=list)

    @property
    def counts(self) -> list[int]:
        """The number of explanations of each image."""
        return [len(networks) for networks in self.networks]

    def notes(self, position: int, method: Method) -> dict[str, Any]:
        """Returns what a record says of an image whose fits were no usual ones: `passes` and `again`."""
        again, usual = self.again[position], method.plateau.steps is None
        notes: dict[str, Any] = {"again": again} if again else {}
        if self.passes is not None and (again or not usual):
            notes["passes"] = self.passes[position]
        return notes


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
    keep: KeepRule | None = None,
    checkpoint: FitKeeper | None = None,
) -> FitResult:
    """Fits the explanations of a batch of images, one after another.

    Args:
        images: b x c x h x w in the units of the classifier's input, on any device.
        targets: class index of each image; 0 if `method.score` is a function of the user's own.
        classifier: a FrozenClassifier if `method.score` is such a function.
        image_ids: names from which the images' random draws derive; equal names give equal draws.
        callbacks: Lightning's, for each of the fits; one that raises FitStopped ends those of its stack.
        trainer: accelerator, devices and precision for Lightning; by default the images' own device.
        keep: called after each explanation, up to `method.most`; says which images keep it and get another one. By
            default all images do, but with explanations="auto" `stopping.NoiseRule` decides.
        checkpoint: where the fit is kept, and taken up again; what `keep` remembers is not in its state.

    Raises:
        UserError: a target outside the classifier's classes, or a score of the user's own with another classifier.
    """
    if trainer is None:
        on_cuda = images.device.type == "cuda"
        accelerator = "gpu" if on_cuda else images.device.type
        trainer = {"accelerator": accelerator, "devices": [images.device.index or 0] if on_cuda else 1}
    if not isinstance(method.score, ScoreFunction):
        from inr_xai.classifier.scored import scored  # late: most fits explain a class

        if not isinstance(classifier, FrozenClassifier):
            raise UserError(f"a score of your own needs a FrozenClassifier; got a {type(classifier).__name__}")
        classifier, method = scored(classifier, method.score), replace(method, score=Logit())
    # Gradients are needed even if the caller switched them off, as captum's metrics and Lightning's test loops do.
    with torch.inference_mode(False), torch.enable_grad(), quiet_lightning():
        device = device_of(trainer)
        images = images.detach().clone().to(device)
        if trainer.get("precision") == "64-true":
            images = images.double()
        elif images.dtype in HALF:
            images = images.float()
        batch = Batch(images, targets.detach().clone().to(device), list(image_ids))
        if method.channels_last is not None:
            from inr_xai.fitting.acceleration import in_layout

            classifier = in_layout(classifier, method.channels_last, images[:1])
        if keep is None and method.auto:
            keep = NoiseRule(classifier, batch, method)
        size = stack_size(method, device, len(images))
        kept: AbstractContextManager[dict[str, Any] | None]
        kept = nullcontext() if checkpoint is None else checkpoint.fitting()
        with classifier.frozen(device, images.dtype), kept as state:
            stacks: list[list[ImageResult]] = []
            if state is not None:
                stacks = [[ImageResult(**image) for image in ended] for ended in state["ended"]]
            for first in range(len(stacks) * size, len(images), size):
                stack = Stack(batch, range(first, min(first + size, len(images))), classifier, method, donors=donors)
                if state is not None:
                    stack.go_on_from(state["stack"])
                    state = None
                at_boundary = None if checkpoint is None else partial(_keep, checkpoint, stacks, stack)
                stacks.append(stack.explain(trainer, callbacks, keep, at_boundary))
    return _join(stacks, method, (images.shape[-2], images.shape[-1]))


def _keep(checkpoint: FitKeeper, ended: Sequence[list[ImageResult]], stack: "Stack") -> None:
    """Offers a checkpoint the state of a fit: the images of the stacks that have ended, and the one that is at work."""
    checkpoint.at_boundary(
        lambda: {"ended": [[vars(image) for image in images] for images in ended], "stack": stack.state()}
    )


def stack_size(method: Method, device: torch.device, images: int) -> int:
    """Returns how many of a batch of `images` are fitted as one stack.

    On a CPU it is one image: the classifier uses the whole processor anyway, and single precision then gives the same
    bits in every batch. (Rounding depends on the size of a batch, and fits amplify the difference.)
    """
    return method.images_per_fit or (1 if device.type == "cpu" else images)


def _join(stacks: Sequence[list[ImageResult]], method: Method, size: tuple[int, int]) -> FitResult:
    """Joins the images of all stacks to one result, padded to the largest number of explanations and of fits."""
    results = [image for stack in stacks for image in stack]
    explanations = max([1, *[len(image.masks) for image in results]])
    fits = max([1, *[len(image.losses) for image in results]])
    masks = torch.zeros(len(results), explanations, len(method.areas), *size, dtype=torch.float16)
    free = torch.zeros(masks.shape, dtype=torch.bool)
    limited = [False] * explanations
    losses = torch.full((len(results), fits, method.steps), torch.nan)
    for place, image in enumerate(results):
        for k, (mask, pixels) in enumerate(zip(image.masks, image.free, strict=True)):
            masks[place, k] = mask
            if pixels is not None:
                free[place, k], limited[k] = pixels, True
        for fit, curve in enumerate(image.losses):
            losses[place, fit, : len(curve)] = curve
    spans, steps = [], 0
    for stack in stacks:
        after = steps + method.steps * max([len(image.losses) for image in stack])
        spans += [(steps, after)] * len(stack)
        steps = after
    again, passes = [image.again for image in results], None
    if method.plateau.steps is not None or any(again):
        per_step = method.objective.passes(len(method.areas))
        passes = [per_step * image.steps + method.start.passes for image in results]
    return FitResult(
        masks=masks,
        free=[free[:, k] if limited[k] else None for k in range(explanations)],
        networks=[image.networks for image in results],
        losses=losses,
        fits=[len(image.losses) for image in results],
        failures={place: image.failure for place, image in enumerate(results) if image.failure is not None},
        spans=spans,
        passes=passes,
        again=again,
    )
