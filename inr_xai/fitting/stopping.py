"""The rule of `explanations=auto`: after each explanation, whether an image keeps it and gets another one.

METHOD, "Several explanations per image", in docs/method.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.limits import require_probabilities
from inr_xai.masks import hard_masks
from inr_xai.method import Method
from inr_xai.scoring.baselines import white_noise
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.scoring.random_masks import chance_scores
from inr_xai.seeding import generator
from inr_xai.types import Batch, Classifier, Free, Masks


@dataclass(frozen=True)
class Candidate:
    """An explanation that was just fitted, of the images of a batch that have not ended.

    Args:
        explanation: number of the explanation, counted from 1.
        places: positions of the images in the batch.
        masks: the masks as they will be stored.
        free: the pixels that the explanation could use; None if it could use all.
    """

    explanation: int
    places: list[int]
    masks: Masks
    free: Free | None


KeepRule = Callable[[Candidate], Sequence[bool]]
"""Called once for each explanation; says which images keep it and go on. The others end with the explanation before."""


def mean_preservation(
    columns: Mapping[str, Float[Tensor, "b a"]], game: str, baselines: Sequence[str]
) -> Float[Tensor, " b"]:
    """Returns the mean of the columns `<game>_<baseline>` over areas and the named baselines."""
    return torch.stack([columns[f"{game}_{name}"] for name in baselines]).mean((0, 2))


def should_keep(
    columns: Mapping[str, Float[Tensor, "b a"]], *, share: float, baselines: Sequence[str]
) -> Bool[Tensor, " b"]:
    """Returns which images keep an explanation k >= 2: those with s_k >= share * p_t(x) and s_k > c_k.

    s_k is the mean, over the areas fitted and over the baselines B, of p_t(kept_B(x, h_k)), h_k being the hard mask;
    c_k is the same mean for chance masks of the same areas in the same free pixels. If a value is NaN, the image does
    not keep the explanation.

    Args:
        columns: `preservation_hard_<B>`, `chance_<B>` and `p_full`.
    """
    preservation = mean_preservation(columns, "preservation_hard", baselines)
    return (preservation >= share * columns["p_full"].mean(1)) & carries(columns, baselines)


def carries(columns: Mapping[str, Float[Tensor, "b a"]], baselines: Sequence[str]) -> Bool[Tensor, " b"]:
    """Returns whether an explanation of each image carries more than chance, s_k > c_k; see `should_keep`."""
    preservation, chance = (mean_preservation(columns, game, baselines) for game in ("preservation_hard", "chance"))
    return preservation > chance


class NoiseRule:
    """The rule of the Python API, which has no photos to score against: it uses the baseline `noise` alone.

    The noise is normal around the inputs' mean with their standard deviation, clipped to each image's range of values.

    Args:
        batch: images in the units of the classifier's input, on the device that computes.

    Raises:
        UserError: the classifier's outputs are no probabilities.
    """

    def __init__(self, classifier: Classifier, batch: Batch, method: Method):
        require_probabilities(classifier.head, "explanations=auto")
        self._classifier, self._batch, self._method = classifier, batch, method

    def __call__(self, candidate: Candidate) -> list[bool]:
        if candidate.explanation == 1:
            return [True] * len(candidate.places)
        batch = self._batch.only(candidate.places)
        with torch.no_grad(), self._classifier.frozen(batch.images.device, batch.images.dtype):
            columns = self._scores(candidate, batch)
        return should_keep(columns, share=self._method.stop.share, baselines=("noise",)).tolist()

    def _scores(self, candidate: Candidate, batch: Batch) -> dict[str, Float[Tensor, "b a"]]:
        method = self._method
        model = MaskedModel(
            self._classifier,
            batch.images,
            batch.targets,
            baselines={"noise": self._noise(batch)},
            masks_per_forward=method.masks_per_forward,
        )
        areas = torch.tensor(list(method.areas), dtype=torch.float64)
        ties = [generator(method.seed, sample_id, "ties") for sample_id in batch.sample_ids]
        hard = hard_masks(candidate.masks, areas, generators=ties, free=candidate.free)
        return {
            "preservation_hard_noise": model.means(hard)["noise"],
            "p_full": model.whole().unsqueeze(1).expand(hard.shape[:2]),
        } | chance_scores(model, method.areas, free=candidate.free, sample_ids=batch.sample_ids, seed=method.seed)

    def _noise(self, batch: Batch) -> Float[Tensor, "b d c h w"]:
        images = batch.images
        mean, std = (
            torch.tensor(values).to(images).reshape(-1, 1, 1)
            for values in (self._classifier.colour_mean, self._classifier.colour_std)
        )
        low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
        noise = mean + std * white_noise(images, batch.sample_ids, seed=self._method.seed)
        return noise.clamp(low.unsqueeze(1), high.unsqueeze(1))
