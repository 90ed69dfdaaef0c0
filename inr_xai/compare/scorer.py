"""The scores of a method's maps: made hard at the same areas for every method, then scored as a run scores its masks.

The result is a row for each area, with the column names of a run. METHOD, "Metrics", in docs/method.md.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.columns import BASELINES
from inr_xai.compare.methods.base import MethodMaps
from inr_xai.errors import UserError
from inr_xai.masks import area_error, grayness, hard_masks, nesting_violation
from inr_xai.metrics.robustness.stability import mask_iou
from inr_xai.metrics.shape import components, perimeter
from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.masked_model import MaskedModel, mean_over_baselines
from inr_xai.scoring.scores import LOGITS_NOT_FINITE
from inr_xai.seeding import generator
from inr_xai.types import Classifier, Image, Row

MAPS_NOT_FINITE = "the maps hold NaN or infinite values: the method diverged on this image; run it with other settings"
VERSION = 1  # counts the changes of scoring: rows of another version are scored again, from stored maps
HARD_GAMES = ("preservation_hard", "deletion_hard")
COMPARED_SCORES = (
    "p_full",
    *(f"{game}_{baseline}" for game in HARD_GAMES for baseline in (*BASELINES, "mean")),
    "area_error",
    "grayness",
    "nesting_violation",
    "components",
    "perimeter",
    "shared_pixels",
    "seed_iou",
    "seconds",
    "passes",
)
"""Columns of numbers; NaN if a method has no such number."""

Values = dict[str, Float[Tensor, " a"]]
"""Column -> its number for each area."""


class MapScorer:
    """Scores the maps of one image for one class.

    Args:
        image: values in [0, 1], on the device that computes.
        image_id, seed: the names of the noise, of the order of ties and of the draws.
        photos: photos of the scoring pool, for the baseline `photo`.
        masks_per_forward: how many masked copies go through the classifier at once (memory).
    """

    def __init__(
        self,
        classifier: Classifier,
        image: Image,
        target: int,
        image_id: str,
        *,
        areas: Sequence[float],
        seed: int,
        photos: Float[Tensor, "p c h w"],
        masks_per_forward: int = 32,
    ):
        self.target, self._image_id, self._areas, self._seed = target, image_id, list(areas), seed
        self._classifier = classifier
        baselines = scoring_baselines(
            image[None],
            [image_id],
            seed=seed,
            colour_mean=torch.tensor(classifier.colour_mean),
            photos=photos[None].to(image.device),
        )
        targets = torch.tensor([target], device=image.device)
        self._masked_model = MaskedModel(
            classifier, image[None], targets, baselines=baselines, masks_per_forward=masks_per_forward
        )

    def rows(self, maps: MethodMaps) -> list[Row]:
        """Returns a row for each area. Raises UserError if maps or logits are not finite."""
        if not maps.maps.isfinite().all():
            raise UserError(MAPS_NOT_FINITE)
        hard = harden(maps, self._areas, self._image_id, seed=self._seed)
        values = self._games(hard, draws=maps.draws)
        if not all(value.isfinite().all() for value in values.values()):
            raise UserError(LOGITS_NOT_FINITE)
        values |= _geometry(maps, hard, self._areas)
        values |= {"seconds": torch.full((len(self._areas),), maps.seconds)}
        values |= {"passes": torch.full((len(self._areas),), maps.passes)}
        lists = {name: values[name].tolist() for name in COMPARED_SCORES if name in values}
        return [
            {"image_id": self._image_id, "target": self.target, "area": area, "layer": maps.layer}
            | {name: lists[name][place] if name in lists else torch.nan for name in COMPARED_SCORES}
            for place, area in enumerate(self._areas)
        ]

    @torch.no_grad()
    def _games(self, hard: Bool[Tensor, "r a h w"], *, draws: bool) -> Values:
        """Returns the probability of the class on the image, on what masks keep and on what they leave.

        If the masks are draws, they take turns under a baseline's draws.
        """
        values: Values = {}
        model = self._masked_model
        hard = hard.to(model.images.device)
        with self._classifier.frozen(model.images.device, model.images.dtype):
            values["p_full"] = model.whole().expand(hard.shape[1]).cpu()
            for game, kept in zip(HARD_GAMES, (hard, ~hard), strict=True):
                if draws:
                    by_area = [model.alternating(kept[:, place][None]) for place in range(kept.shape[1])]
                    means = {name: torch.cat([area[name] for area in by_area])[None] for name in model.names}
                else:
                    means = model.means(kept)
                values |= {name: value[0].cpu() for name, value in mean_over_baselines(game, means).items()}
        return values


def harden(maps: MethodMaps, areas: Sequence[float], image_id: str, *, seed: int) -> Bool[Tensor, "r a h w"]:
    """Returns the hard masks at each area, for each draw if the maps are draws (else r is 1)."""
    area_values = torch.tensor(list(areas), dtype=torch.float64)
    if not maps.draws:
        soft = maps.maps.expand(len(areas), -1, -1)[None]
        ties = [generator(seed, image_id, "ties")]
        return hard_masks(soft, area_values, generators=ties, free=None if maps.free is None else maps.free[None])
    by_area = []
    for place, area in enumerate(areas):
        free = None if maps.free is None else maps.free[place].expand(1, *maps.maps.shape)
        same_area = torch.full((len(maps.maps),), area, dtype=torch.float64)
        ties = [generator(seed, image_id, "chance", repr(area))]
        by_area.append(hard_masks(maps.maps[None], same_area, generators=ties, free=free)[0])
    return torch.stack(by_area, dim=1)


def _geometry(maps: MethodMaps, hard: Bool[Tensor, "r a h w"], areas: Sequence[float]) -> Values:
    """Returns what the masks are by themselves, without the classifier.

    For hard masks: how compact they are. If there is a mask for each area: its area, how binary it is, and nesting.
    """
    values = {"components": components(hard).mean(0), "perimeter": perimeter(hard).mean(0)}
    if maps.first_masks is not None:
        values["shared_pixels"] = (hard & maps.first_masks).sum((-2, -1)).to(torch.float32).mean(0)
    if maps.other_seed_masks is not None:
        values["seed_iou"] = mask_iou(hard, maps.other_seed_masks.expand_as(hard)).mean(0)
    if maps.per_area:
        soft, area_values = maps.maps[None], torch.tensor(list(areas), dtype=torch.float64)
        values["area_error"] = area_error(soft, area_values)[0]
        values["grayness"] = grayness(soft)[0]
        values["nesting_violation"] = nesting_violation(soft, area_values).expand(len(areas))
    return values
