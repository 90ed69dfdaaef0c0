"""Scores each explanation of a run as soon as it is fitted: for the run's rows, and for the rule of `auto`."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.columns import UNSEEN
from inr_xai.fitting.stopping import Candidate, carries, mean_preservation, should_keep
from inr_xai.method import Method
from inr_xai.scoring.answers import WholeAnswer, ask_whole
from inr_xai.scoring.scores import ExplanationScores, score_masks
from inr_xai.types import Batch, Classifier


class RunScorer:
    """Scores each explanation of a batch once; a run gives it to `fit_masks` as `keep`.

    Args:
        batch: images with values in [0, 1], on the device that computes.
        photos: photos of the scoring pool for each image.
        labels: the class index of each image's label, None where it is unknown.
        class_names: readable names by class index; None if there are none.

    Attributes:
        answers: what the classifier says of each image, from the first explanation on.
        rows: for each image, the rows of the explanations that it keeps.
        dropped: position in the batch -> scores of the explanation that the rule did not keep.
        failures: position in the batch -> why the image has no scores.
    """

    def __init__(
        self,
        classifier: Classifier,
        batch: Batch,
        method: Method,
        *,
        photos: Float[Tensor, "b p c h w"],
        labels: Sequence[int | None] | None = None,
        class_names: Sequence[str] | None = None,
    ):
        self._classifier, self._batch, self._method, self._photos = classifier, batch, method, photos
        self._labels = [None] * len(batch) if labels is None else list(labels)
        self._class_names = class_names
        self.answers: list[WholeAnswer] = []
        self._union: Bool[Tensor, "b a h w"] | None = None
        self.rows: list[list[dict[str, Any]]] = [[] for _ in batch.sample_ids]
        self.dropped: dict[int, dict[str, Any]] = {}
        self.failures: dict[int, str] = {}

    def __call__(self, candidate: Candidate) -> list[bool]:
        places, method, batch = candidate.places, self._method, self._batch.only(candidate.places)
        if not self.answers:
            self.answers = ask_whole(self._classifier, self._batch.images, at_once=method.masks_per_forward)
        scores = score_masks(
            self._classifier,
            batch.images,
            batch.targets,
            candidate.masks,
            areas=method.areas,
            sample_ids=batch.sample_ids,
            seed=method.seed,
            photos=self._photos[places],
            free=candidate.free,
            earlier=None if self._union is None else self._union[places],
            masks_per_forward=method.masks_per_forward,
        )
        if self._union is None:
            self._union = scores.union.new_zeros(len(self._batch), *scores.union.shape[1:])
        self._union[places] = scores.union
        self.failures |= {places[position]: reason for position, reason in scores.failures.items()}
        kept = [position not in scores.failures for position in range(len(places))]
        if method.auto and candidate.explanation > 1:
            self._apply_rule(candidate, scores.columns, kept)
        self._add_rows(candidate, scores, kept)
        return kept

    def state(self) -> dict[str, Any]:
        """Returns tensors and plain values with which a scorer of the same batch goes on after this one's scores."""
        return {
            "answers": [vars(answer) for answer in self.answers],
            "union": self._union,
            "rows": self.rows,
            "dropped": self.dropped,
            "failures": self.failures,
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Goes on after the scores of another scorer of the same batch, whose `state` is given."""
        self.answers = [WholeAnswer(**answer) for answer in state["answers"]]
        self._union, self.rows = state["union"], state["rows"]
        self.dropped, self.failures = state["dropped"], state["failures"]

    def _add_rows(self, candidate: Candidate, scores: ExplanationScores, kept: Sequence[bool]) -> None:
        """Adds the rows of an explanation to those of the images that keep it."""
        rows, areas = scores.rows(candidate.explanation), len(self._method.areas)
        more = carries(scores.columns, UNSEEN).tolist()
        for position, place in enumerate(candidate.places):
            if not kept[position]:
                continue
            target = int(self._batch.targets[place])
            said = self.answers[place].columns(target, self._labels[place], self._class_names)
            for row in rows[position * areas : (position + 1) * areas]:
                names = {"sample_id": row["sample_id"], "target": target} | said
                self.rows[place].append(names | row | {"carries": int(more[position])})

    def _apply_rule(self, candidate: Candidate, columns: Mapping[str, Float[Tensor, "b a"]], kept: list[bool]) -> None:
        """Removes from `kept` the images whose explanation carries too little, and stores its scores."""
        passes = should_keep(columns, share=self._method.stop.share, baselines=UNSEEN).tolist()
        games = ("preservation_hard", "chance")
        preservation, chance = (mean_preservation(columns, game, UNSEEN).tolist() for game in games)
        for position, place in enumerate(candidate.places):
            if kept[position] and not passes[position]:
                kept[position] = False
                self.dropped[place] = {
                    "explanation": candidate.explanation,
                    "preservation": preservation[position],
                    "chance": chance[position],
                }
