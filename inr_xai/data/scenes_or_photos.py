"""The data of `+experiment=context_audit`: drawn scenes, or the photos of a folder where one is given.

What is said of the other kind is refused rather than passed over.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inr_xai.data.image_folder import ImageFolder
from inr_xai.data.shapes_in_context import ShapesInContext
from inr_xai.errors import UserError


def scenes_or_photos(
    root: str | Path | None = None,
    *,
    cues: str | Mapping[str, float] = "both",
    size: int = 24,
    seed: int = 0,
    classes: str | Path | None = None,
    segmentations: str | Path | None = None,
    targets: str | int = "label",
    limit: int | None = None,
    every: int = 1,
) -> ShapesInContext | ImageFolder:
    """The photos below `root` as ImageFolder gives them; without it, `size` scenes of ShapesInContext.

    Args:
        cues, size, seed: of the scenes.
        classes, segmentations: of the photos.
        targets, limit, every: of either.
    """
    if root is None:
        _refuse({"classes": classes, "segmentations": segmentations}, "speaks of photos; add data.root=PATH, or take")
        return ShapesInContext(cues, size=size, seed=seed, targets=targets, limit=limit, every=every)
    _refuse({"cues": cues, "size": size, "seed": seed}, "speaks of drawn scenes, not of the photos of data.root; take")
    return ImageFolder(root, targets=targets, classes=classes, segmentations=segmentations, limit=limit, every=every)


def _refuse(options: Mapping[str, Any], why: str) -> None:
    """Raises UserError where an option is not as its signature has it."""
    defaults = inspect.signature(scenes_or_photos).parameters
    for name, value in options.items():
        if value != defaults[name].default:
            raise UserError(f"data.{name}={value!r} {why} data.{name} away")
