"""Images that are fitted as one stack: explanation after explanation, until each image has ended or failed."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import lightning
import torch
from jaxtyping import Bool, Float, Float16
from torch import Tensor

from inr_xai.classifier import require_class
from inr_xai.drawing import Drawing
from inr_xai.maskfit import Classifier, MaskFit
from inr_xai.method import Method
from inr_xai.stopping import Attempt, Keep
from inr_xai.types import Free, Images, Masks, Targets

DIVERGED = (
    "the loss of this image became NaN or infinite: the classifier gives no finite logits for masked copies of it, or "
    "the fit diverged; try a smaller learning rate or another score"
)
NOT_FINITE = "the classifier returns NaN or infinite logits for this image; check its weights and the image's values"
log = logging.getLogger(__name__)


@dataclass
class Found:
    """What is found of one image.

    Args:
        masks, free, networks: of each explanation that it keeps: the mask as stored, the pixels it could use (None:
            all), the INR's weights and buffers.
        losses: of each fit, also of one that was not kept.
        failure: why there is no mask.
    """

    masks: list[Float16[Tensor, "a h w"]] = field(default_factory=list)
    free: list[Bool[Tensor, "a h w"] | None] = field(default_factory=list)
    networks: list[dict[str, Tensor]] = field(default_factory=list)
    losses: list[Float[Tensor, " s"]] = field(default_factory=list)
    failure: str | None = None


class Stack:
    """The images of one stack; one that ends or fails leaves it, and no result depends on who else is in it.

    Args:
        sample_ids: name the images' random draws.
        first: the first image's place in the batch.
    """

    def __init__(
        self,
        images: Images,
        targets: Targets,
        sample_ids: Sequence[str],
        classifier: Classifier,
        method: Method,
        *,
        first: int,
        donors: Float[Tensor, "_d c h w"] | None,
    ):
        self._images, self._targets, self._ids, self._first = images, targets, sample_ids, first
        self._classifier, self._method, self._donors = classifier, method, donors
        fine = finite_logits(classifier, images, targets)
        self.found = [Found(failure=None if finite else NOT_FINITE) for finite in fine]
        self._drawing = Drawing(
            method.areas,
            (images.shape[-2], images.shape[-1]),
            area_rule=method.area_rule,
            exclusion_area=method.exclusion_area,
            exclude=method.exclusion.mode == "exclude",
            sample_ids=sample_ids,
            seed=method.seed,
        )
        self._going = list(range(len(fine)))
        self._narrow(fine)

    def explain(self, new_trainer: Callable[[], lightning.Trainer], keep: Keep) -> list[Found]:
        """All explanations in turn."""
        for explanation in range(1, self._method.most + 1):
            self._leave_without_room(explanation)
            if not self._going:
                break
            free = self._drawing.free
            fit = self._fit(explanation, free)
            new_trainer().fit(fit, train_dataloaders=list(range(self._method.steps)))
            masks = self._drawing.next(fit.inr.to(self._images.device))
            stays = self._sound(fit)
            self._ask(keep, explanation, masks, free, stays)
            for row, place in enumerate(self._going):
                if stays[row]:
                    self.found[place].masks.append(masks[row])
                    self.found[place].free.append(None if free is None else free[row])
                    self.found[place].networks.append(fit.inr.export(row))
            self._narrow(stays)
        return self.found

    def _leave_without_room(self, explanation: int) -> None:
        """Where masks of several areas do not lie in each other they take more pixels than the largest area has."""
        room = self._drawing.room
        for place, enough in zip(self._going, room, strict=True):
            if not (enough or self._method.auto):
                log.warning(
                    "%s ends with %d explanations: the masks of its areas do not lie in each other and leave no room "
                    "for another; fewer explanations, one area, or nested=true leave more",
                    self._ids[place],
                    explanation - 1,
                )
        self._narrow(room)

    def _fit(self, explanation: int, free: Free | None) -> MaskFit:
        going, earlier = self._going, None
        if explanation > 1 and not self._drawing.exclude:
            largest = [torch.stack(self.found[place].masks).amax(0) for place in going]
            earlier = torch.stack(largest).to(self._images.dtype)
        return MaskFit(
            self._images[going],
            self._targets[going],
            sample_ids=[self._ids[place] for place in going],
            explanation=explanation,
            classifier=self._classifier,
            method=self._method,
            donors=self._donors,
            free=free,
            earlier=earlier,
        )

    def _sound(self, fit: MaskFit) -> list[bool]:
        """Notes the losses; which images' did not diverge."""
        curves = torch.stack(fit.losses, dim=1).float().cpu()
        for place, curve in zip(self._going, curves, strict=True):
            self.found[place].losses.append(curve)
            if not curve.isfinite().all():
                self.found[place].failure = DIVERGED
        return [self.found[place].failure is None for place in self._going]

    def _ask(self, keep: Keep, explanation: int, masks: Masks, free: Free | None, stays: list[bool]) -> None:
        """Takes back from `stays` the images that do not keep the explanation."""
        rows = [row for row, stay in enumerate(stays) if stay]
        if not rows:
            return
        places = [self._first + self._going[row] for row in rows]
        answers = keep(Attempt(explanation, places, masks[rows], None if free is None else free[rows]))
        for row, answer in zip(rows, answers, strict=True):
            stays[row] = answer

    def _narrow(self, stays: Sequence[bool]) -> None:
        rows = [row for row, stay in enumerate(stays) if stay]
        self._drawing.only(rows)
        self._going = [self._going[row] for row in rows]


@torch.no_grad()
def finite_logits(classifier: Classifier, images: Images, targets: Targets) -> list[bool]:
    """Which images the classifier can score at all. Raises UserError where a target is outside its classes."""
    logits = classifier(images)
    for target in targets.tolist():
        require_class(target, logits.shape[1])
    return [bool(fine) for fine in logits.isfinite().all(1)]
