"""torchvision's classification models with torchvision's weights or those of a local checkpoint.

torchvision is imported on first use.
"""

import logging
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from inr_xai.classifier.checkpoint import Checkpoint, State, classes_by_shape, load_into, mismatch, reshaped
from inr_xai.classifier.hub import REMEDY, require_reachable, torch_hub_file
from inr_xai.classifier.options import IMAGENET_MEAN, IMAGENET_STD
from inr_xai.classifier.untrained import fixed_seed
from inr_xai.errors import UserError, did_you_mean
from inr_xai.types import Preprocessing

log = logging.getLogger(__name__)

CLASSES = 1000
OTHER_NORMALISATION = ("googlenet", "inception_v3")  # their weights expect it; the models convert to it inside
RENAMED = [
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
]
"""Names in keys of torchvision's older files, and what they are called today."""


def require_name(name: str) -> None:
    """Raises UserError if torchvision has no classification model of this name."""
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        hint = did_you_mean(name.lower(), names, most=3, cutoff=0.5) or "; see the library's list of models"
        raise UserError(f"torchvision has no classification model {name!r}{hint}")


def default_weights(name: str) -> Any | None:
    """Returns torchvision's newest weights of the model, without a download; None if it has none."""
    from torchvision import models

    return getattr(models.get_model_weights(name), "DEFAULT", None)


def preprocessing_of(name: str, size: tuple[int, int] | None = None) -> Preprocessing:
    """Returns the evaluation transform of torchvision's weights; ImageNet's usual one if there are none.

    Args:
        size: the input size in place of torchvision's; the photo is resized by the same factor as torchvision's.

    Raises:
        UserError: the size is no square, which the centre crop of torchvision does not give.
    """
    weights = default_weights(name)
    side, resize, interpolation, mean, std = 224, 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD
    if weights is not None:
        transform = weights.transforms()
        side, resize, interpolation = transform.crop_size[0], transform.resize_size[0], transform.interpolation.value
        mean, std = tuple(transform.mean), tuple(transform.std)
    if size is not None:
        if size[0] != size[1]:
            raise UserError(
                f"classifier.input_size={list(size)} is not supported for torchvision's models; give a square"
            )
        side, resize = size[0], round(size[0] * resize / side)
    return Preprocessing(size=(side, side), resize=resize, interpolation=interpolation, mean=mean, std=std)


def build(
    name: str,
    *,
    keys: Iterable[str] = (),
    size: tuple[int, int] | None = None,
    classes: int = CLASSES,
    **arguments: Any,
) -> nn.Module:
    """Returns the network with random weights. Raises UserError if torchvision cannot make it.

    Args:
        keys: of the weights that it will load; googlenet and inception then have the auxiliary heads of the weights.
        size: input height and width, for networks that are built for one; others take images of any size.
        classes: the number of classes.
        arguments: of torchvision's builder.
    """
    from torchvision import models

    options: dict[str, Any] = {"num_classes": classes}
    if name in OTHER_NORMALISATION:
        options |= {"transform_input": True, "init_weights": False}
        options["aux_logits"] = any(word.lower().startswith("aux") for key in keys for word in key.split("."))
    if name.startswith("vit_"):
        options["image_size"] = (size or preprocessing_of(name).size)[0]
    if name.startswith("maxvit") and size is not None:
        options["input_size"] = size
    try:
        with fixed_seed():
            return models.get_model(name, weights=None, **options | arguments)
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        if unknown := [key for key in arguments if isinstance(error, TypeError) and f"'{key}'" in reason]:
            raise UserError(
                f"classifier.model_args.{unknown[0]} is no argument of torchvision's {name} ({reason})"
            ) from error
        raise UserError(
            f"torchvision cannot make classifier.name={name!r} ({reason}); check classifier.input_size and "
            "classifier.model_args"
        ) from error


def with_checkpoint(
    name: str, checkpoint: Checkpoint, *, size: tuple[int, int] | None = None, **arguments: Any
) -> tuple[nn.Module, tuple[int, int] | None]:
    """Returns the network with the weights of a local file, and the input size that was chosen for it, if one was.

    It has as many classes as the file's head. Without a `size` it is built for the checkpoint's, if weights tell it.
    """
    checkpoint = replace(checkpoint, tensors=with_new_names(checkpoint.tensors))
    model = build(name, keys=checkpoint.tensors, size=size, **arguments)
    state = checkpoint.state_for(model)
    classes = CLASSES if "num_classes" in arguments else classes_by_shape(state, model, CLASSES) or CLASSES
    side = side_of_positions(state, model) if size is None else None
    if side is not None:
        log.warning("classifier %s is built for the checkpoint's input of %d x %d pixels", name, side, side)
        size = side, side
    model = build(name, keys=state, size=size, classes=classes, **arguments)
    hint = "; where it was built with other arguments, classifier.input_size and classifier.model_args give them"
    load_into(model, state, name=name, file=checkpoint.file, hint=hint)
    return model, size


def with_new_names(state: State) -> State:
    """Returns the state with the names that torchvision's networks have today, as torchvision renames its own files.

    >>> from torch import zeros
    >>> list(with_new_names({"features.denseblock1.denselayer1.norm.1.weight": zeros(1)}))
    ['features.denseblock1.denselayer1.norm1.weight']
    """
    renamed = {}
    for key, value in state.items():
        for old, new in RENAMED:
            key = old.sub(new, key)
        renamed[key] = value
    return renamed


def side_of_positions(state: State, model: nn.Module) -> int | None:
    """Returns the side of the square input of a vision transformer's checkpoint; None if it is the model's."""
    positions, patches = (state.get(key) for key in ("encoder.pos_embedding", "conv_proj.weight"))
    if positions is None or patches is None or "encoder.pos_embedding" not in reshaped(state, model):
        return None
    grid = math.isqrt(positions.shape[1] - 1)  # one token is the class's
    return grid * patches.shape[-1] if grid * grid == positions.shape[1] - 1 else None


def from_hub(name: str, *, size: tuple[int, int] | None = None, **arguments: Any) -> nn.Module:
    """Returns the network with torchvision's weights. Raises UserError if they do not fit the size and arguments."""
    model = with_own_weights(name)
    if size is None and not arguments:
        return model
    built = build(name, keys=model.state_dict(), size=size, **arguments)
    if reason := mismatch(model.state_dict(), built):
        raise UserError(
            f"the weights of {name!r} do not fit the model that classifier.input_size and classifier.model_args "
            f"describe: {reason}; leave them out, or give a checkpoint that was trained so"
        )
    load_into(built, model.state_dict(), name=name, file=name)
    return built


def with_own_weights(name: str) -> nn.Module:
    """Returns the network with torchvision's own weights. Raises UserError if they cannot be loaded."""
    from torchvision import models

    weights = default_weights(name)
    if weights is None:
        raise UserError(f"torchvision has no weights of {name!r}; {REMEDY}")
    if torch_hub_file(weights.url) is None:
        require_reachable(weights.url, name)
    try:
        return models.get_model(name, weights=weights, progress=False)
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"torchvision cannot load the weights of {name!r} ({reason}); {REMEDY}") from error
