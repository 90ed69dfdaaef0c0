"""timm's models with weights of the hub, of an earlier download, or of a local checkpoint.

timm is imported on first use: that takes seconds, and other classifiers do not need it.
"""

import math
from pathlib import Path
from typing import Any

from torch import nn

from inr_xai.classifier.checkpoint import State, load_into, mismatch, without_prefix
from inr_xai.classifier.hub import REMEDY, hub_file, require_online, require_reachable, torch_hub_file
from inr_xai.classifier.untrained import fixed_seed
from inr_xai.errors import UserError, did_you_mean
from inr_xai.types import Preprocessing

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
NO_HEAD = "has no classification head; choose another classifier.name or give a classifier.checkpoint that has one"


def build(name: str, **options: Any) -> nn.Module:
    """Returns the model that timm makes; random weights are the same at each call. Any failure is a UserError."""
    import timm

    try:
        with fixed_seed():
            return timm.create_model(name, **options)
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"timm cannot make classifier.name={name!r} ({reason}); {REMEDY}") from error


def resolve_name(name: str, *, weights: bool) -> str:
    """Returns the name for timm: that of a hub repository becomes the folder of its earlier download, if there is one.

    Args:
        weights: whether that folder must also hold weights.

    Raises:
        UserError: timm has no such model or weights, or the hub cannot be reached.
    """
    from timm.models import get_pretrained_cfg, is_model, list_models, parse_model_name, split_model_name_tag

    try:
        source, model_id = parse_model_name(name)
    except ValueError as error:
        raise UserError(f"classifier.name={name!r} is not allowed: {error}") from error
    if source == "hf-hub":
        config = hub_file(model_id, ("config.json",))
        if config is not None and (not weights or any((config.parent / file).is_file() for file in WEIGHTS)):
            return f"local-dir:{config.parent}"
        require_online(name)
    if source in ("hf-hub", "local-dir"):
        return name
    architecture, tag = split_model_name_tag(model_id)
    if not is_model(architecture):
        hint = (
            did_you_mean(architecture.lower(), list_models(), most=3, cutoff=0.5)
            or "; see the library's list of models"
        )
        raise UserError(f"timm has no model {name!r}{hint}")
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [other.partition(".")[2] for other in list_models(f"{architecture}.*", pretrained=True)]
        raise UserError(f"timm's {architecture} has no weights {tag!r}; choose one of {', '.join(tags)}") from error
    return name


def from_hub(name: str) -> nn.Module:
    """Returns the model with the hub's weights; those of an earlier download are loaded without the hub."""
    if ":" in name:
        return build(name, pretrained=True)
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        raise UserError(f"timm has no weights of {name!r}; {REMEDY}")
    if not config.num_classes:
        raise UserError(f"timm's {name!r} {NO_HEAD}")
    file = downloaded_file(config)
    if file is None:
        if config.hf_hub_id:
            require_online(name)
        else:
            require_reachable(str(config.url), name)
        return build(name, pretrained=True)
    overlay: dict[str, Any] = {"file": str(file)}
    if config.custom_load is True and file.suffix != ".npz":
        overlay["custom_load"] = False  # as timm does with the hub's files
    return build(name, pretrained=True, pretrained_cfg_overlay=overlay)


def downloaded_file(config: Any) -> Path | None:
    """Returns the weight file that timm would load, if it is on this computer."""
    if not config.hf_hub_id:
        return torch_hub_file(config.url)
    name = config.hf_hub_filename
    names = WEIGHTS[:2] if name is None else (name.replace("pytorch_model.bin", "model.safetensors"), name)
    return hub_file(config.hf_hub_id, names)


def with_checkpoint(name: str, state: State, file: str | Path) -> nn.Module:
    """Returns the model with the weights of a local file, and with as many classes as the file's head has."""
    model = build(name)
    state = without_prefix(state, model)
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    classes = classes_of_head(state, config.get("classifier"))
    offset = config.get("label_offset") or 0
    if offset and classes == config["num_classes"] + offset:
        classes = config["num_classes"]  # timm drops the background class of these weights
    if classes is not None and classes != model.num_classes:
        model = build(name, num_classes=classes)
    if mismatch(state, model) is not None and ":" not in name:
        # The keys may have the names of the model's authors, which timm translates for many models.
        overlay = {"state_dict": state, "num_classes": model.num_classes}
        try:
            return build(
                name,
                pretrained=True,
                pretrained_strict=True,
                num_classes=model.num_classes,
                pretrained_cfg_overlay=overlay,
            )
        except UserError:
            load_into(model, state, name=name, file=file)
            raise
    load_into(model, state, name=name, file=file)
    return model


def classes_of_head(state: State, classifier: str | tuple[str, ...] | None) -> int | None:
    """Returns how many classes the head of a checkpoint has; None if the head is not in it.

    Args:
        classifier: name of the head's module, or of several heads.
    """
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    counts = {len(state[f"{name}.weight"]) for name in names if f"{name}.weight" in state}
    return counts.pop() if len(counts) == 1 else None


def preprocessing_of(model: nn.Module, name: str) -> Preprocessing:
    """Returns timm's own evaluation transform of the model. Raises UserError if it is not supported."""
    from timm.data.config import resolve_model_data_config

    if not model.num_classes:
        raise UserError(f"timm's {name!r} {NO_HEAD}")
    config = resolve_model_data_config(model)
    height, width = config["input_size"][-2:]
    scaled = math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"])
    resize: int | tuple[int, int] | None = scaled if config["crop_mode"] == "squash" else None
    if config["crop_mode"] == "center" and height == width:
        resize = scaled[0]
    if resize is None:
        raise UserError(
            f"the transform of {name!r} (crop mode {config['crop_mode']}, input {height} x {width}) is not supported; "
            "take a model of crop mode center with a square input, or of crop mode squash"
        )
    return Preprocessing(
        size=(height, width),
        resize=resize,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
