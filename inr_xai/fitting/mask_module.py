"""One explanation of a batch of images as a LightningModule.

Images share nothing: each has its own weights, its own generators, and its own term in a SUM of losses (a mean or a
clipped global gradient would couple them), so that a mask does not depend on the images fitted beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import lightning
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from inr_xai.area import FitProgress, Memory
from inr_xai.classifier.frozen import in_parts
from inr_xai.draws import Draws
from inr_xai.inr.base import grid_points, interpolation, side_positions
from inr_xai.method import Method
from inr_xai.objective import IN_PLACE_OF, Regularity, ScoreFunction
from inr_xai.perturbation import KeepFunction, Kept, MaskedImages, Surroundings
from inr_xai.seeding import generator, second_seed
from inr_xai.types import Batch, Classifier, Free, Images, Masks, Targets

FUSED = ("cpu", "cuda")
"""Devices on which torch's optimisers have fused kernels."""
SLOWER = 0.5
"""The part of the learning rate that a second try has, after a fit that diverged."""


class MaskModule(lightning.LightningModule):
    """One explanation of a batch of images: a training step is one step of the optimiser.

    The classifier is kept outside the module tree: it must neither enter the state dict nor follow `.train()`.
    Callbacks can read `classifier`, `method`, `sample_ids`, `explanation`, `progress` (in [0, 1], of each step of the
    fit) and `losses` (from the fit's first step on, also if the module goes on with what another one has begun).

    Args:
        explanation: number of the explanation, counted from 1.
        rows: the places of the images in the stack; by default the stack holds them alone.
        donors: photos whose pixels a perturbation may use.
        free: the pixels that the masks may keep; None for all.
        earlier: the pixelwise maximum of the earlier masks, for the penalty of `exclusion.mode=penalty`.
        start: the logits at the first step; None, and NaN for a single image, leave the INR as it was drawn.
        again: it is a second try: with random draws of its own, and the learning rate times SLOWER.

    Attributes:
        at_boundary: is called between two steps, when `state` can be kept.
        lr: the learning rate at the first step.
    """

    at_boundary: Callable[[], None] | None = None
    lr = 0.0
    checks = 0
    """Checks of `plateau` that were made."""
    first_step = 0
    """The step with which this module begins; later than 0 if it goes on with what another one has begun."""
    continues = False
    """Whether the fits of its images go on in further modules after its last step."""
    images: Tensor
    targets: Tensor
    mask_targets: Tensor
    areas: Tensor
    one: Tensor
    free: Tensor | None
    earlier: Tensor | None

    def __init__(
        self,
        batch: Batch,
        *,
        explanation: int,
        classifier: Classifier,
        method: Method,
        rows: Sequence[int] | None = None,
        donors: Float[Tensor, "_d c h w"] | None = None,
        free: Free | None = None,
        earlier: Masks | None = None,
        start: Float[Tensor, "b h w"] | None = None,
        again: bool = False,
    ):
        super().__init__()
        self._outside = (classifier,)
        self.method, self.sample_ids, self.explanation = method, list(batch.sample_ids), explanation
        self.register_buffer("images", batch.images, persistent=False)
        self.register_buffer("targets", batch.targets, persistent=False)
        self.register_buffer("mask_targets", batch.targets.repeat_interleave(len(method.areas)), persistent=False)
        self.register_buffer("areas", batch.images.new_tensor(list(method.areas)), persistent=False)
        self.register_buffer("one", self.areas.new_ones(()), persistent=False)
        self.register_buffer("free", free, persistent=False)
        self.register_buffer("earlier", earlier, persistent=False)
        self.donors, self.again = donors, again
        self.rows = list(range(len(batch)) if rows is None else rows)
        seeds = [
            (second_seed(method.seed, sample_id) if again else method.seed, sample_id, explanation)
            for sample_id in self.sample_ids
        ]
        self.inr = method.inr([generator(*seed, "weights") for seed in seeds]).to(batch.images.dtype)
        if start is not None:
            self._start_from(start)
        self._seeds = seeds
        self.progress = [step / max(1, method.steps - 1) for step in range(method.steps)]
        self.losses: list[Float[Tensor, " b"]] = []
        self.parts: Sequence[MaskModule] = []
        """The modules in which the fits go on after this one's last step."""
        self._has_begun = False
        self._optimizer_states: list[dict[str, Any]] = []
        self._begin_memory: Memory = {}

    def state(self) -> dict[str, Any]:
        """Returns tensors and plain values with which another module of these images goes on after the last step."""
        states = self._optimizer_states
        if self._has_begun:
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            states = [dict(optimizer.state.get(parameter, {})) for parameter in self.inr.parameters()]
        return {
            "inr": dict(self.inr.state_dict()),
            "optimizer": states,
            "memory": dict(self.memory if self._has_begun else self._begin_memory),
            "losses": torch.stack(self.losses),
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Begins after the last step of another module of these images, whose `state` is given."""
        self.inr.load_state_dict(state["inr"])
        self._optimizer_states, self._begin_memory = list(state["optimizer"]), dict(state["memory"])
        self.losses = list(state["losses"])
        self.first_step = len(self.losses)

    @property
    def classifier(self) -> Classifier:
        """The classifier that is asked, for callbacks."""
        return self._outside[0]

    @torch.no_grad()
    def _start_from(self, field: Float[Tensor, "b h w"]) -> None:
        """Lets each image's INR start from its field; one whose field is NaN stays as it was drawn."""
        field, has_field = field.nan_to_num(0.0), field.isfinite().flatten(1).all(1)
        drawn = {name: value.clone() for name, value in self.inr.to(field.device).state_dict().items()}
        self.inr.start_from(field)
        for name, value in self.inr.state_dict().items():
            value.copy_(torch.where(has_field.view(-1, *[1] * (value.ndim - 1)), value, drawn[name]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.method.optimizer(self.inr.parameters())
        for group in optimizer.param_groups:
            # One kernel for all parameters, and no step that the host has to read, where torch has it. An optimiser
            # that has a state before its first step, as Adagrad has, has made it for other kernels.
            undecided = group.get("fused", ...) is None and not group["foreach"] and not optimizer.state
            if undecided and self.device.type in FUSED:
                group["fused"] = True
            group["lr"] = group["lr"] * (SLOWER if self.again else 1)
        self.lr = float(optimizer.param_groups[0]["lr"])
        for parameter, state in zip(self.inr.parameters(), self._optimizer_states, strict=False):
            optimizer.state[parameter] = state
        decay, first, last = self.method.decay, self.first_step, len(self.progress) - 1
        if decay == 1:
            return {"optimizer": optimizer}
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: decay ** self.progress[min(first + step, last)]
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        (classifier,) = self._outside
        mean, std = [self.images.new_tensor(colour) for colour in (classifier.colour_mean, classifier.colour_std)]
        self._has_begun = True
        self.memory: Memory = dict(self._begin_memory)
        self._around = Surroundings(mean, std, self.donors)
        self._masked = MaskedImages(
            self.images,
            self._around,
            perturbation=self.method.perturbation,
            jitter=self.method.jitter,
            draws=Draws(self._seeds, device=self.images.device, dtype=self.images.dtype),
            slots=len(self.areas),
            steps=self.method.steps,
        )
        # Logits are computed on a coarse grid; products with matrices interpolate them to the pixels.
        sides = self.images.shape[-2:]
        axes = [side_positions(side, self.method.stride, self.inr.finest) for side in sides]
        down, across = [interpolation(axis, side_positions(side)) for axis, side in zip(axes, sides, strict=True)]
        masks = len(self.images) * len(self.areas)
        self._grid = (len(axes[0]), len(axes[1]))
        self._down, self._across = [m.to(self.images).expand(masks, -1, -1) for m in (down, across.mT.contiguous())]
        with torch.no_grad():
            self._encoded = self.inr.encode(grid_points(axes, self.areas))
        self._accelerated: Callable[[Kept, int], Tensor] | None = None
        if self.method.compile or self.method.cuda_graphs:
            from inr_xai.fitting.acceleration import Accelerated

            self._accelerated = Accelerated(self)

    def current_masks(self, progress: FitProgress, memory: Memory | None = None) -> Masks:
        """Returns the current masks, b x a x h x w, at `progress` in [0, 1] of the fit.

        Args:
            memory: what the area rule keeps from step to step.
        """
        # In half precision masks would miss their areas, so autocast applies to the classifier alone.
        with torch.autocast(self.images.device.type, enabled=False):
            coarse = self.inr(self._encoded, self.areas).to(self.images.dtype).reshape(-1, *self._grid)
            fine = torch.bmm(torch.bmm(self._down, coarse), self._across)
        logits = fine.view(len(self.images), -1, *fine.shape[1:])
        return self.method.area_rule.masks(logits, self.areas, self.free, progress=progress, memory=memory)

    def training_step(self, step: int, batch_idx: int) -> Tensor:
        if self.at_boundary is not None and self.losses:
            self.at_boundary()
        progress = self.progress[step]
        kept = self._masked.draw(step, progress=progress)
        if self._accelerated is None:
            loss = self.loss_of(self.current_masks(progress, self.memory), kept, step=step, progress=progress)
        else:
            loss = self._accelerated(kept, step)
        self.losses.append(loss.detach())
        return loss.sum()

    def loss_of(
        self,
        masks: Masks,
        kept: KeepFunction,
        *,
        step: int,
        progress: FitProgress,
        regularity: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, " b"]:
        """Returns the loss of each image in a step.

        Args:
            kept: the images as the step's draws show them behind masks.
            regularity: what each mask pays for its contours and its grayness, if it is known already.
        """
        method = self.method
        assert isinstance(method.score, ScoreFunction)  # `fit_masks` makes a user's own a part of the classifier
        score = IN_PLACE_OF.get((type(method.score), self._outside[0].head), method.score)
        evidence = partial(self._score_masks, kept, score.evidence, progress)
        absence = partial(self._score_masks, kept, score.absence, progress)
        game = method.objective(masks, method.areas, evidence, absence, step=step)
        if regularity is None:
            regularity = Regularity.apply(masks, method.total_variation, method.binary * progress)
        value = game + regularity
        if self.earlier is not None:
            value = value + method.exclusion.weight * (masks * self.earlier).mean((-2, -1))
        loss = value.sum(1)
        if not method.area_rule.exact:
            loss = loss + method.area_rule.penalty(masks, self.areas, self.free, progress=progress)
        return loss

    def _score_masks(
        self, kept: KeepFunction, score: Callable[..., Tensor], progress: FitProgress, masks: Masks
    ) -> Float[Tensor, "b a"]:
        """Returns the score of every image as each of its masks keeps it."""
        images = kept(self.method.reveal(masks, progress=progress))
        b, a = images.shape[:2]
        targets = self.mask_targets if a == len(self.areas) else self.targets.repeat_interleave(a)
        flat = images.flatten(0, 1)
        differentiate = partial(self._differentiate, score, flat, targets)
        ask = partial(in_parts, differentiate, len(flat), self.method.masks_per_forward, of=self._outside[0])
        scores: Tensor = _Scores.apply(flat, ask)
        return scores.view(b, a)

    def _differentiate(
        self, score: Callable[..., Tensor], images: Images, targets: Targets, some: slice
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, "m c h w"]]:
        """Returns the scores of some of the images and their gradients; its graph ends with it."""
        (classifier,) = self._outside
        with torch.enable_grad():
            leaf = images[some].detach().requires_grad_()
            values = score(classifier(leaf), targets[some], sigmoid=classifier.head == "sigmoid")
            (gradient,) = torch.autograd.grad(values, leaf, self.one.expand_as(values))
        return values.detach().to(images.dtype), gradient


class _Scores(torch.autograd.Function):
    """Scores of images, whose gradients are computed in the forward pass, by a function that needs no arguments."""

    @staticmethod
    def forward(ctx, images, ask):  # type: ignore[no-untyped-def]
        parts = ask()
        scores, gradients = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        ctx.save_for_backward(gradients)
        return scores

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (gradients,) = ctx.saved_tensors
        return upstream.view(-1, 1, 1, 1) * gradients, None
