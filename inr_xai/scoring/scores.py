"""The scores of masks: how much of a class they preserve and delete under four baselines, with chance and geometry.

The formulas are in docs/method.md, "Several explanations per image" and "Metrics".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.masks import area_error, grayness, hard_masks, nesting_violation, rank_violation, share_above_half
from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.masked_model import MaskedModel, mean_over_baselines
from inr_xai.scoring.random_masks import chance_scores
from inr_xai.scoring.unions import scores_together
from inr_xai.seeding import generator
from inr_xai.types import Classifier, Free, Images, Masks, Row, Targets

LOGITS_NOT_FINITE = "the classifier returns NaN or infinite logits for masked copies of this image; check its weights"
MASK_NOT_FINITE = "the mask holds NaN or infinite values: the fit of this image diverged; try a smaller optimizer.lr"

Columns = dict[str, Float[Tensor, "b a"]]


@dataclass(frozen=True)
class ExplanationScores:
    """The scores of one explanation of a batch of images.

    Args:
        columns: name -> value of each image and area, on the CPU; all NaN for an image that failed.
        union: the pixels that a hard mask of this explanation or of an earlier one keeps.
        failures: position in the batch -> why the image has no scores.
        passes: the number of images and masked copies that went through the classifier.
    """

    sample_ids: list[str]
    areas: list[float]
    columns: Columns
    union: Bool[Tensor, "b a h w"]
    failures: dict[int, str]
    passes: int

    def rows(self, explanation: int) -> list[Row]:
        """Returns one row per image and area, also of images that failed.

        Args:
            explanation: the number of the explanation, which counts from 1.
        """
        values = {name: column.tolist() for name, column in self.columns.items()}
        rows: list[Row] = []
        for image, sample_id in enumerate(self.sample_ids):
            for position, area in enumerate(self.areas):
                scores = {name: column[image][position] for name, column in values.items()}
                rows.append({"sample_id": sample_id, "explanation": explanation, "area": area, **scores})
        return rows


@torch.no_grad()
def score_masks(
    classifier: Classifier,
    images: Images,
    targets: Targets,
    masks: Masks,
    *,
    areas: Sequence[float],
    sample_ids: Sequence[str],
    seed: int,
    photos: Float[Tensor, "b p c h w"],
    free: Free | None = None,
    earlier: Bool[Tensor, "b a h w"] | None = None,
    masks_per_forward: int = 32,
) -> ExplanationScores:
    """Scores one explanation of each image. No score depends on the other images or on `masks_per_forward`.

    Args:
        images: values in [0, 1], on the device that computes.
        masks: the masks as they are stored.
        sample_ids, seed: name the images' noise, ties and random masks.
        photos: photos of the scoring pool for each image.
        free: the pixels that the explanation could use; None for all.
        earlier: `ExplanationScores.union` of the explanation before; None for the first.
        masks_per_forward: masked copies that go through the classifier at once (memory).
    """
    masks, targets = masks.to(images.device), targets.to(images.device)
    free = None if free is None else free.to(images.device)
    valid = masks.isfinite().flatten(1).all(1)
    masks = masks.where(valid[:, None, None, None], torch.zeros_like(masks))
    colour_mean = torch.tensor(classifier.colour_mean)
    baselines = scoring_baselines(images, sample_ids, seed=seed, colour_mean=colour_mean, photos=photos)
    model = MaskedModel(classifier, images, targets, baselines=baselines, masks_per_forward=masks_per_forward)
    ties = [generator(seed, sample_id, "ties") for sample_id in sample_ids]
    hard = hard_masks(masks, torch.tensor(list(areas), dtype=torch.float64), generators=ties, free=free)
    union = hard if earlier is None else hard | earlier.to(images.device)
    columns = _geometry(masks, areas)
    with classifier.frozen(images.device, images.dtype):
        columns |= _games(model, masks, hard)
        columns |= {"p_full": model.whole().unsqueeze(1).expand(masks.shape[:2])}
        chances = chance_scores(model, areas, free=free, sample_ids=sample_ids, seed=seed)
        columns |= chances | {"chance": torch.stack(list(chances.values())).mean(0)}
        columns |= scores_together(model, union, alone=columns if earlier is None else None)
    finite = torch.stack([column.isfinite().all(1) for column in columns.values()]).all(0)
    columns = {name: column.where((finite & valid).unsqueeze(1), torch.nan).cpu() for name, column in columns.items()}
    failures = dict.fromkeys((~finite).nonzero().flatten().tolist(), LOGITS_NOT_FINITE)
    failures |= dict.fromkeys((~valid).nonzero().flatten().tolist(), MASK_NOT_FINITE)
    return ExplanationScores(list(sample_ids), list(areas), columns, union, failures, model.passes)


def _geometry(masks: Masks, areas: Sequence[float]) -> Columns:
    """Returns what needs no classifier; the nesting violation is the same at all areas of an image."""
    fractions = torch.tensor(list(areas), dtype=torch.float64)
    return {
        "area_error": area_error(masks, fractions),
        "grayness": grayness(masks),
        "share_above_half": share_above_half(masks, fractions),
        "rank_violation": rank_violation(masks, fractions),
        "nesting_violation": nesting_violation(masks, fractions).unsqueeze(1).expand(masks.shape[:2]),
    }


def _games(model: MaskedModel, masks: Masks, hard: Bool[Tensor, "b a h w"]) -> Columns:
    """Returns preservation and deletion, hard and soft, under every baseline and their mean."""
    soft = masks.to(model.images.dtype)
    games = {"preservation_hard": hard, "preservation_soft": soft, "deletion_hard": ~hard, "deletion_soft": 1 - soft}
    columns: Columns = {}
    for game, kept in games.items():
        columns |= mean_over_baselines(game, model.means(kept))
    return columns
