"""torchvision's classification models with torchvision's weights or those of a local checkpoint.

torchvision is imported on first use.
"""

from pathlib import Path
from typing import Any

from torch import nn

from inr_xai.classifier.checkpoint import State, classes_by_shape, load_into, without_prefix
from inr_xai.classifier.hub import REMEDY, require_reachable, torch_hub_file
from inr_xai.classifier.untrained import fixed_seed
from inr_xai.errors import UserError, did_you_mean
from inr_xai.types import Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLASSES = 1000
OTHER_NORMALISATION = ("googlenet", "inception_v3")  # their weights expect it; the models convert to it inside


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


def preprocessing_of(name: str) -> Preprocessing:
    """Returns the evaluation transform of torchvision's weights; ImageNet's usual one if there are none."""
    weights = default_weights(name)
    if weights is None:
        return Preprocessing(
            size=(224, 224), resize=256, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD
        )
    transform = weights.transforms()
    side = transform.crop_size[0]
    return Preprocessing(
        size=(side, side),
        resize=transform.resize_size[0],
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )


def build(name: str, *, state: State | None = None, classes: int = CLASSES) -> nn.Module:
    """Returns the network with random weights, built so that it can load `state` or torchvision's weights."""
    from torchvision import models

    options: dict[str, Any] = {"num_classes": classes}
    if name in OTHER_NORMALISATION:
        options |= {"transform_input": True, "init_weights": False}
        options["aux_logits"] = any(key.lower().startswith("aux") for key in state or {})
    if name.startswith("vit_"):
        options["image_size"] = preprocessing_of(name).size[0]
    with fixed_seed():
        return models.get_model(name, weights=None, **options)


def with_checkpoint(name: str, state: State, file: str | Path) -> nn.Module:
    """Returns the network with the weights of a local file, and with as many classes as the file's head has."""
    model = build(name, state=state)
    state = without_prefix(state, model)
    classes = classes_by_shape(state, model, CLASSES)
    model = build(name, state=state, classes=CLASSES if classes is None else classes)
    load_into(model, state, name=name, file=file)
    return model


def from_hub(name: str) -> nn.Module:
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
