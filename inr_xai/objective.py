"""What a fit optimises: a score of the target class, and the game it is played in. One value per image, summed later.

Games: Fong and Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017.
Contrastive score: Fong, Patrick, Vedaldi, ICCV 2019, section 4 (t against the best other class).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.types import Areas, Masks

Score = Float[Tensor, " n"]
Scorer = Callable[[Masks], Float[Tensor, "b a"]]


class ScoreFunction(ABC):
    """A class score of logits: `evidence` is to be raised where the class must be seen, `absence` where it must not.

    `sigmoid` says that the head is multi-label: probabilities are sigmoids of single logits, not a softmax.
    """

    @abstractmethod
    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> Score:
        """Grows as the target class is seen more."""

    @abstractmethod
    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> Score:
        """Grows as the target class is seen less."""


class Logit(ScoreFunction):
    """The raw output of the target class."""

    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> Score:
        return logits.gather(1, targets[:, None])[:, 0]

    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> Score:
        return -self.evidence(logits, targets, sigmoid=sigmoid)


class LogProbability(ScoreFunction):
    """log p_t, and log(1 - p_t), which is bounded by 0 where the class has gone."""

    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> Score:
        own = logits.gather(1, targets[:, None])[:, 0]
        return F.logsigmoid(own) if sigmoid else own - logits.logsumexp(1)

    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> Score:
        own = logits.gather(1, targets[:, None])[:, 0]
        if sigmoid:
            return F.logsigmoid(-own)
        return _others(logits, targets).logsumexp(1) - logits.logsumexp(1)


class Contrastive(ScoreFunction):
    """The target's logit less the greatest logit of any other class."""

    def evidence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> Score:
        return logits.gather(1, targets[:, None])[:, 0] - _others(logits, targets).amax(1)

    def absence(self, logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"], *, sigmoid: bool) -> Score:
        return -self.evidence(logits, targets, sigmoid=sigmoid)


def _others(logits: Float[Tensor, "n m"], targets: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
    own = F.one_hot(targets, logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf)


class Objective(ABC):
    """A game: which perturbed images are scored, and how. `kept` and `removed` score masks, b x a."""

    def passes(self, areas: int) -> int:
        """Classifier passes that one step costs an image of so many masks; one each, unless a game says otherwise."""
        return areas

    @abstractmethod
    def __call__(
        self, masks: Masks, areas: Areas, evidence: Scorer, absence: Scorer, *, step: int
    ) -> Float[Tensor, "b a"]:
        """The value to lower, of masks that keep `areas`, in this step of the fit, from 0.

        `evidence(m)` scores the image that keeps m, `absence(m)` the same for its absence.
        """


class Preservation(Objective):
    """The part that is kept must show the class."""

    def __call__(
        self, masks: Masks, areas: Areas, evidence: Scorer, absence: Scorer, *, step: int
    ) -> Float[Tensor, "b a"]:
        return -evidence(masks)


class Deletion(Objective):
    """What is left when the part is removed must not show the class."""

    def __call__(
        self, masks: Masks, areas: Areas, evidence: Scorer, absence: Scorer, *, step: int
    ) -> Float[Tensor, "b a"]:
        return -absence(1 - masks)


class Hybrid(Objective):
    """Both games at once, on the same mask.

    Args:
        deletion: weight of the deletion game beside the preservation game's 1.
        areas: a step plays deletion on one mask, in turn on those whose areas are nearest to these; None plays it on
            all masks in every step. Where larger masks contain the smaller, one that deletes draws the others along,
            for one pass a step.
    """

    def __init__(self, deletion: float = 4.0, *, areas: Sequence[float] | None = (0.1, 0.2)):
        if deletion <= 0:
            raise UserError(
                f"objective.deletion must be positive, got {deletion}; objective=preservation has no deletion"
            )
        if areas is not None and not (areas and all(0 < area < 1 for area in areas)):
            raise UserError(f"objective.areas must lie in (0, 1), or be null for all masks; got {areas}")
        self.deletion, self.areas = deletion, None if areas is None else list(areas)

    def passes(self, areas: int) -> int:
        return 2 * areas if self.areas is None else areas + 1

    def __call__(
        self, masks: Masks, areas: Areas, evidence: Scorer, absence: Scorer, *, step: int
    ) -> Float[Tensor, "b a"]:
        value = -evidence(masks)
        if self.areas is None:
            return value - self.deletion * absence(1 - masks)
        turn = self.areas[step % len(self.areas)]
        _, position = min((abs(area - turn), position) for position, area in enumerate(areas.tolist()))
        nearest = torch.tensor([position], device=masks.device)
        return value.index_add(1, nearest, absence(1 - masks[:, nearest]).to(value), alpha=-self.deletion)
