"""From finished runs to what their regions do: each image's plays, kept on disk, so that they are made once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from inr_xai.audit.coalition_game import CoalitionGame, chance, play_coalitions, players_of
from inr_xai.audit.estimates import AuditedImage, grown, shares_on
from inr_xai.classifier import FrozenClassifier
from inr_xai.columns import BASELINES
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.digests import tensor_digest
from inr_xai.errors import UserError
from inr_xai.limits import MOST
from inr_xai.masks import hard_masks
from inr_xai.runs.files import read_json, write_json
from inr_xai.runs.load import Explained, Run
from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.seeding import generator
from inr_xai.types import ImageData, Sample

VERSION = 2  # counts the changes of what is measured
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditContext:
    """What the regions of a run are tried on.

    Args:
        scoring: the run's pool of photos for the baseline `photo`.
        device: where the classifier is asked.
        seed: of the baselines; the same for every fit of an image.
        masks_per_forward: masked copies that go through the classifier at once (memory).
    """

    data: ImageData
    classifier: FrozenClassifier
    scoring: PhotoPool
    device: torch.device
    seed: int = 0
    masks_per_forward: int = 32


def measure_image(
    runs: Sequence[Run], sample_id: str, bench: AuditContext, *, area: float, cache: Path
) -> AuditedImage:
    """An image's plays at one area, of each run, from the disk where they are there.

    Raises:
        UserError: the image cannot be read, the runs explain different classes of it, it has more explanations than
            `MOST`, or masks or the classifier's answers are not finite.
    """
    fits = [run[sample_id] for run in runs]
    if len({one.target for one in fits}) > 1:
        raise UserError(f"the runs explain different classes of {sample_id!r}; audit runs that differ in seed alone")
    if (most := max(len(one.masks) for one in fits)) > MOST:
        raise UserError(f"{sample_id!r} has {most} explanations; an audit takes at most {MOST} of an image")
    sample = bench.data.load(sample_id, bench.classifier.preprocessing)
    truth = object_of(sample)
    facts = {
        "masks": [tensor_digest(one.masks) for one in fits],
        "object": None if truth is None else tensor_digest(truth),
    }
    key = {"version": VERSION, "area": area, "seed": bench.seed} | facts
    file = cache / f"{sample_id}.json"
    if file.is_file() and (told := _kept(file))["key"] == key:
        return _restored(told)
    regions = [regions_of(one, area, seed=bench.seed) for one in fits]
    taken = measure(sample, fits[0].target, regions, bench, area=area)
    write_json(file, {"key": key} | _plain(taken))
    return taken


def object_of(sample: Sample) -> Bool[Tensor, "h w"] | None:
    """The object with its seam; None where it is unknown, or lies outside the classifier's input."""
    if sample.segmentation is None or not bool(sample.segmentation.any()):
        return None
    return grown(sample.segmentation)


def regions_of(found: Explained, area: float, *, seed: int) -> Bool[Tensor, "k h w"]:
    """The hard masks of every explanation at one of the areas fitted."""
    if area not in found.areas:
        listed = ", ".join(f"{one:g}" for one in found.areas)
        raise UserError(f"area {area:g} was not fitted; this run has {listed}")
    masks = found.masks[:, found.areas.index(area)].unsqueeze(1)
    if not bool(masks.isfinite().all()):
        raise UserError("its masks are not finite; fit this image again")
    ties = [generator(seed, found.record.sample_id, "ties")] * len(masks)
    return hard_masks(masks, torch.tensor([area], dtype=torch.float64), generators=ties)[:, 0]


@torch.no_grad()
def measure(
    sample: Sample, target: int, fits: Sequence[Bool[Tensor, "_k h w"]], bench: AuditContext, *, area: float
) -> AuditedImage:
    """Plays an image's disjoint regions at one area, of each fit, and random ones beside them.

    Raises:
        UserError: the classifier's answers are not finite, or regions share pixels.
    """
    image = sample.image[None].to(bench.device)
    baselines = scoring_baselines(
        image,
        [sample.sample_id],
        seed=bench.seed,
        colour_mean=torch.tensor(bench.classifier.colour_mean),
        photos=bench.scoring.following(sample.sample_id)[None],
    )
    trial = MaskedModel(
        bench.classifier,
        image,
        torch.tensor([target], device=bench.device),
        baselines=baselines,
        masks_per_forward=bench.masks_per_forward,
    )
    plays, chances = [], []
    with bench.classifier.frozen(image.device, image.dtype):
        for regions in (own.to(bench.device) for own in fits):
            played = play_coalitions(trial, regions)
            beside = chance(trial, regions, played, sample_id=sample.sample_id, seed=bench.seed)
            plays.append(CoalitionGame(played.values.cpu(), played.regions))
            chances.append(beside.cpu())
    if not all(bool(told.isfinite().all()) for told in (*(one.values for one in plays), *chances)):
        raise UserError("the classifier returns NaN or infinite logits for masked copies of this image")
    truth = object_of(sample)
    if truth is None:
        return AuditedImage(plays, chances=chances, area=area)
    shares = [shares_on(players_of(own.cpu()), truth) for own in fits]
    return AuditedImage(plays, shares, float(truth.double().mean()), chances, area)


def _kept(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except UserError as error:
        log.warning("%s; the image is measured again", str(error).partition("; ")[0])
        return {"key": None}


def _plain(taken: AuditedImage) -> dict[str, Any]:
    return {
        "baselines": list(BASELINES),
        "values": [one.values.tolist() for one in taken.plays],
        "on_object": None if taken.on_object is None else [one.tolist() for one in taken.on_object],
        "object_share": taken.object_share,
        "chances": [one.tolist() for one in taken.chances or ()],
        "area": taken.area,
    }


def _restored(told: dict[str, Any]) -> AuditedImage:
    values = [torch.tensor(one) for one in told["values"]]
    plays = [CoalitionGame(one, one.shape[1].bit_length() - 2) for one in values]
    chances = [torch.tensor(one) for one in told["chances"]]
    if told["on_object"] is None:
        return AuditedImage(plays, chances=chances, area=told["area"])
    shares = [torch.tensor(one, dtype=torch.float64) for one in told["on_object"]]
    return AuditedImage(plays, shares, told["object_share"], chances, told["area"])
