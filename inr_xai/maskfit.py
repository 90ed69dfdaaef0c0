"""One explanation of a batch of images as a LightningModule: a training step is one step of the optimiser.

Images share nothing: each has its own weights, its own generators, and its own term in a SUM of losses (a mean or a
clipped global gradient would couple them), so that a mask does not depend on the images fitted beside it.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import lightning
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.inr import pixel_centres
from inr_xai.method import Method
from inr_xai.perturbation import Bound, Kept, Surroundings
from inr_xai.seeding import generator
from inr_xai.types import Free, Images, Logits, Masks, Targets


@runtime_checkable
class Classifier(Protocol):
    """What a fit needs of a classifier: logits, the colours of its input, and to be frozen for a while."""

    head: str
    colour_mean: tuple[float, ...]
    colour_std: tuple[float, ...]

    def __call__(self, images: Images) -> Logits: ...

    def probability(self, logits: Logits, targets: Targets) -> Float[Tensor, " b"]: ...

    def frozen(self, device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]: ...


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
        donors: Float[Tensor, "_d c h w"] | None = None,
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
        scores = self.method.score.evidence, self.method.score.absence
        evidence, absence = (partial(self._score_masks, kept, score, progress) for score in scores)
        game = self.method.objective(masks, self.areas, evidence, absence, step=step)
        loss = game.sum(1) + self._regularisers(masks, progress)
        self.losses.append(loss.detach())
        return loss.sum()

    def _score_masks(
        self, kept: Kept, score: Callable[..., Tensor], progress: float, masks: Masks
    ) -> Float[Tensor, "b a"]:
        shown = kept(self.method.reveal(masks, progress=progress))
        return self._score(self.method.jitter(shown, self._draws), score)

    def _score(self, images: Float[Tensor, "b a c h w"], score: Callable[..., Tensor]) -> Float[Tensor, "b a"]:
        b, a = images.shape[:2]
        targets = self.targets.repeat_interleave(a)
        of_images = partial(self._score_images, score)
        scores: Tensor = _InChunks.apply(images.flatten(0, 1), targets, of_images, self.method.masks_per_forward)
        return scores.reshape(b, a)

    def _score_images(self, score: Callable[..., Tensor], images: Images, targets: Targets) -> Float[Tensor, " b"]:
        return score(self.classifier(images), targets, sigmoid=self.classifier.head == "sigmoid")

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
