"""`fit_masks`: from images and targets to masks; the command line and the Python API share it.

A batch is fitted in stacks. A stack fits one explanation after another until every image has ended or failed.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import lightning
import torch
from jaxtyping import Bool, Float, Float16
from torch import Tensor

from inr_xai.classifier.frozen import FrozenClassifier, require_class
from inr_xai.errors import TERMINATED, UserError
from inr_xai.fitting.drawing import Drawing, export_network
from inr_xai.fitting.mask_module import MaskModule, device_of, light_trainer, quiet_lightning
from inr_xai.fitting.plateau import PlateauModule, fit_to_plateau
from inr_xai.fitting.stopping import Candidate, KeepRule, NoiseRule
from inr_xai.method import Method
from inr_xai.objective import Logit, ScoreFunction
from inr_xai.types import Batch, Classifier, Free, Images, Targets

HALF = (torch.float16, torch.bfloat16)  # too coarse for an area: such inputs are fitted in single precision
DIVERGED = (
    "the loss of this image became NaN or infinite: the classifier gives no finite logits for masked copies of it, or "
    "the fit diverged; try a smaller learning rate or another score"
)
NOT_FINITE = "the classifier returns NaN or infinite logits for this image; check its weights and the image's values"
NO_ROOM = (
    "%s ends with %d explanations: the masks of its areas do not lie in each other and leave no room for another; "
    "fewer explanations, one area, or nested=true leave more"
)
STOPPED = "it was stopped before its first explanation had ended"
log = logging.getLogger(__name__)


class FitStopped(Exception):  # noqa: N818, it is no error
    """A callback raises it to end the work on a stack of images, which keep the explanations that have ended."""


@dataclass
class ImageResult:
    """The explanations of one image.

    Args:
        masks, free, networks: for each explanation that the image keeps, the mask as stored, the pixels that it could
            use (None for all), and the weights and buffers of the INR.
        losses: the loss curve of each fit, also of one that was not kept; shorter for a fit that ended early.
        passes: the classifier passes of fits that could end early.
        failure: why there is no mask; None if there is one.
    """

    masks: list[Float16[Tensor, "a h w"]] = field(default_factory=list)
    free: list[Bool[Tensor, "a h w"] | None] = field(default_factory=list)
    networks: list[dict[str, Tensor]] = field(default_factory=list)
    losses: list[Float[Tensor, " s"]] = field(default_factory=list)
    passes: float = 0.0
    failure: str | None = None


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
        passes: the classifier passes of each image, its start included; None if every fit took all its steps.
    """

    masks: Float[Tensor, "b k a h w"]
    free: list[Free | None]
    networks: list[list[dict[str, Tensor]]]
    losses: Float[Tensor, "b f s"]
    fits: list[int]
    failures: dict[int, str]
    spans: list[tuple[int, int]]
    passes: list[float] | None = None

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
    keep: KeepRule | None = None,
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
        with classifier.frozen(device, images.dtype):
            stacks = []
            for first in range(0, len(images), size):
                stack = Stack(batch, range(first, min(first + size, len(images))), classifier, method, donors=donors)
                stacks.append(stack.explain(trainer, callbacks, keep))
    return _join(stacks, method, (images.shape[-2], images.shape[-1]))


def stack_size(method: Method, device: torch.device, images: int) -> int:
    """Returns how many of a batch of `images` are fitted as one stack.

    On a CPU it is one image: the classifier uses the whole processor anyway, and single precision then gives the same
    bits in every batch. (Rounding depends on the size of a batch, and fits amplify the difference.)
    """
    return method.images_per_fit or (1 if device.type == "cpu" else images)


class Stack:
    """The images of one stack. An image that ends or fails leaves it; no result depends on the other images.

    Args:
        places: positions of the stack's images in the batch.
        donors: photos whose pixels a perturbation may use.
    """

    def __init__(
        self,
        batch: Batch,
        places: Sequence[int],
        classifier: Classifier,
        method: Method,
        *,
        donors: Float[Tensor, "_d c h w"] | None,
    ):
        self._batch, self._remaining = batch, list(places)
        self._classifier, self._method, self._donors = classifier, method, donors
        with torch.no_grad():
            logits = classifier(batch.images[self._remaining])
        for target in batch.targets[self._remaining].tolist():
            require_class(target, logits.shape[1])
        finite = logits.isfinite().all(1).tolist()
        self.results = {
            place: ImageResult(failure=None if is_finite else NOT_FINITE)
            for place, is_finite in zip(places, finite, strict=True)
        }
        ids = [batch.sample_ids[place] for place in places]
        self._drawing = Drawing.of(method, ids, (batch.images.shape[-2], batch.images.shape[-1]))
        self._start_maps: Float[Tensor, "b h w"] | None = None
        self._narrow(finite)
        if self._remaining:
            self._start_maps, failures = method.start.maps(
                classifier, batch.only(self._remaining), at_once=method.masks_per_forward
            )
            for position, reason in failures.items():
                self.results[self._remaining[position]].failure = reason
            self._narrow([position not in failures for position in range(len(self._remaining))])

    def explain(
        self, trainer: Mapping[str, Any], callbacks: Sequence[lightning.Callback], keep: KeepRule | None
    ) -> list[ImageResult]:
        """Fits all explanations, one after another, and returns the result of each image.

        Args:
            trainer: accelerator, devices and precision of the Lightning trainers, one for each explanation.
            keep: see `fit_masks`; None keeps every explanation.
        """
        for explanation in range(1, self._method.most + 1):
            room = self._drawing.room  # masks of several areas may block more pixels than the largest area
            for place, enough in zip(self._remaining, room, strict=True):
                if not (enough or self._method.auto):
                    log.warning(NO_ROOM, self._batch.sample_ids[place], explanation - 1)
            self._narrow(room)
            if not self._remaining:
                break
            free = self._drawing.free
            module = self._new_module(explanation, free)
            curves, passes = None, [0.0] * len(self._remaining)
            try:
                if isinstance(module, PlateauModule):
                    curves, passes = fit_to_plateau(module, partial(light_trainer, trainer, callbacks))
                else:
                    light_trainer(trainer, callbacks).fit(module, train_dataloaders=list(range(self._method.steps)))
            except SystemExit as ending:  # Lightning makes one of Ctrl-C, and of SIGTERM one whose status means success
                if isinstance(ending.__context__, KeyboardInterrupt):
                    raise ending.__context__ from None
                raise SystemExit(TERMINATED if ending.code is None else ending.code) from ending
            except FitStopped:
                for place in self._remaining:
                    self.results[place].failure = None if self.results[place].masks else STOPPED
                break
            masks = self._drawing.next(module.inr.to(self._batch.images.device))
            if curves is None:
                curves = list(torch.stack(module.losses, dim=1).float().cpu())
            stays = [bool(curve.isfinite().all()) for curve in curves]
            for place, curve, spent, is_finite in zip(self._remaining, curves, passes, stays, strict=True):
                self.results[place].losses.append(curve)
                self.results[place].passes += spent
                if not is_finite:
                    self.results[place].failure = DIVERGED
            rows = [row for row, stay in enumerate(stays) if stay]
            if keep is not None and rows:
                places = [self._remaining[row] for row in rows]
                kept = keep(Candidate(explanation, places, masks[rows], None if free is None else free[rows]))
                for row, is_kept in zip(rows, kept, strict=True):
                    stays[row] = is_kept
            for row, place in enumerate(self._remaining):
                if stays[row]:
                    self.results[place].masks.append(masks[row])
                    self.results[place].free.append(None if free is None else free[row])
                    self.results[place].networks.append(export_network(module.inr, row))
            self._narrow(stays)
        return list(self.results.values())

    def _new_module(self, explanation: int, free: Free | None) -> MaskModule:
        places, earlier = self._remaining, None
        if explanation > 1 and not self._drawing.exclude:
            largest = [torch.stack(self.results[place].masks).amax(0) for place in places]
            earlier = torch.stack(largest).to(self._batch.images.dtype)
        batch, start = self._batch.only(places), None
        if self._start_maps is not None:
            areas = batch.images.new_tensor(list(self._method.areas))
            # A penalty blocks no pixel, but the next explanation starts beside the earlier ones all the same.
            beside = free if earlier is None else earlier < 0.5
            start = self._method.start.field(self._start_maps, self._classifier, batch, areas=areas, free=beside)
        kind = MaskModule if self._method.plateau.steps is None else PlateauModule
        return kind(
            batch,
            explanation=explanation,
            classifier=self._classifier,
            method=self._method,
            donors=self._donors,
            free=free,
            earlier=earlier,
            start=start,
        )

    def _narrow(self, stays: Sequence[bool]) -> None:
        """Goes on with the images that stay."""
        rows = [row for row, stay in enumerate(stays) if stay]
        self._drawing.only(rows)
        self._start_maps = None if self._start_maps is None else self._start_maps[rows]
        self._remaining = [self._remaining[row] for row in rows]


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
    return FitResult(
        masks=masks,
        free=[free[:, k] if limited[k] else None for k in range(explanations)],
        networks=[image.networks for image in results],
        losses=losses,
        fits=[len(image.losses) for image in results],
        failures={place: image.failure for place, image in enumerate(results) if image.failure is not None},
        spans=spans,
        passes=None if method.plateau.steps is None else [image.passes + method.start.passes for image in results],
    )
