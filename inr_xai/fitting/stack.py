"""A stack of images that are fitted together: one explanation after another until every image has ended or failed."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lightning
import torch
from jaxtyping import Bool, Float, Float16
from torch import Tensor

from inr_xai.classifier.frozen import require_class
from inr_xai.errors import TERMINATED
from inr_xai.fitting.course import Course
from inr_xai.fitting.drawing import Drawing, export_network
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.plateau import PlateauModule
from inr_xai.fitting.stopping import Candidate, KeepRule
from inr_xai.fitting.trainers import light_trainer
from inr_xai.method import Method
from inr_xai.seeding import second_seed
from inr_xai.types import Batch, Classifier, Free

DIVERGED = (
    "the loss of this image became NaN or infinite, also in a second fit with other random draws and half the learning "
    "rate: the classifier gives no finite logits for masked copies of it, or the fit diverged; try a smaller learning "
    "rate or another score"
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
        steps: what all fits have cost, in steps, see `Course`.
        again: for each explanation that diverged, its number, and seed and learning rate of the second try.
        failure: why there is no mask; None if there is one.
    """

    masks: list[Float16[Tensor, "a h w"]] = field(default_factory=list)
    free: list[Bool[Tensor, "a h w"] | None] = field(default_factory=list)
    networks: list[dict[str, Tensor]] = field(default_factory=list)
    losses: list[Float[Tensor, " s"]] = field(default_factory=list)
    steps: float = 0.0
    again: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None


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
        self._drawing = Drawing(method, ids, (batch.images.shape[-2], batch.images.shape[-1]))
        self._start_maps: Float[Tensor, "b h w"] | None = None
        self._explained = 0
        """The number of explanations that have ended."""
        self._course: Course | None = None
        """The fit of the explanation that is at work."""
        self._kept_course: dict[str, Any] | None = None
        self._narrow(finite)
        if self._remaining:
            self._start_maps, failures = method.start.maps(
                classifier, batch.only(self._remaining), at_once=method.masks_per_forward
            )
            for position, reason in failures.items():
                self.results[self._remaining[position]].failure = reason
            self._narrow([position not in failures for position in range(len(self._remaining))])

    def state(self) -> dict[str, Any]:
        """Returns tensors and plain values with which a stack of the same images goes on where this one is."""
        return {
            "results": {place: dict(vars(image)) for place, image in self.results.items()},
            "remaining": self._remaining,
            "drawing": self._drawing.state(),
            "explained": self._explained,
            "course": None if self._course is None else self._course.state(),
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Goes on where another stack of the same images was, whose `state` is given."""
        self._narrow([place in state["remaining"] for place in self._remaining])
        self.results = {place: ImageResult(**image) for place, image in state["results"].items()}
        self._drawing.go_on_from(state["drawing"])
        self._explained, self._kept_course = state["explained"], state["course"]

    def explain(
        self,
        trainer: Mapping[str, Any],
        callbacks: Sequence[lightning.Callback],
        keep: KeepRule | None,
        at_boundary: Callable[[], None] | None,
    ) -> list[ImageResult]:
        """Fits all explanations, one after another, and returns the result of each image.

        Args:
            trainer: accelerator, devices and precision of the Lightning trainers, one for each explanation.
            keep: see `fit_masks`; None keeps every explanation.
            at_boundary: is called between steps and after each explanation, when `state` can be kept; None for nobody.
        """
        for explanation in range(self._explained + 1, self._method.most + 1):
            room = self._drawing.room  # masks of several areas may block more pixels than the largest area
            for place, enough in zip(self._remaining, room, strict=True):
                if not (enough or self._method.auto):
                    log.warning(NO_ROOM, self._batch.sample_ids[place], explanation - 1)
            self._narrow(room)
            if not self._remaining:
                break
            free = self._drawing.free
            course = self._course = Course(partial(self._new_module, explanation, free), len(self._remaining))
            if self._kept_course is not None:
                course.go_on_from(self._kept_course)
                self._kept_course = None
            try:
                course.run(partial(light_trainer, trainer, callbacks), at_boundary)
            except SystemExit as ending:  # Lightning makes one of Ctrl-C, and of SIGTERM one whose status means success
                if isinstance(ending.__context__, KeyboardInterrupt):
                    raise ending.__context__ from None
                raise SystemExit(TERMINATED if ending.code is None else ending.code) from ending
            except FitStopped:
                for place in self._remaining:
                    self.results[place].failure = None if self.results[place].masks else STOPPED
                break
            finally:
                self._course = None  # which has the stack, and would stay with it
            masks = self._drawing.next(course.inr.to(self._batch.images.device))
            stays = [bool(curve.isfinite().all()) for curve in course.curves]
            for row, place in enumerate(self._remaining):
                self.results[place].losses.append(course.curves[row])
                self.results[place].steps += course.steps[row]
                if not stays[row]:
                    self.results[place].failure = DIVERGED
            for row, lr in course.again.items():
                image, sample_id = self.results[self._remaining[row]], self._batch.sample_ids[self._remaining[row]]
                seed = second_seed(self._method.seed, sample_id)
                image.again.append({"explanation": explanation, "seed": seed, "lr": lr})
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
                    self.results[place].networks.append(export_network(course.inr, row))
            self._narrow(stays)
            self._explained = explanation
            if at_boundary is not None:
                at_boundary()
        return list(self.results.values())

    def _new_module(self, explanation: int, free: Free | None, rows: Sequence[int], *, again: bool) -> MaskModule:
        """Returns the module of an explanation of some of the images that remain; see `course.NewModule`."""
        places, earlier, chosen = [self._remaining[row] for row in rows], None, list(rows)
        free = None if free is None else free[chosen]
        if explanation > 1 and not self._drawing.exclude:
            largest = [torch.stack(self.results[place].masks).amax(0) for place in places]
            earlier = torch.stack(largest).to(self._batch.images.dtype)
        batch, start = self._batch.only(places), None
        if self._start_maps is not None:
            areas = batch.images.new_tensor(list(self._method.areas))
            # A penalty blocks no pixel, but the next explanation starts beside the earlier ones all the same.
            beside = free if earlier is None else earlier < 0.5
            maps = self._start_maps[chosen]
            start = self._method.start.field(maps, self._classifier, batch, areas=areas, free=beside)
        kind = MaskModule if self._method.plateau.steps is None else PlateauModule
        return kind(
            batch,
            explanation=explanation,
            classifier=self._classifier,
            method=self._method,
            rows=chosen,
            donors=self._donors,
            free=free,
            earlier=earlier,
            start=start,
            again=again,
        )

    def _narrow(self, stays: Sequence[bool]) -> None:
        """Goes on with the images that stay."""
        rows = [row for row, stay in enumerate(stays) if stay]
        self._drawing.only(rows)
        self._start_maps = None if self._start_maps is None else self._start_maps[rows]
        self._remaining = [self._remaining[row] for row in rows]
