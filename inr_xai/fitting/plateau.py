"""A fit that ends when hard masks do not gain any more (`plateau.steps`): its modules, and the rule.

METHOD, "When a fit ends", in docs/method.md. The images that end leave their stack, and the others go on without them:
each group has a module of its own, which begins with the weights, the optimiser's state and the random draws that it
would have had anyway. So what an image does depends on the image alone.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier.frozen import in_parts
from inr_xai.draws import Draws
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.masks import pixel_counts
from inr_xai.objective import IN_PLACE_OF, ScoreFunction
from inr_xai.perturbation import Jitter, KeepFunction, MaskedImages
from inr_xai.types import Batch, Masks

CHECKS, DRAWS = 2, 2
"""Checks in `plateau.steps` steps, and the baselines of each mask in a check. A check has DRAWS times the forward
passes of a step and no backward passes, so that it costs as much as DRAWS / 2 steps."""
BEGIN = 2
"""Checks begin after one half of the steps. In the first half masks are soft and their hard masks hardly change: they
gain most while masks harden."""
GAIN = 1e-3
"""What counts as a gain, relative to the best value so far; rounding gains less."""
REST = 10
"""The rest of the course takes a tenth of the steps spent."""


class PlateauRule:
    """Says of one image when its value, which a fit lowers, has not fallen for `steps` steps."""

    def __init__(self, steps: int):
        self._steps, self._best, self._best_step = steps, math.inf, 0

    def state(self) -> tuple[float, int]:
        """Returns the best value so far and its step."""
        return self._best, self._best_step

    def go_on_from(self, state: Sequence[Any]) -> None:
        """Goes on after another rule of the same series, whose `state` is given."""
        self._best, self._best_step = state

    def has_ended(self, step: int, value: float) -> bool:
        """Notes the value after `step` steps, and returns whether the last gain lies `steps` steps back.

        >>> rule = PlateauRule(steps=20)
        >>> [rule.has_ended(step, value) for step, value in ((10, 3.0), (20, 2.0), (30, 2.5), (40, 2.0))]
        [False, False, False, True]
        """
        # The first value, and one that is finite after values that were not, is a gain. NaN is none.
        if self._best_step == 0 or value < self._best - (GAIN * abs(self._best) if self._best < math.inf else 0):
            self._best, self._best_step = value if value == value else math.inf, step
        return step - self._best_step >= self._steps


def remaining_steps(spent: int) -> int:
    """Returns the steps in which an image that has ended after `spent` steps runs the rest of its course."""
    return -(-spent // REST)


class PlateauModule(MaskModule):
    """A MaskModule that ends as soon as one of its images has reached a plateau; `parts` are the modules that go on.

    Args:
        batch, options: see `MaskModule`.
    """

    def __init__(self, batch: Batch, **options: Any):
        super().__init__(batch, **options)
        patience = self.method.plateau.steps
        assert patience is not None
        self.every = -(-patience // CHECKS)
        self.rules = [PlateauRule(patience) for _ in self.sample_ids]
        self.first_check = self.every * -(-self.method.steps // (BEGIN * self.every))
        earliest = self.first_check + self.every * -(-patience // self.every)
        self.watched = earliest + remaining_steps(earliest) < self.method.steps
        """Whether images may still end early; False while they run the rest of their course."""

    def state(self) -> dict[str, Any]:
        own = {"progress": self.progress, "checks": self.checks, "watched": self.watched}
        return super().state() | own | {"rules": [rule.state() for rule in self.rules]}

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        super().go_on_from(state)
        self.progress = list(state["progress"])
        self.checks, self.watched = state["checks"], state["watched"]
        for rule, known in zip(self.rules, state["rules"], strict=True):
            rule.go_on_from(known)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if not self.watched:
            return
        self._judging = MaskedImages(
            self.images,
            self._around,
            perturbation=self.method.perturbation,
            jitter=Jitter(shift=0.0),
            draws=Draws(self._seeds, device=self.images.device, dtype=self.images.dtype).of("plateau"),
            slots=len(self.areas),
            steps=DRAWS,
        )
        size = self.images.shape[-2:].numel()
        self._counts = pixel_counts(torch.tensor(list(self.method.areas), dtype=torch.float64), size)

    def on_train_batch_end(self, outputs: Any, batch: int, batch_idx: int) -> None:
        spent = batch + 1
        due = spent >= self.first_check and spent % self.every == 0
        if self.watched and due and spent + remaining_steps(spent) < self.method.steps:
            self._check(spent)

    def _check(self, spent: int) -> None:
        """Ends the module after `spent` steps if an image has reached a plateau."""
        values = self.judged_values().tolist()  # the one read by the host, once a check
        self.checks += 1
        ended = [rule.has_ended(spent, value) for rule, value in zip(self.rules, values, strict=True)]
        if True in ended:
            self.continues = True
            groups = {have: [row for row, has in enumerate(ended) if has == have] for have in (True, False)}
            self.parts = [self._part(rows, spent, ends=have) for have, rows in groups.items() if rows]
            self.trainer.should_stop = True

    @torch.no_grad()
    def judged_values(self) -> Float[Tensor, " b"]:
        """Returns what the objective lowers, for the hard masks of now under the fixed draws: the mean over masks."""
        method, (classifier,) = self.method, self._outside
        masks = self.current_masks(1.0)
        values = masks if self.free is None else masks.masked_fill(~self.free, -1.0)
        hard = torch.zeros_like(values).flatten(2)
        for place, count in enumerate(self._counts):
            hard[:, place].scatter_(1, values[:, place].flatten(1).topk(count, sorted=False).indices, 1.0)
        hard = hard.view_as(masks) if self.free is None else hard.view_as(masks) * self.free
        assert isinstance(method.score, ScoreFunction)  # `fit_masks` makes a user's own a part of the classifier
        score = IN_PLACE_OF.get((type(method.score), classifier.head), method.score)
        total = torch.zeros_like(hard[:, :, 0, 0])
        with self.trainer.precision_plugin.forward_context():
            for draw in range(DRAWS):
                kept = self._judging.draw(draw, progress=1.0)
                evidence, absence = partial(self._ask, kept, score.evidence), partial(self._ask, kept, score.absence)
                total = total + method.objective(hard, method.areas, evidence, absence, step=draw)
        return total.mean(1) / DRAWS

    def _ask(self, kept: KeepFunction, score: Callable[..., Tensor], masks: Masks) -> Float[Tensor, "b a"]:
        (classifier,) = self._outside
        images = kept(masks)
        flat, targets = images.flatten(0, 1), self.targets.repeat_interleave(images.shape[1])

        def ask(some: slice) -> Tensor:
            values = score(classifier(flat[some]), targets[some], sigmoid=classifier.head == "sigmoid")
            return values.to(flat.dtype)

        parts = in_parts(ask, len(flat), self.method.masks_per_forward, of=classifier)
        return torch.cat(parts).view(images.shape[:2])

    def _part(self, rows: Sequence[int], spent: int, *, ends: bool) -> "PlateauModule":
        """Returns the module in which some of the images go on after `spent` steps.

        Args:
            ends: run the rest of the course in few steps.
        """
        of_rows, state = partial(_of_rows, rows=rows, images=len(self.sample_ids)), self.state()
        progress = self.progress
        if ends:
            now, count = self.progress[spent - 1], remaining_steps(spent)
            course = [(now * (count - step) + step) / count for step in range(1, count + 1)]
            progress = self.progress[:spent] + course
        part = PlateauModule(
            Batch(self.images, self.targets, self.sample_ids).only(rows),
            explanation=self.explanation,
            classifier=self._outside[0],
            method=self.method,
            rows=[self.rows[row] for row in rows],
            donors=self.donors,
            free=None if self.free is None else self.free[list(rows)],
            earlier=None if self.earlier is None else self.earlier[list(rows)],
            again=self.again,
        )
        part.go_on_from(
            {
                "inr": {name: of_rows(value) for name, value in state["inr"].items()},
                "optimizer": [{name: of_rows(value) for name, value in one.items()} for one in state["optimizer"]],
                "memory": {name: of_rows(value) for name, value in state["memory"].items()},
                "losses": state["losses"][:, list(rows)],
                "rules": [state["rules"][row] for row in rows],
                "progress": progress,
                "checks": self.checks,
                "watched": self.watched and not ends,
            }
        )
        return part


def _of_rows(value: Any, rows: Sequence[int], images: int) -> Any:
    """Returns a copy of a value for some of the images, if it is a tensor that has one entry for each."""
    if isinstance(value, Tensor) and value.ndim and len(value) == images:
        return value[list(rows)]
    return copy.deepcopy(value)
