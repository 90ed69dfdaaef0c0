"""Fitting: one LightningModule per batch of images and explanation, and `fit_masks`, which owns the loop over them.

Images share nothing: each has its own weights, its own generators, and its own term in a SUM of losses (a mean or a
clipped global gradient would couple them), so that a mask does not depend on the images fitted beside it.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import lightning
import torch
from jaxtyping import Bool, Float
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor

from inr_xai.drawing import Drawing
from inr_xai.errors import UserError
from inr_xai.inr import pixel_centres
from inr_xai.method import Method
from inr_xai.perturbation import Bound, Surroundings
from inr_xai.seeding import generator
from inr_xai.types import Free, Images, Logits, Masks, Targets

NOT_FINITE = "the classifier returns NaN or infinite logits for this image; check its weights and the image's values"


@runtime_checkable
class Classifier(Protocol):
    """What a fit needs of a classifier: logits, the colours of its input, and to be frozen for a while."""

    head: str
    colour_mean: tuple[float, ...]
    colour_std: tuple[float, ...]

    def __call__(self, images: Images) -> Logits: ...

    def frozen(self, device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]: ...


@dataclass
class Fitted:
    """The masks of a batch of images.

    Args:
        masks: float16, b x k x a x h x w.
        free: per explanation, the pixels it could use (None: all).
        networks: of each image and explanation, the INR's weights and buffers.
        losses: b x k x steps.
        failures: position in the batch -> why there is no mask for it.
        stacks: which of the batch's stacks (fits in turn) each image was in, from 0.
    """

    masks: Float[Tensor, "b k a h w"]
    free: list[Free | None]
    networks: list[list[dict[str, Tensor]]]
    losses: Float[Tensor, "b k s"]
    failures: dict[int, str]
    stacks: list[int]


class MaskFit(lightning.LightningModule):
    """One explanation of a batch of images: a training step is one step of the optimiser.

    The classifier is held outside the module tree: it must neither enter the state dict nor follow `.train()`.
    Callbacks find `classifier`, `method`, `sample_ids`, `explanation` and `losses` here.
    """

    images: Tensor
    targets: Tensor
    areas: Tensor
    free: Tensor | None
    earlier: Tensor | None

    def __init__(
        self,
        images: Images,
        targets: Targets,
        *,
        sample_ids: Sequence[str],
        explanation: int,
        classifier: Classifier,
        method: Method,
        donors: Images | None = None,
        free: Free | None = None,
        earlier: Masks | None = None,
    ):
        super().__init__()
        self._outside = (classifier,)
        self.method, self.sample_ids, self.explanation = method, list(sample_ids), explanation
        self.register_buffer("images", images, persistent=False)
        self.register_buffer("targets", targets, persistent=False)
        self.register_buffer("areas", images.new_tensor(list(method.areas)), persistent=False)
        self.register_buffer("free", free, persistent=False)
        self.register_buffer("earlier", earlier, persistent=False)
        self.donors = donors
        self.inr = method.inr(self._generators("weights")).to(images.dtype)
        self._draws = self._generators("steps")
        self.losses: list[Float[Tensor, " b"]] = []
        self._bound: Bound | None = None

    @property
    def classifier(self) -> Classifier:
        return self._outside[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.method.optimizer(self.inr.parameters())

    def on_fit_start(self) -> None:
        mean, std = (self.images.new_tensor(x) for x in (self.classifier.colour_mean, self.classifier.colour_std))
        self._bound = self.method.perturbation.bind(self.images, Surroundings(mean, std, self.donors))
        height, width = (max(1, side // self.method.stride) for side in self.images.shape[-2:])
        self._grid = (height, width)
        with torch.no_grad():
            self._encoded = self.inr.encode(pixel_centres(self._grid, self.areas))

    def current_masks(self, progress: float) -> Masks:
        """The masks as the classifier sees them now, b x a x h x w."""
        coarse = self.inr(self._encoded, self.areas).to(self.images.dtype).unflatten(-1, self._grid)
        logits = torch.nn.functional.interpolate(coarse, size=self.images.shape[-2:], mode="bilinear")
        return self.method.area_rule.masks(logits, self.areas, self.free, progress=progress)

    def training_step(self, step: int, batch_idx: int) -> Tensor:
        progress = step / max(1, self.method.steps - 1)
        masks = self.current_masks(progress)
        assert self._bound is not None
        kept = self._bound.draw(range(len(masks)), self._draws)

        def scorer(score: Callable[..., Tensor]) -> Callable[[Masks], Float[Tensor, "b a"]]:
            return lambda m: self._score(self.method.jitter(kept(m), self._draws), score)

        game = self.method.objective(masks, scorer(self.method.score.evidence), scorer(self.method.score.absence))
        loss = game.sum(1) + self._regularisers(masks, progress)
        self.losses.append(loss.detach())
        return loss.sum()

    def _score(self, images: Float[Tensor, "b a c h w"], score: Callable[..., Tensor]) -> Float[Tensor, "b a"]:
        b, a = images.shape[:2]
        targets = self.targets.repeat_interleave(a)
        sigmoid = self.classifier.head == "sigmoid"

        def of_images(some: Images, own: Targets) -> Float[Tensor, " n"]:
            return score(self.classifier(some), own, sigmoid=sigmoid)

        scores: Tensor = _InChunks.apply(images.flatten(0, 1), targets, of_images, self.method.masks_per_forward)
        return scores.reshape(b, a)

    def _regularisers(self, masks: Masks, progress: float) -> Float[Tensor, " b"]:
        loss = self.method.total_variation * total_variation(masks).sum(1)
        grayness = (4 * masks * (1 - masks)).mean((-2, -1))
        loss = loss + self.method.binary * progress * grayness.sum(1)
        loss = loss + self.method.area_rule.penalty(masks, self.areas, self.free, progress=progress)
        if self.earlier is not None:
            loss = loss + self.method.exclusion.weight * (masks * self.earlier).mean((-2, -1)).sum(1)
        return loss

    def _generators(self, purpose: str) -> list[torch.Generator]:
        return [generator(self.method.seed, sample, self.explanation, purpose) for sample in self.sample_ids]


class _InChunks(torch.autograd.Function):
    """Scores of many images, a few at a time: the gradient is taken at once, so that only one graph is alive."""

    @staticmethod
    def forward(ctx, images, targets, score, chunk):  # type: ignore[no-untyped-def]
        scores, gradients = [], []
        for some, own in zip(images.split(chunk), targets.split(chunk), strict=True):
            with torch.enable_grad():
                leaf = some.detach().requires_grad_()
                values = score(leaf, own)
                (gradient,) = torch.autograd.grad(values.sum(), leaf)
            scores.append(values.detach().to(images.dtype))
            gradients.append(gradient)
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(scores)

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (gradients,) = ctx.saved_tensors
        return upstream[:, None, None, None] * gradients, None, None, None


def total_variation(masks: Masks) -> Float[Tensor, "b a"]:
    """Sum of |differences| along both axes over the side: the length of a binary mask's contour in image sides.

    >>> half = torch.zeros(1, 1, 8, 8); half[..., 4:] = 1
    >>> float(total_variation(half))
    1.0
    """
    down = masks.diff(dim=-2).abs().sum((-2, -1)) / masks.shape[-1]
    across = masks.diff(dim=-1).abs().sum((-2, -1)) / masks.shape[-2]
    return down + across


def fit_masks(
    images: Images,
    targets: Targets,
    sample_ids: Sequence[str],
    classifier: Classifier,
    method: Method,
    *,
    donors: Images | None = None,
    callbacks: Sequence[lightning.Callback] = (),
    trainer: Mapping[str, Any] | None = None,
) -> Fitted:
    """Fits all explanations of a batch of images, in turn.

    Args:
        images: in the units of the classifier's input, on any device.
        targets: class index of each image.
        sample_ids: name the images' random draws; repeated ids draw alike.
        trainer: accelerator, devices and precision for Lightning; by default the images' own device.

    Raises:
        UserError: a target outside the classifier's classes.
    """
    settings = dict(trainer) if trainer is not None else _trainer_of(images.device)
    with _gradients(), quiet_lightning():
        device = device_of(settings)
        images = images.detach().clone().to(device, torch.float64 if settings.get("precision") == "64-true" else None)
        targets = targets.detach().clone().to(device)
        size = stack_size(method, device, len(images))
        with classifier.frozen(device, images.dtype):
            stacks = [
                _fit_stack(
                    images[start : start + size],
                    targets[start : start + size],
                    sample_ids[start : start + size],
                    classifier,
                    method,
                    donors=donors,
                    new_trainer=lambda: _light_trainer(settings, callbacks),
                )
                for start in range(0, len(images), size)
            ]
    return _join(stacks)


def stack_size(method: Method, device: torch.device, images: int) -> int:
    """How many of `images` are fitted as one stack.

    On a CPU one: that costs nothing where the classifier fills the processor anyway, and then single precision gives
    the same bits whatever images come along. (Rounding differs with the batch, and fits amplify it.)
    """
    return method.images_per_fit or (1 if device.type == "cpu" else images)


def _fit_stack(
    images: Images,
    targets: Targets,
    sample_ids: Sequence[str],
    classifier: Classifier,
    method: Method,
    *,
    donors: Images | None,
    new_trainer: Callable[[], lightning.Trainer],
) -> Fitted:
    """The explanations, in turn, of images that are fitted as one stack."""
    finite = finite_logits(classifier, images, targets)
    drawing = Drawing(
        method.areas,
        (images.shape[-2], images.shape[-1]),
        area_rule=method.area_rule,
        exclusion_area=method.exclusion_area,
        exclude=method.exclusion.mode == "exclude",
        sample_ids=sample_ids,
        seed=method.seed,
    )
    free: list[Free | None] = []
    masks: list[Masks] = []
    losses: list[Tensor] = []
    networks: list[list[dict[str, Tensor]]] = [[] for _ in sample_ids]
    for explanation in range(1, method.explanations + 1):
        free.append(drawing.free)
        fit = MaskFit(
            images,
            targets,
            sample_ids=sample_ids,
            explanation=explanation,
            classifier=classifier,
            method=method,
            donors=donors,
            free=free[-1],
            earlier=None if drawing.exclude or not masks else torch.stack(masks).amax(0).to(images.dtype),
        )
        new_trainer().fit(fit, train_dataloaders=list(range(method.steps)))
        masks.append(drawing.next(fit.inr.to(images.device)))
        losses.append(torch.stack(fit.losses, dim=1))
        for position, network in enumerate(networks):
            network.append(fit.inr.export(position))
    curves = torch.stack(losses, dim=1).float().cpu()
    failed = ~(finite.cpu() & curves.isfinite().flatten(1).all(1))
    return Fitted(
        masks=torch.stack(masks, dim=1).cpu(),
        free=[None if pixels is None else pixels.cpu() for pixels in free],
        networks=networks,
        losses=curves,
        failures=dict.fromkeys(failed.nonzero().flatten().tolist(), NOT_FINITE),
        stacks=[0] * len(images),
    )


def _join(parts: Sequence[Fitted]) -> Fitted:
    """Stacks of images as one batch again."""
    starts = [sum(len(part.masks) for part in parts[:index]) for index in range(len(parts))]
    free = [
        [pixels for pixels in each if pixels is not None] for each in zip(*(part.free for part in parts), strict=True)
    ]
    return Fitted(
        masks=torch.cat([part.masks for part in parts]),
        free=[torch.cat(pixels) if pixels else None for pixels in free],
        networks=[network for part in parts for network in part.networks],
        losses=torch.cat([part.losses for part in parts]),
        failures={
            start + place: why
            for start, part in zip(starts, parts, strict=True)
            for place, why in part.failures.items()
        },
        stacks=[index for index, part in enumerate(parts) for _ in part.stacks],
    )


@torch.no_grad()
def finite_logits(classifier: Classifier, images: Images, targets: Targets) -> Bool[Tensor, " b"]:
    """Which images the classifier can score at all. Raises UserError where a target is outside its classes."""
    logits = classifier(images)
    wrong = (targets < 0) | (targets >= logits.shape[1])
    if wrong.any():
        raise UserError(
            f"target {int(targets[wrong][0])} is outside the classifier's {logits.shape[1]} classes "
            f"(0 to {logits.shape[1] - 1}); check data.targets and the classifier"
        )
    return logits.isfinite().all(1)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """A Trainer per fit must not announce its hardware each time."""
    names = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.pytorch")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _gradients() -> Iterator[None]:
    """Gradients even where the caller switched them off (captum's metrics, Lightning's test loops do)."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _trainer_of(device: torch.device) -> dict[str, Any]:
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    return {"accelerator": accelerator, "devices": [device.index or 0] if device.type == "cuda" else 1}


def device_of(settings: Mapping[str, Any]) -> torch.device:
    """The device that a trainer of these settings fits on."""
    with quiet_lightning():
        return _light_trainer(settings, ()).strategy.root_device


def _light_trainer(settings: Mapping[str, Any], callbacks: Sequence[lightning.Callback]) -> lightning.Trainer:
    # LightningEnvironment: a cluster's launcher owns requeueing, not each of the many small fits.
    return lightning.Trainer(
        **settings,
        max_epochs=1,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[LightningEnvironment()],
    )
