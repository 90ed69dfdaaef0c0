"""The sources of classifiers, one function each: the demo, timm, torchvision, or the user's own module."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from inr_xai.classifier import timm_models, torchvision_models
from inr_xai.classifier.checkpoint import load_into, read_state, without_prefix
from inr_xai.classifier.frozen import FrozenClassifier, require_head
from inr_xai.classifier.torchvision_models import IMAGENET_MEAN, IMAGENET_STD
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing

log = logging.getLogger(__name__)


def demo() -> FrozenClassifier:
    """Returns the small classifier of the synthetic scenes that comes with the package."""
    from inr_xai.classifier.demo_network import MEAN, SIZE, STD, demo_network

    preprocessing = Preprocessing(size=(SIZE, SIZE), resize=SIZE, interpolation="bilinear", mean=MEAN, std=STD)
    return FrozenClassifier(demo_network(), preprocessing=preprocessing, channels_last=True)


def from_timm(
    name: str, *, pretrained: bool = True, checkpoint: str | Path | None = None, head: str = "softmax"
) -> FrozenClassifier:
    """Returns a model of timm with its own evaluation transform.

    Args:
        name: any name that timm.create_model takes ("resnet50.tv_in1k", "hf-hub:owner/name", "local-dir:PATH").
        pretrained: load the hub's weights; False draws them at random.
        checkpoint: a local file of weights to load instead, without the hub.
        head: "softmax" or "sigmoid".

    Raises:
        UserError: timm has no such model, or its weights cannot be loaded.
    """
    require_head(head)
    state = None if checkpoint is None else read_state(checkpoint)
    timm_name = timm_models.resolve_name(name, weights=pretrained and state is None)
    if state is not None and checkpoint is not None:
        model = timm_models.with_checkpoint(timm_name, state, checkpoint)
    elif pretrained:
        model = timm_models.from_hub(timm_name)
    else:
        warn_untrained(name)
        model = timm_models.build(timm_name)
    preprocessing = timm_models.preprocessing_of(model, name)
    return FrozenClassifier(model, preprocessing=preprocessing, head=head, channels_last=True)


def from_torchvision(
    name: str, *, pretrained: bool = False, checkpoint: str | Path | None = None, head: str = "softmax"
) -> FrozenClassifier:
    """Returns a classification model of torchvision with the evaluation transform of torchvision's weights.

    Args:
        name: any name that torchvision.models.get_model takes.
        pretrained: load torchvision's newest weights, downloaded once; False draws them at random.
        checkpoint: a local file of weights to load instead, without a download.
        head: "softmax" or "sigmoid".

    Raises:
        UserError: torchvision has no such model, or its weights cannot be loaded.
    """
    require_head(head)
    state = None if checkpoint is None else read_state(checkpoint)
    torchvision_models.require_name(name)
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
    """Returns a classifier of the user's own module, which maps normalised images to logits.

    Args:
        model: a torch.nn.Module (anything else is refused, as a configuration can name any callable).
        input_size: side of the square input in pixels, or its height and width.
        resize: length to which a photo's shorter side is resized before the centre crop, or the height and width to
            which the whole photo is squashed.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean, std: statistics per channel with which images in [0, 1] are normalised.
        checkpoint: a local file of weights that the module's load_state_dict takes.
        head: "softmax" or "sigmoid".

    Raises:
        UserError: an option that is not allowed, or a checkpoint that does not fit the module.
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
        state = without_prefix(read_state(checkpoint), model)
        load_into(model, state, name=type(model).__name__, file=checkpoint)
    preprocessing = Preprocessing(
        size=height_and_width(input_size, "input_size"),
        resize=resize if isinstance(resize, int) else height_and_width(resize, "resize"),
        interpolation=interpolation,
        mean=tuple(mean),
        std=tuple(std),
    )
    return FrozenClassifier(model, preprocessing=preprocessing, head=head)


def height_and_width(size: int | Sequence[int], option: str) -> tuple[int, int]:
    """Returns height and width, which one number gives for both. Raises UserError for anything else."""
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UserError(f"classifier.{option}={size!r} is not allowed; give pixels, or [height, width]")
    return sides[0], sides[1]


def warn_untrained(name: str) -> None:
    """Warns that explanations of a network with random weights mean nothing, which no result would show."""
    log.warning("classifier %s has random weights; set classifier.pretrained=true or classifier.checkpoint=PATH", name)
