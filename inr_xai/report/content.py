"""One image of a page as one run explains it: scores, packed masks, and what an audit and an evaluation say of it."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image as Picture
from torch import Tensor

from inr_xai.columns import P_FULL, SCORES, UNSEEN
from inr_xai.figures.pixels import eight_bits, pixels_of
from inr_xai.report.packing import LARGEST, PackedMasks, drawn_areas, hard_mask, pack
from inr_xai.runs.load import draw_explanations
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Image

KEPT, REMOVED, CHANCE, SEEN_BY_NO_FIT = "preservation_hard_mean", "deletion_hard_mean", "chance", "unseen"
"""The scores of which the page speaks first; the last is the mean over `UNSEEN`."""
QUALITY = 85
"""Of a photo as JPEG."""


@dataclass(frozen=True)
class Entry:
    """An image as one run explains it, or as another method's map does.

    Args:
        name: the image's name.
        target: the name of the class that is explained.
        whole: the score of the class for the whole image; None if it is unknown.
        masks: the masks at all areas of the slider.
        photo: the classifier's input as a JPEG; None if it is not known.
        areas: the areas that were fitted.
        scores: column -> k x a; NaN where a score is unknown.
        carries: whether each explanation carries more than chance; None where it is unknown.
        predicted: the name of the most likely class; None if the scores are no probabilities of classes.
        right: whether that class is the label; None if no label is known.
        disjoint: whether the explanations share no pixel.
        audit: the image's row in an audit's per_image.csv.
        metrics: the image's values of an evaluation.
    """

    name: str
    target: str
    whole: float | None
    masks: PackedMasks
    photo: bytes | None
    areas: tuple[float, ...] = ()
    scores: Mapping[str, Float[np.ndarray, "k a"]] = field(default_factory=dict)
    carries: tuple[bool | None, ...] = ()
    predicted: str | None = None
    p_predicted: float | None = None
    right: bool | None = None
    disjoint: bool = True
    audit: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def wrong(self) -> bool | None:
        """Whether the most likely class is not the label, or without a label not the class that is explained."""
        if self.right is not None:
            return not self.right
        return None if self.predicted is None else self.predicted != self.target

    def mean(self, column: str, explanation: int = 1) -> float:
        """Returns a score's mean over areas; NaN if it is unknown."""
        values = self.scores.get(column)
        if values is None or explanation > len(values):
            return math.nan
        return float(values[explanation - 1].mean())

    @property
    def middle(self) -> float:
        """The middle one of the areas that were fitted, the smaller one of two; 0.1 if none was."""
        return sorted(self.areas)[(len(self.areas) - 1) // 2] if self.areas else 0.1

    def overlap(self, other: "Entry") -> float:
        """Returns the intersection over union of explanation 1 with that of another entry, at the middle area.

        NaN if their inputs have different sizes.
        """
        if self.masks.size != other.masks.size:
            return math.nan
        one, two = (hard_mask(entry.masks, 1, self.middle) for entry in (self, other))
        return float((one & two).sum() / max((one | two).sum(), 1))

    @property
    def gain(self) -> float:
        """The score that explanation 1 keeps beyond chance, a mean over areas; NaN if it is unknown."""
        return self.mean(KEPT) - self.mean(CHANCE)


def entry_of(
    record: SampleRecord,
    image: Image | None,
    target: str,
    predicted: str | None = None,
    *,
    allow_targets: Sequence[str] = (),
    audit: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Entry:
    """Returns the entry of a stored image, whose masks are drawn for the slider.

    Args:
        image: the classifier's input, c x h x w, values in [0, 1]; None if it is not known.
        target, predicted: the names of the class that is explained, and of the most likely one.
        allow_targets: see `inr_xai.load`.

    Raises:
        UserError: the masks cannot be drawn, see `inr_xai.runs.load.draw_record`.
    """
    first = record.rows[0]
    scores = {column: record.table(column) for column in SCORES if column != P_FULL and first.get(column) is not None}
    if all(f"preservation_hard_{baseline}" in scores for baseline in UNSEEN):
        scores[SEEN_BY_NO_FIT] = np.mean([scores[f"preservation_hard_{baseline}"] for baseline in UNSEEN], axis=0)
    carries = record.table("carries")[:, 0].tolist()
    return Entry(
        name=record.sample_id,
        target=target,
        whole=float(first[P_FULL]),
        masks=packed_masks(record, allow_targets),
        photo=None if image is None else photo_of(image),
        areas=tuple(record.areas),
        scores=scores,
        carries=tuple(None if math.isnan(value) else bool(value) for value in carries),
        predicted=predicted,
        p_predicted=first.get("p_predicted"),
        right=None if first.get("right") is None else bool(first["right"]),
        disjoint=bool(record.drawing["exclusion"]["exclude"]),
        audit=audit or {},
        metrics=metrics or {},
    )


def packed_masks(record: SampleRecord, allow_targets: Sequence[str] = ()) -> PackedMasks:
    """Returns the masks of a stored image at all areas of the slider, of which those fitted are the stored ones."""
    size = (record.masks.shape[-2], record.masks.shape[-1])
    areas = drawn_areas(record.areas, largest_area(record), size[0] * size[1])
    masks = draw_explanations(record, areas, size, allow_targets)
    for place, area in enumerate(record.areas):
        if area in areas:
            masks[:, areas.index(area)] = record.masks[:, place].float()
    return pack(masks, areas, record.areas)


def largest_area(record: SampleRecord) -> float:
    """Returns the area at which the slider may end: at larger ones explanations would leave each other other pixels."""
    exclusion = record.drawing["exclusion"]
    if len(record.masks) == 1 or not exclusion["exclude"]:
        return LARGEST
    return max(*record.areas, exclusion["area"])


def photo_of(image: Float[Tensor, "c h w"]) -> bytes:
    """Returns an input with values in [0, 1] as a JPEG."""
    stream = io.BytesIO()
    Picture.fromarray(eight_bits(pixels_of(image))).save(stream, "jpeg", quality=QUALITY)
    return stream.getvalue()
