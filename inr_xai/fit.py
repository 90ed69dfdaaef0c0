"""`fit_masks`: from images and targets to masks; the command line and the Python API share it."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from jaxtyping import Bool, Float
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from inr_xai.drawing import Drawing
from inr_xai.errors import UserError
from inr_xai.maskfit import Classifier, MaskFit
from inr_xai.method import Method
from inr_xai.types import Free, Images, Masks, Targets

DIVERGED = (
    "the loss of this image became NaN or infinite: the classifier gives no finite logits for masked copies of it, or "
    "the fit diverged; try a smaller learning rate or another score"
)
HALF = (torch.float16, torch.bfloat16)  # too coarse for an area: such inputs are fitted in single precision
NOT_FINITE = "the classifier returns NaN or infinite logits for this image; check its weights and the image's values"


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


def fit_masks(
    images: Images,
    targets: Targets,
    image_ids: Sequence[str],
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
        image_ids: name the images' random draws; repeated ids draw alike.
        trainer: accelerator, devices and precision for Lightning; by default the images' own device.

    Raises:
        UserError: a target outside the classifier's classes.
    """
    settings = dict(trainer) if trainer is not None else _trainer_of(images.device)
    with _gradients(), quiet_lightning():
        device = device_of(settings)
        images = images.detach().clone().to(device)
        if settings.get("precision") == "64-true":
            images = images.double()
        elif images.dtype in HALF:
            images = images.float()
        targets = targets.detach().clone().to(device)
        size = stack_size(method, device, len(images))
        with classifier.frozen(device, images.dtype):
            stacks = [
                _fit_stack(
                    images[start : start + size],
                    targets[start : start + size],
                    image_ids[start : start + size],
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
    diverged = ~curves.isfinite().flatten(1).all(1)
    failures = dict.fromkeys(diverged.nonzero().flatten().tolist(), DIVERGED)
    failures |= dict.fromkeys((~finite).nonzero().flatten().tolist(), NOT_FINITE)
    return Fitted(
        masks=torch.stack(masks, dim=1).cpu(),
        free=[None if pixels is None else pixels.cpu() for pixels in free],
        networks=networks,
        losses=curves,
        failures=failures,
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
    try:
        with quiet_lightning():
            return _light_trainer(settings, ()).strategy.root_device
    except MisconfigurationException as error:
        raise UserError(
            f"trainer.accelerator={settings.get('accelerator')} is not to be had on this machine ({error}); "
            "use trainer.accelerator=auto or cpu"
        ) from error


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
