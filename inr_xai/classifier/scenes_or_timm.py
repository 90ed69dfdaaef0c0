"""The classifier that goes with `data=scenes_or_photos`: the scenes' own network, or one of timm for photos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from inr_xai.classifier.context import shapes_in_context
from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.classifier.sources import from_timm
from inr_xai.errors import UserError

TIMM: Final = "resnet50.tv_in1k"
"""As `classifier=timm` has it."""


def scenes_or_timm(
    root: str | Path | None = None,
    *,
    cues: str | Mapping[str, float] | None = None,
    name: str | None = None,
    pretrained: bool = True,
    checkpoint: str | Path | None = None,
    head: str = "softmax",
) -> FrozenClassifier:
    """A model of timm where `root` is given; without it, the network that was trained for a setting of ShapesInContext.

    Args:
        root: of the photos.
        cues: of the scenes.
        name: of either; None for TIMM, or for the network of `cues`.
        pretrained, checkpoint, head: see `from_timm`.
    """
    if root is not None:
        name = TIMM if name is None else name
        return from_timm(name, pretrained=pretrained, checkpoint=checkpoint, head=head)
    given = {"pretrained": not pretrained, "checkpoint": checkpoint is not None, "head": head != "softmax"}
    if others := [option for option, is_given in given.items() if is_given]:
        raise UserError(
            f"classifier.{others[0]} speaks of timm's models, not of the network of drawn scenes; add data.root=PATH, "
            f"or take classifier.{others[0]} away"
        )
    setting = cues if name is None else name
    if not isinstance(setting, str):
        raise UserError(f"no network was trained for data.cues={setting}; give the classifier.name of a setting")
    return shapes_in_context(setting)
