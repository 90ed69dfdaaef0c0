"""One explanation of a batch of images as a LightningModule, and the light trainer that fits it.

Images share nothing: each has its own weights, its own generators, and its own term in a SUM of losses (a mean or a
clipped global gradient would couple them), so that a mask does not depend on the images fitted beside it.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import lightning
import torch
from jaxtyping import Float
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.fitting.drawing import pixel_centres
from inr_xai.method import Method
from inr_xai.objective import IN_PLACE_OF
from inr_xai.perturbation import Bound, KeepFunction, Surroundings
from inr_xai.seeding import generator
from inr_xai.types import Batch, Classifier, Free, Masks


class MaskModule(lightning.LightningModule):
    """One explanation of a batch of images: a training step is one step of the optimiser.

    The classifier is kept outside the module tree: it must neither enter the state dict nor follow `.train()`.
    Callbacks can read `classifier`, `method`, `sample_ids`, `explanation` and `losses`.

    Args:
        explanation: number of the explanation, counted from 1.
        donors: photos whose pixels a perturbation may use.
        free: the pixels that the masks may keep; None for all.
        earlier: the pixelwise maximum of the earlier masks, for the penalty of `exclusion.mode=penalty`.
    """

    images: Tensor
    targets: Tensor
    areas: Tensor
    free: Tensor | None
    earlier: Tensor | None

    def __init__(
        self,
        batch: Batch,
        *,
        explanation: int,
        classifier: Classifier,
        method: Method,
        donors: Float[Tensor, "_d c h w"] | None = None,
        free: Free | None = None,
        earlier: Masks | None = None,
    ):
        super().__init__()
        self._outside = (classifier,)
        self.method, self.sample_ids, self.explanation = method, list(batch.sample_ids), explanation
        self.register_buffer("images", batch.images, persistent=False)
        self.register_buffer("targets", batch.targets, persistent=False)
        self.register_buffer("areas", batch.images.new_tensor(list(method.areas)), persistent=False)
        self.register_buffer("free", free, persistent=False)
        self.register_buffer("earlier", earlier, persistent=False)
        self.donors = donors
        seeds = [(method.seed, sample_id, explanation) for sample_id in self.sample_ids]
        self.inr = method.inr([generator(*seed, "weights") for seed in seeds]).to(batch.images.dtype)
        self._generators = [generator(*seed, "steps") for seed in seeds]
        self.losses: list[Float[Tensor, " b"]] = []
        self._bound: Bound | None = None

    @property
    def classifier(self) -> Classifier:
        """The classifier that is asked, for callbacks."""
        return self._outside[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.method.optimizer(self.inr.parameters())

    def on_fit_start(self) -> None:
        (classifier,) = self._outside
        mean, std = [self.images.new_tensor(colour) for colour in (classifier.colour_mean, classifier.colour_std)]
        self._bound = self.method.perturbation.bind(self.images, Surroundings(mean, std, self.donors))
        height, width = self.images.shape[-2:]
        self._grid = (max(1, height // self.method.stride), max(1, width // self.method.stride))
        with torch.no_grad():
            self._encoded = self.inr.encode(pixel_centres(self._grid, self.areas))

    def current_masks(self, progress: float) -> Masks:
        """Returns the current masks, b x a x h x w, at `progress` in [0, 1] of the fit."""
        coarse = self.inr(self._encoded, self.areas).to(self.images.dtype).unflatten(-1, self._grid)
        logits = torch.nn.functional.interpolate(coarse, size=self.images.shape[-2:], mode="bilinear")
        return self.method.area_rule.masks(logits, self.areas, self.free, progress=progress)

    def training_step(self, step: int, batch_idx: int) -> Tensor:
        method, progress = self.method, step / max(1, self.method.steps - 1)
        masks = self.current_masks(progress)
        assert self._bound is not None
        kept = self._bound.draw(range(len(masks)), self._generators)
        score = IN_PLACE_OF.get((type(method.score), self._outside[0].head), method.score)
        evidence = partial(self._score_masks, kept, score.evidence, progress)
        absence = partial(self._score_masks, kept, score.absence, progress)
        game = method.objective(masks, self.areas, evidence, absence, step=step)
        regularisers = method.total_variation * total_variation(masks).sum(1)
        grayness = (4 * masks * (1 - masks)).mean((-2, -1))
        regularisers = regularisers + method.binary * progress * grayness.sum(1)
        regularisers = regularisers + method.area_rule.penalty(masks, self.areas, self.free, progress=progress)
        if self.earlier is not None:
            regularisers = regularisers + method.exclusion.weight * (masks * self.earlier).mean((-2, -1)).sum(1)
        loss = game.sum(1) + regularisers
        self.losses.append(loss.detach())
        return loss.sum()

    def _score_masks(
        self, kept: KeepFunction, score: Callable[..., Tensor], progress: float, masks: Masks
    ) -> Float[Tensor, "b a"]:
        """Returns the score of every image as each of its masks keeps it."""
        images = self.method.jitter(kept(self.method.reveal(masks, progress=progress)), self._generators)
        b, a = images.shape[:2]
        targets = self.targets.repeat_interleave(a)
        scores: Tensor = _ScoreInChunks.apply(
            images.flatten(0, 1), targets, *self._outside, score, self.method.masks_per_forward
        )
        return scores.reshape(b, a)


class _ScoreInChunks(torch.autograd.Function):
    """Scores many images, a few at a time; gradients are computed in the forward pass, so only one graph is alive."""

    @staticmethod
    def forward(ctx, images, targets, classifier, score, chunk):  # type: ignore[no-untyped-def]
        scores, gradients = [], []
        for part, part_targets in zip(images.split(chunk), targets.split(chunk), strict=True):
            with torch.enable_grad():
                leaf = part.detach().requires_grad_()
                values = score(classifier(leaf), part_targets, sigmoid=classifier.head == "sigmoid")
                (gradient,) = torch.autograd.grad(values.sum(), leaf)
            scores.append(values.detach().to(images.dtype))
            gradients.append(gradient)
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(scores)

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (gradients,) = ctx.saved_tensors
        return upstream[:, None, None, None] * gradients, None, None, None, None


def total_variation(masks: Masks) -> Float[Tensor, "b a"]:
    """Returns the sum of |differences| along both axes over the side: the length of a contour in image sides.

    >>> half = torch.zeros(1, 1, 8, 8); half[..., 4:] = 1
    >>> float(total_variation(half))
    1.0
    """
    down = masks.diff(dim=-2).abs().sum((-2, -1)) / masks.shape[-1]
    across = masks.diff(dim=-1).abs().sum((-2, -1)) / masks.shape[-2]
    return down + across


def light_trainer(settings: Mapping[str, Any], callbacks: Sequence[lightning.Callback]) -> lightning.Trainer:
    """Returns a trainer for one fit, which prints and writes nothing by itself."""
    # LightningEnvironment: requeueing is the task of a cluster's launcher, not of the many small fits.
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


def device_of(settings: Mapping[str, Any]) -> torch.device:
    """Returns the device on which a trainer with these settings fits. Raises UserError if it is not available."""
    try:
        with quiet_lightning():
            return light_trainer(settings, ()).strategy.root_device
    except MisconfigurationException as error:
        raise UserError(
            f"trainer.accelerator={settings.get('accelerator')} is not available on this machine ({error}); "
            "use trainer.accelerator=auto or cpu"
        ) from error


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silences Lightning, whose trainers, one for each fit, would otherwise all report their hardware."""
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
