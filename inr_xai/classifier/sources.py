"""Where a classifier comes from: the demo, timm, torchvision, or a module of one's own; one function each."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from inr_xai.classifier import timm_models, torchvision_models
from inr_xai.classifier.checkpoint import aligned, load_into, read_state
from inr_xai.classifier.frozen import FrozenClassifier, require_head
from inr_xai.classifier.torchvision_models import IMAGENET_MEAN, IMAGENET_STD
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing

log = logging.getLogger(__name__)


def demo() -> FrozenClassifier:
    """The small classifier of the synthetic scenes that comes with the package."""
    from inr_xai.classifier.demo_network import MEAN, SIZE, STD, demo_network

    preprocessing = Preprocessing(size=(SIZE, SIZE), resize=SIZE, interpolation="bilinear", mean=MEAN, std=STD)
    return FrozenClassifier(demo_network(), preprocessing=preprocessing, channels_last=True)


def from_timm(
    name: str, *, pretrained: bool = True, checkpoint: str | Path | None = None, head: str = "softmax"
) -> FrozenClassifier:
    """A model of timm under its own evaluation transform.

    Args:
        name: any name that timm.create_model takes ("resnet50.tv_in1k", "hf-hub:owner/name", "local-dir:PATH").
        pretrained: the hub's weights; False draws them at random.
        checkpoint: a local file of weights instead; the hub is then not asked.
        head: "softmax" or "sigmoid".
    """
    require_head(head)
    state = None if checkpoint is None else read_state(checkpoint)
    known = timm_models.known(name, weights=pretrained and state is None)
    if state is not None and checkpoint is not None:
        model = timm_models.with_checkpoint(known, state, checkpoint)
    elif pretrained:
        model = timm_models.from_hub(known)
    else:
        warn_untrained(name)
        model = timm_models.build(known)
    preprocessing = timm_models.preprocessing_of(model, name)
    return FrozenClassifier(model, preprocessing=preprocessing, head=head, channels_last=True)


def from_torchvision(
    name: str, *, pretrained: bool = False, checkpoint: str | Path | None = None, head: str = "softmax"
) -> FrozenClassifier:
    """A classification model of torchvision under the evaluation transform of torchvision's weights.

    Args:
        name: as torchvision.models.get_model takes it.
        pretrained: torchvision's newest weights, downloaded once; False draws them at random.
        checkpoint: a local file of weights instead; nothing is downloaded then.
        head: "softmax" or "sigmoid".
    """
    require_head(head)
    state = None if checkpoint is None else read_state(checkpoint)
    torchvision_models.known(name)
    if state is not None and checkpoint is not None:
        model = torchvision_models.with_checkpoint(name, state, checkpoint)
    elif pretrained:
        model = torchvision_models.from_hub(name)
    else:
        warn_untrained(name)
        model = torchvision_models.build(name)
    preprocessing = torchvision_models.preprocessing_of(name)
    return FrozenClassifier(model, preprocessing=preprocessing, head=head, channels_last=True)


def custom(
    model: Any,
    *,
    input_size: int | Sequence[int] = 224,
    resize: int | Sequence[int] = 256,
    interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    checkpoint: str | Path | None = None,
    head: str = "softmax",
) -> FrozenClassifier:
    """A module of one's own that maps normalised images to logits.

    Args:
        model: the torch.nn.Module; whatever a configuration names arrives here.
        input_size: of the square input in pixels, or its height and width.
        resize: what a photo's shorter side is resized to before the centre crop, or the height and width to squash to.
        checkpoint: a local file of weights that the module's load_state_dict takes.
    """
    require_head(head)
    if not isinstance(model, nn.Module):
        raise UserError(f"classifier.model is a {type(model).__name__}; name a callable that returns a torch.nn.Module")
    if len(mean) != len(std) or not all(value > 0 for value in std):
        raise UserError(
            f"classifier.mean has {len(mean)} and classifier.std {len(std)} values ({list(std)}); "
            "give one of each per channel, every std above 0"
        )
    if checkpoint is not None:
        state = aligned(read_state(checkpoint), model)
        load_into(model, state, name=type(model).__name__, file=checkpoint)
    preprocessing = Preprocessing(
        size=pair(input_size, "input_size"),
        resize=resize if isinstance(resize, int) else pair(resize, "resize"),
        interpolation=interpolation,
        mean=tuple(mean),
        std=tuple(std),
    )
    return FrozenClassifier(model, preprocessing=preprocessing, head=head)


def pair(size: int | Sequence[int], option: str) -> tuple[int, int]:
    """Height and width of a number of pixels, or of two."""
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UserError(f"classifier.{option}={size!r} is not allowed; give pixels, or [height, width]")
    return sides[0], sides[1]


def warn_untrained(name: str) -> None:
    """A run with random weights explains nothing, and its files would not show it."""
    log.warning("classifier %s has random weights; set classifier.pretrained=true or classifier.checkpoint=PATH", name)
