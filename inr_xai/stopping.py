"""After each explanation: is it kept, and does its image go on? The rule that ends `explanations=auto`.

METHOD, "Several explanations per image", in docs/method.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.columns import UNSEEN
from inr_xai.method import Method
from inr_xai.metrics.baselines import white_noise
from inr_xai.metrics.chance import chance_scores
from inr_xai.metrics.masks import hard_masks
from inr_xai.metrics.scores import score_masks
from inr_xai.metrics.trial import Classifier as Scored
from inr_xai.metrics.trial import Trial
from inr_xai.seeding import generator
from inr_xai.types import Free, Images, Masks, Targets


@runtime_checkable
class Classifier(Scored, Protocol):
    """What the rule needs of a classifier where there are no photos: also how far its inputs spread."""

    colour_std: tuple[float, ...]


@dataclass(frozen=True)
class Attempt:
    """An explanation, just fitted, of those images of a batch that are still going on.

    Args:
        explanation: counted from 1.
        places: of the images in the batch.
        masks: as they will be stored.
        free: the pixels that the explanation could use; None where it could use all.
    """

    explanation: int
    places: list[int]
    masks: Masks
    free: Free | None


Keep = Callable[[Attempt], Sequence[bool]]
"""Asked once for each explanation: which images keep it and go on. The others end with the explanation before."""


def carried(columns: Mapping[str, Float[Tensor, "b a"]], game: str, baselines: Sequence[str]) -> Float[Tensor, " b"]:
    """Mean over areas and the named baselines of the columns `<game>_<baseline>`."""
    return torch.stack([columns[f"{game}_{name}"] for name in baselines]).mean((0, 2))


def worth_keeping(
    columns: Mapping[str, Float[Tensor, "b a"]], *, share: float, baselines: Sequence[str]
) -> Bool[Tensor, " b"]:
    """Which images keep an explanation k >= 2: s_k >= share * p_t(x) and s_k > c_k.

    s_k is the mean, over the areas fitted and over the baselines B, of p_t(kept_B(x, h_k)), h_k being the hard mask;
    c_k is the same mean for the chance masks of the same areas in the same free pixels. NaN is not worth keeping.

    Args:
        columns: `preservation_hard_<B>`, `chance_<B>` and `p_full`.
    """
    own, chance = (carried(columns, game, baselines) for game in ("preservation_hard", "chance"))
    return (own >= share * columns["p_full"].mean(1)) & (own > chance)


class ScoreKeeper:
    """Scores each explanation of a batch as it is fitted, once, for the rows of a run and for the rule.

    Args:
        images: values in [0, 1], on the device where to compute.
        photos: of the scoring pool, for each image.

    Attributes:
        rows: of each image, those of the explanations that it keeps.
        dropped: position in the batch -> what the first explanation below the rule carried.
        failures: position in the batch -> why the image has no scores.
    """

    def __init__(
        self,
        classifier: Scored,
        images: Images,
        targets: Targets,
        sample_ids: Sequence[str],
        method: Method,
        *,
        photos: Float[Tensor, "b p c h w"],
    ):
        self._classifier, self._method = classifier, method
        self._images, self._targets, self._ids, self._photos = images, targets, list(sample_ids), photos
        self._union: Bool[Tensor, "b a h w"] | None = None
        self.rows: list[list[dict[str, Any]]] = [[] for _ in sample_ids]
        self.dropped: dict[int, dict[str, Any]] = {}
        self.failures: dict[int, str] = {}

    def __call__(self, attempt: Attempt) -> list[bool]:
        places, method = attempt.places, self._method
        scores = score_masks(
            self._classifier,
            self._images[places],
            self._targets[places],
            attempt.masks,
            areas=method.areas,
            sample_ids=[self._ids[place] for place in places],
            seed=method.seed,
            photos=self._photos[places],
            free=attempt.free,
            earlier=None if self._union is None else self._union[places],
            masks_per_forward=method.masks_per_forward,
        )
        if self._union is None:
            self._union = scores.union.new_zeros(len(self._ids), *scores.union.shape[1:])
        self._union[places] = scores.union
        self.failures |= {places[position]: reason for position, reason in scores.failures.items()}
        kept = [position not in scores.failures for position in range(len(places))]
        if method.auto and attempt.explanation > 1:
            self._apply_rule(attempt, scores.columns, kept)
        self._note(scores.rows(attempt.explanation), places, kept)
        return kept

    def _apply_rule(self, attempt: Attempt, columns: Mapping[str, Float[Tensor, "b a"]], kept: list[bool]) -> None:
        worth = worth_keeping(columns, share=self._method.stop.share, baselines=UNSEEN).tolist()
        own, chance = (carried(columns, game, UNSEEN).tolist() for game in ("preservation_hard", "chance"))
        for position, place in enumerate(attempt.places):
            if kept[position] and not worth[position]:
                told = {"preservation": own[position], "chance": chance[position]}
                self.dropped[place] = {"explanation": attempt.explanation} | told
            kept[position] = kept[position] and worth[position]

    def _note(self, rows: list[dict[str, str | int | float]], places: list[int], kept: list[bool]) -> None:
        each = len(self._method.areas)
        for position, place in enumerate(places):
            target = {"target": int(self._targets[place])}
            own = rows[position * each : (position + 1) * each] if kept[position] else []
            self.rows[place] += [{"sample_id": row["sample_id"]} | target | row for row in own]


class OnNoise:
    """The rule where there are no photos to score against: under noise alone, the baseline that needs none.

    The noise is normal around the inputs' mean with their standard deviation, cut to each image's own values.

    Args:
        images: in the units of the classifier's input, on the device where to compute.
    """

    def __init__(
        self, classifier: Classifier, images: Images, targets: Targets, sample_ids: Sequence[str], method: Method
    ):
        self._classifier, self._method = classifier, method
        self._images, self._targets, self._ids = images, targets, list(sample_ids)

    def __call__(self, attempt: Attempt) -> list[bool]:
        if attempt.explanation == 1:
            return [True] * len(attempt.places)
        with torch.no_grad(), self._classifier.frozen(self._images.device, self._images.dtype):
            columns = self._scores(attempt)
        return worth_keeping(columns, share=self._method.stop.share, baselines=("noise",)).tolist()

    def _scores(self, attempt: Attempt) -> dict[str, Float[Tensor, "b a"]]:
        method, places = self._method, attempt.places
        images, ids = self._images[places], [self._ids[place] for place in places]
        trial = Trial(
            self._classifier,
            images,
            self._targets[places],
            baselines={"noise": self._noise(images, ids)},
            masks_per_forward=method.masks_per_forward,
        )
        areas = torch.tensor(list(method.areas), dtype=torch.float64)
        ties = [generator(method.seed, name, "ties") for name in ids]
        hard = hard_masks(attempt.masks, areas, generators=ties, free=attempt.free)
        return {
            "preservation_hard_noise": trial.means(hard)["noise"],
            "p_full": trial.whole().unsqueeze(1).expand(hard.shape[:2]),
        } | chance_scores(trial, method.areas, free=attempt.free, sample_ids=ids, seed=method.seed)

    def _noise(self, images: Images, ids: Sequence[str]) -> Float[Tensor, "b d c h w"]:
        mean, std = (
            torch.tensor(values).to(images).reshape(-1, 1, 1)
            for values in (self._classifier.colour_mean, self._classifier.colour_std)
        )
        low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
        noise = mean + std * white_noise(images, ids, seed=self._method.seed)
        return noise.clamp(low.unsqueeze(1), high.unsqueeze(1))
