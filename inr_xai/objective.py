"""What a fit optimises: a score of the target class on images that a mask keeps or removes, one value per image.

Games: Fong and Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017.
Contrastive score: Fong, Patrick, Vedaldi, ICCV 2019, section 4 (t against the best other class).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.limits import require_numbers
from inr_xai.types import Masks

ScoreValues = Float[Tensor, " n"]
"""One score per image."""
MaskScore = Callable[[Masks], Float[Tensor, "b a"]]
"""A function that scores masked images, b x a scores for masks b x a x h x w."""
OutputScore = Callable[[Any], Tensor]
"""A score of the user's own: maps what the model returns for b images, of any type, to b numbers, larger for more."""


class ScoreFunction(ABC):
    """A class score of logits: a fit raises `evidence` on images that must show the class, `absence` on all others.

    `sigmoid` is true for a multi-label head, whose probabilities are sigmoids of single logits and not a softmax. With
    the head `none` the logits are plain scores, and with `probabilities` the logarithms of probabilities.
    """

    @abstractmethod
    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        """Returns a score that grows with the evidence for the target class."""

    @abstractmethod
    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        """Returns a score that grows as the evidence for the target class falls."""


class Logit(ScoreFunction):
    """The raw output of the target class."""

    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        return logits.gather(1, targets[:, None])[:, 0]

    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        return -self.evidence(logits, targets, sigmoid=sigmoid)


class LogProbability(ScoreFunction):
    """log p_t as evidence; log(1 - p_t) as absence, whose upper bound 0 is reached when the class is not seen."""

    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        if sigmoid:
            return F.logsigmoid(logits.gather(1, targets[:, None])[:, 0])
        return -F.cross_entropy(logits, targets, reduction="none")

    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        if sigmoid:
            return F.logsigmoid(-logits.gather(1, targets[:, None])[:, 0])
        return _others(logits, targets).logsumexp(1) - logits.logsumexp(1)


class OfLogarithm(ScoreFunction):
    """What LogProbability is if the logits are the logarithms of probabilities already."""

    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        return logits.gather(1, targets[:, None])[:, 0]

    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        log_p = logits.gather(1, targets[:, None])[:, 0]
        # Each branch is exact where the other is not: log(1 - p) for p near 1, and for p near 0.
        large = (-log_p.clamp(min=-1).expm1()).clamp(min=torch.finfo(log_p.dtype).eps / 2).log()
        small = (-log_p.clamp(max=-0.5).exp()).log1p()
        return torch.where(log_p > -0.7, large, small)


class Contrastive(ScoreFunction):
    """The target's logit minus the largest logit of all other classes. Raises UserError if there are no others."""

    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        require_columns(self, logits.shape[1])
        return logits.gather(1, targets[:, None])[:, 0] - _others(logits, targets).amax(1)

    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> ScoreValues:
        return -self.evidence(logits, targets, sigmoid=sigmoid)


def require_columns(score: ScoreFunction | OutputScore, columns: int) -> None:
    """Raises UserError if a score compares a class with others and the classifier has a single output."""
    if isinstance(score, Contrastive) and columns == 1:
        raise UserError(
            "score=contrastive compares a class with the others, and the classifier has one output; use score=logit"
        )


IN_PLACE_OF: dict[tuple[type[ScoreFunction], str], ScoreFunction] = {
    (LogProbability, "probabilities"): OfLogarithm(),
    (LogProbability, "none"): Logit(),
}
"""A score and a head -> the score that takes its place, as the logits of this head are no logits of a softmax."""


def _others(logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
    return logits.masked_fill(F.one_hot(targets, logits.shape[1]).bool(), -torch.inf)


class Objective(ABC):
    """A game: which masked images are scored, and which score is optimised."""

    def passes(self, areas: int) -> int:
        """Returns the classifier passes of one step for an image with this many masks; by default one per mask."""
        return areas

    @abstractmethod
    def __call__(
        self, masks: Masks, areas: Sequence[float], evidence: MaskScore, absence: MaskScore, *, step: int
    ) -> Float[Tensor, "b a"]:
        """Returns the value that the fit lowers, for each mask.

        Args:
            masks: the masks that keep `areas`.
            evidence, absence: the two scores of the image as a mask keeps it, b x a for masks b x a x h x w.
            step: step of the fit, counted from 0.
        """


class Preservation(Objective):
    """The image that keeps the mask must show the class."""

    def __call__(
        self, masks: Masks, areas: Sequence[float], evidence: MaskScore, absence: MaskScore, *, step: int
    ) -> Float[Tensor, "b a"]:
        return -evidence(masks)


class Deletion(Objective):
    """The image without the mask must not show the class."""

    def __call__(
        self, masks: Masks, areas: Sequence[float], evidence: MaskScore, absence: MaskScore, *, step: int
    ) -> Float[Tensor, "b a"]:
        return -absence(1 - masks)


class Hybrid(Objective):
    """Both games at once, on the same mask.

    Args:
        deletion: weight of the deletion game; the weight of the preservation game is 1.
        areas: each step plays deletion on one mask only; in turn, it is the mask whose area is nearest to one of these.
            If larger masks contain the smaller ones, the other masks follow, at the price of one pass per step. None
            plays deletion on all masks in every step.
    """

    def __init__(self, deletion: float = 4.0, *, areas: Sequence[float] | None = (0.1, 0.2)):
        if deletion <= 0:
            raise UserError(
                f"objective.deletion must be positive, got {deletion}; objective=preservation has no deletion"
            )
        require_numbers("objective", deletion=deletion)
        if areas is not None and not (areas and all(0 < area < 1 for area in areas)):
            raise UserError(f"objective.areas must lie in (0, 1), or be null for all masks; got {areas}")
        self.deletion, self.areas = deletion, None if areas is None else list(areas)

    def passes(self, areas: int) -> int:
        return 2 * areas if self.areas is None else areas + 1

    def __call__(
        self, masks: Masks, areas: Sequence[float], evidence: MaskScore, absence: MaskScore, *, step: int
    ) -> Float[Tensor, "b a"]:
        value = -evidence(masks)
        if self.areas is None:
            return value - self.deletion * absence(1 - masks)
        turn = self.areas[step % len(self.areas)]
        _, place = min((abs(area - turn), place) for place, area in enumerate(areas))
        removed = absence(1 - masks[:, place : place + 1]).to(value)
        return value - self.deletion * F.pad(removed, (place, len(areas) - place - 1))


class Regularity(torch.autograd.Function):
    """contour * total variation + grey * mean(4 m (1 - m)) of each mask, whose value is made of its gradient."""

    @staticmethod
    def forward(ctx, masks, contour, grey):  # type: ignore[no-untyped-def]
        height, width = masks.shape[-2:]
        grey *= 4 / (height * width)
        gradient = torch.rsub(masks, grey, alpha=2 * grey)
        down, across = masks.diff(dim=-2).sign_(), masks.diff(dim=-1).sign_()
        for axis, signs, weight in ((-2, down, contour / width), (-1, across, contour / height)):
            places = signs.shape[axis]
            gradient.narrow(axis, 1, places).add_(signs, alpha=weight)
            gradient.narrow(axis, 0, places).sub_(signs, alpha=weight)
        ctx.save_for_backward(gradient)
        # The total variation is homogeneous of degree 1: the product of its gradient and the mask (Euler's theorem).
        with torch.autocast(masks.device.type, enabled=False):
            rows = masks.reshape(-1, 1, height * width)
            values = torch.bmm(rows, gradient.reshape(-1, height * width, 1)).baddbmm_(rows, rows.mT, alpha=grey)
        return values.view(masks.shape[:2])

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (gradient,) = ctx.saved_tensors
        return upstream[:, :, None, None] * gradient, None, None


def total_variation(masks: Masks) -> Float[Tensor, "b a"]:
    """Returns the sum of |differences| along both axes over the side: the length of a contour in image sides.

    >>> half = torch.zeros(1, 1, 8, 8); half[..., 4:] = 1
    >>> float(total_variation(half))
    1.0
    """
    values: Tensor = Regularity.apply(masks, 1.0, 0.0)
    return values
