"""What the figure of an explained image shows, from its record."""

import math
from typing import Any

from inr_xai.columns import P_FULL
from inr_xai.data.labels import class_label
from inr_xai.figures import FigureContent
from inr_xai.figures.pixels import pixels_of
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Image

NOTE = (
    "p: mean probability of the class where only the clear part is kept, over four fillings of the rest (blur, grey, "
    "noise, other photos)."
)


def content_of(record: SampleRecord, image: Image, class_name: str) -> FigureContent:
    """Returns what the figure of an image shows.

    Args:
        image: the photo in the classifier's input frame, with values in [0, 1].
        class_name: the name of the class that is explained.
    """
    first, carries = record.rows[0], record.table("carries")[:, 0]
    return FigureContent(
        photo=pixels_of(image),
        masks=record.masks.float().cpu().numpy(),
        areas=tuple(record.areas),
        whole=float(first[P_FULL]),
        kept=record.table("preservation_hard_mean"),
        removed=record.table("deletion_hard_mean"),
        chance=record.table("chance"),
        carries=tuple(None if math.isnan(value) else bool(value) for value in carries),
        target=class_name,
        predicted=_name(first.get("predicted_name"), first.get("predicted")),
        p_predicted=first.get("p_predicted"),
        right=_truth(first.get("right")),
        title=record.sample_id,
        note=NOTE,
    )


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _name(name: str | None, index: int | None) -> str | None:
    return class_label(None, index) if name is None and index is not None else name
