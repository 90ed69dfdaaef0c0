"""The gallery at W&B: a table with a row for each image, the worst first, of which the first ones have pictures.

A picture and the scores beside it are those of the middle one of the run's areas.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from inr_xai.data.labels import class_label
from inr_xai.figures.pixels import eight_bits, overlay, pixels_of
from inr_xai.loggers.pictures import WandbPicture
from inr_xai.masks import hard_masks
from inr_xai.runs.folder import RunFolder
from inr_xai.seeding import generator
from inr_xai.types import Image, Row

ROWS = 10_000
"""The most rows of the table, which is made in memory; per_image.csv has all images."""
PICTURES = ("photo", "kept")
FACTS = ("image", "class", "predicted", "right", "p", "p predicted")
PER_EXPLANATION = ("preservation", "chance", "carries")
Load = Callable[[str], Image]
"""A function that returns an image of the data set, in the classifier's frame, by its id."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GalleryImage:
    """One image of the gallery.

    Args:
        area: the area whose scores are shown.
        facts: the cells of FACTS.
        explanations: for each explanation the cells of PER_EXPLANATION.
    """

    sample_id: str
    area: float
    facts: list[Any]
    explanations: list[list[Any]]

    @property
    def badness(self) -> tuple[bool, float]:
        """The key by which the images are sorted: those whose explanation 1 carries nothing first, then by how much
        more it preserves than chance."""
        preservation, chance, carries = self.explanations[0]
        margin = math.nan if preservation is None else preservation - (chance or 0.0)
        return carries is not False, -math.inf if math.isnan(margin) else margin


def gallery_images(rows: Iterable[Row], areas: Sequence[float]) -> list[GalleryImage]:
    """Returns the images of a run, the worst first.

    Args:
        rows: the scores, those of an image one after another.
        areas: the run's areas.
    """
    area = sorted(areas)[len(areas) // 2]
    images = [_image(list(group), area) for _, group in groupby(rows, key=lambda row: row["sample_id"])]
    return sorted(images, key=lambda image: image.badness)


def gallery_table(
    images: Sequence[GalleryImage],
    folder: RunFolder,
    load: Load | None,
    *,
    seed: int,
    pictures: int,
    more: Mapping[str, Mapping[str, Any]],
) -> tuple[list[str], list[list[Any]]]:
    """Returns the columns and rows of the gallery.

    Args:
        load: returns an image of the run; None for a gallery without pictures.
        seed: that of the run, by which ties between the pixels of a mask are broken.
        pictures: the first images, so many, have pictures.
        more: column -> image id -> cell, for columns of an evaluation or an audit.
    """
    most = max((len(image.explanations) for image in images), default=0)
    columns = [*PICTURES, *FACTS, *(f"{name} {k}" for k in range(1, most + 1) for name in PER_EXPLANATION), *more]
    rows = []
    for place, image in enumerate(images[:ROWS]):
        cells = (
            _pictures(image, folder, load, seed) if load is not None and place < pictures else [None] * len(PICTURES)
        )
        empty = [None] * len(PER_EXPLANATION) * (most - len(image.explanations))
        scores = [cell for of_explanation in image.explanations for cell in of_explanation]
        extra = [values.get(image.sample_id) for values in more.values()]
        rows.append([*cells, *image.facts, *scores, *empty, *extra])
    if len(images) > ROWS:
        log.info("W&B's gallery has the worst %d of %d images; per_image.csv has all of them", ROWS, len(images))
    return columns, rows


def _image(rows: Sequence[Row], area: float) -> GalleryImage:
    """Returns an image of the gallery from all its scores."""
    first, chosen = rows[0], [row for row in rows if float(row["area"]) == area] or [rows[0]]
    target, predicted = first.get("target"), first.get("predicted")
    facts = [
        first["sample_id"],
        _name(first.get("target_name"), target),
        _name(first.get("predicted_name"), predicted),
        _truth(first.get("right")),
        _number(first.get("p_full")),
        _number(first.get("p_predicted")),
    ]
    explanations = [
        [_number(row.get("preservation_hard_mean")), _number(row.get("chance")), _truth(row.get("carries"))]
        for row in sorted(chosen, key=lambda row: int(row["explanation"]))
    ]
    return GalleryImage(str(first["sample_id"]), area, facts, explanations)


def _pictures(image: GalleryImage, folder: RunFolder, load: Load, seed: int) -> list[WandbPicture | None]:
    """Returns the photo with its masks as layers, and what explanation 1 keeps; None for both if a file is missing."""
    try:
        record, photo = folder.read(image.sample_id), pixels_of(load(image.sample_id))
    except Exception as error:  # one image's file; its row stays
        log.warning("W&B gets no picture of %s: %s", image.sample_id, error)
        return [None] * len(PICTURES)
    chosen = record.masks[:, record.areas.index(image.area)].unsqueeze(1)
    ties = [generator(seed, image.sample_id, "ties") for _ in chosen]
    hard = hard_masks(chosen, torch.tensor([image.area], dtype=torch.float64), generators=ties)[:, 0].numpy()
    layers = {f"explanation {k}": mask for k, mask in enumerate(hard, start=1)}
    title = f"{image.sample_id}: {image.facts[1]}"
    kept = overlay(photo, hard[0].astype(np.float64))
    return [
        WandbPicture(eight_bits(photo), f"{title}, masks of {image.area:g} of the image", layers, small=True),
        WandbPicture(eight_bits(kept), f"{title}, kept by explanation 1", small=True),
    ]


def _name(name: Any, index: Any) -> str | None:
    return class_label(None, int(index)) if not name and index is not None else name


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)
