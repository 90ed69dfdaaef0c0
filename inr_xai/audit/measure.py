"""From finished runs to the games of their regions; the games of an image are stored, so that they are played once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from inr_xai.audit.coalition_game import CoalitionGame, add_rest, play_coalitions, random_region_values
from inr_xai.audit.estimates import AuditedImage, add_seam, shares_on_object
from inr_xai.classifier import FrozenClassifier
from inr_xai.columns import BASELINES
from inr_xai.data.names import id_file
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.digests import tensor_digest
from inr_xai.errors import UserError
from inr_xai.limits import MOST_AUDITED
from inr_xai.masks import hard_masks
from inr_xai.runs.files import read_json, write_json
from inr_xai.runs.load import Explained, Run
from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.seeding import generator
from inr_xai.types import ImageData, Sample

VERSION = 2  # counts the changes of what is measured
RANDOM_VALUES = "chances"
"""Key of `AuditedImage.random_values` in the stored games; finished audits have it under this name."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditContext:
    """What measuring needs beside the runs: the data, the classifier and the scoring baselines.

    Args:
        scoring: the run's pool of photos for the baseline `photo`.
        device: the device of the classifier.
        seed: the seed of the baselines, which is the same for every fit of an image.
        masks_per_forward: masked copies that go through the classifier at once; it changes the memory only.
    """

    data: ImageData
    classifier: FrozenClassifier
    scoring: PhotoPool
    device: torch.device
    seed: int = 0
    masks_per_forward: int = 32


def measure_image(
    runs: Sequence[Run], sample_id: str, context: AuditContext, *, area: float, cache: Path
) -> AuditedImage:
    """Returns the games of an image at one area, one for each run, from the cache if they are there.

    Args:
        area: the area of the regions, one of the areas fitted.
        cache: the folder of the stored games.

    Raises:
        UserError: the image cannot be read, the runs explain different classes of it, it has more explanations than
            `MOST_AUDITED`, or masks or the classifier's logits are not finite.
    """
    fits = [run[sample_id] for run in runs]
    if len({fit.target for fit in fits}) > 1:
        raise UserError(f"the runs explain different classes of {sample_id!r}; audit runs that differ in seed alone")
    if (most := max(len(fit.masks) for fit in fits)) > MOST_AUDITED:
        raise UserError(f"{sample_id!r} has {most} explanations; an audit takes at most {MOST_AUDITED} of an image")
    sample = context.data.load(sample_id, context.classifier.preprocessing)
    truth = object_with_seam(sample)
    key = {
        "version": VERSION,
        "area": area,
        "seed": context.seed,
        "masks": [tensor_digest(fit.masks) for fit in fits],
        "object": None if truth is None else tensor_digest(truth),
    }
    file = id_file(cache, sample_id, ".json")
    if file.is_file() and (stored := _read_cache(file))["key"] == key:
        return _from_plain(stored)
    regions = [hard_regions(fit, area, seed=context.seed) for fit in fits]
    image = measure_regions(sample, fits[0].target, regions, context, area=area)
    write_json(file, {"key": key} | _to_plain(image))
    return image


def object_with_seam(sample: Sample) -> Bool[Tensor, "h w"] | None:
    """Returns the object with its seam; None if it is unknown, or lies outside the classifier's input."""
    if sample.segmentation is None or not bool(sample.segmentation.any()):
        return None
    return add_seam(sample.segmentation)


def hard_regions(explained: Explained, area: float, *, seed: int) -> Bool[Tensor, "k h w"]:
    """Returns the hard mask of every explanation at one of the areas fitted.

    Args:
        seed: the seed by which ties between pixels are broken.

    Raises:
        UserError: the area was not fitted, or the masks are not finite.
    """
    if area not in explained.areas:
        listed = ", ".join(f"{fitted:g}" for fitted in explained.areas)
        raise UserError(f"area {area:g} was not fitted; this run has {listed}")
    masks = explained.masks[:, explained.areas.index(area)].unsqueeze(1)
    if not bool(masks.isfinite().all()):
        raise UserError("its masks are not finite; fit this image again")
    ties = [generator(seed, explained.record.sample_id, "ties")] * len(masks)
    return hard_masks(masks, torch.tensor([area], dtype=torch.float64), generators=ties)[:, 0]


@torch.no_grad()
def measure_regions(
    sample: Sample, target: int, fits: Sequence[Bool[Tensor, "_k h w"]], context: AuditContext, *, area: float
) -> AuditedImage:
    """Plays the game of an image's regions for each fit, and measures random regions beside them.

    Args:
        target: the class whose probability is measured.
        fits: the disjoint regions of each fit.
        area: the part of the image that each region covers.

    Raises:
        UserError: the classifier's logits are not finite, or regions share pixels.
    """
    image = sample.image[None].to(context.device)
    baselines = scoring_baselines(
        image,
        [sample.sample_id],
        seed=context.seed,
        colour_mean=torch.tensor(context.classifier.colour_mean),
        photos=context.scoring.following(sample.sample_id)[None],
    )
    model = MaskedModel(
        context.classifier,
        image,
        torch.tensor([target], device=context.device),
        baselines=baselines,
        masks_per_forward=context.masks_per_forward,
    )
    games, random_values = [], []
    with context.classifier.frozen(image.device, image.dtype):
        for regions in (fit.to(context.device) for fit in fits):
            game = play_coalitions(model, regions)
            values = random_region_values(model, regions, game, sample_id=sample.sample_id, seed=context.seed)
            games.append(CoalitionGame(game.values.cpu(), game.regions))
            random_values.append(values.cpu())
    if not all(bool(values.isfinite().all()) for values in (*(game.values for game in games), *random_values)):
        raise UserError("the classifier returns NaN or infinite logits for masked copies of this image")
    truth = object_with_seam(sample)
    if truth is None:
        return AuditedImage(games, random_values=random_values, area=area)
    shares = [shares_on_object(add_rest(fit.cpu()), truth) for fit in fits]
    return AuditedImage(games, shares, float(truth.double().mean()), random_values, area)


def read_games(file: Path) -> AuditedImage:
    """Returns the games of an image as an audit stored them. Raises UserError if the file cannot be read."""
    return _from_plain(read_json(file))


def _read_cache(file: Path) -> dict[str, Any]:
    """Returns the stored games of an image; a damaged file has no key, so that the image is measured again."""
    try:
        return read_json(file)
    except UserError as error:
        log.warning("%s; the image is measured again", str(error).partition("; ")[0])
        return {"key": None}


def _to_plain(image: AuditedImage) -> dict[str, Any]:
    """Returns the measurements of an image as values for a JSON file."""
    return {
        "baselines": list(BASELINES),
        "values": [game.values.tolist() for game in image.games],
        "on_object": None if image.on_object is None else [shares.tolist() for shares in image.on_object],
        "object_share": image.object_share,
        RANDOM_VALUES: [values.tolist() for values in image.random_values or ()],
        "area": image.area,
    }


def _from_plain(stored: dict[str, Any]) -> AuditedImage:
    """Returns what `_to_plain` made values of."""
    values = [torch.tensor(rows) for rows in stored["values"]]
    games = [CoalitionGame(rows, rows.shape[1].bit_length() - 2) for rows in values]
    random_values = [torch.tensor(rows) for rows in stored[RANDOM_VALUES]]
    if stored["on_object"] is None:
        return AuditedImage(games, random_values=random_values, area=stored["area"])
    shares = [torch.tensor(row, dtype=torch.float64) for row in stored["on_object"]]
    return AuditedImage(games, shares, stored["object_share"], random_values, stored["area"])
