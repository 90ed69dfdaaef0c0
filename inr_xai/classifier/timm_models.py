"""timm's models with weights of the hub, of an earlier download, or of a local checkpoint.

timm is imported on first use: that takes seconds, and other classifiers do not need it.
"""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inr_xai.classifier.checkpoint import Checkpoint, FoundWeights, State, coded, load_into, mismatch, reshaped
from inr_xai.classifier.conversion import changed_keys
from inr_xai.classifier.hub import REMEDY, hub_file, require_online, require_reachable, torch_hub_file
from inr_xai.classifier.untrained import fixed_seed
from inr_xai.errors import UserError, did_you_mean
from inr_xai.types import Preprocessing

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
log = logging.getLogger(__name__)

SEARCHED_SIDE = 2048
"""The largest input side that is looked for by the shapes of a checkpoint."""
NO_HEAD = "has no classification head; choose another classifier.name or give a classifier.checkpoint that has one"


def build(name: str, *, size: tuple[int, int] | None = None, **options: Any) -> nn.Module:
    """Returns the model that timm makes; random weights are the same at each call. Any failure is a UserError.

    Args:
        size: input height and width, for models that are built for one; others take images of any size.
        options: arguments of timm.create_model.
    """
    try:
        with fixed_seed():
            return _create(name, size, options)
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        if unknown := [key for key in options if isinstance(error, TypeError) and f"'{key}'" in reason]:
            raise UserError(f"classifier.model_args.{unknown[0]} is no argument of timm's {name} ({reason})") from error
        given = ", ".join(key for key in options if not key.startswith("pretrained"))
        remedy = REMEDY if "pretrained" in options else f"check {given or 'classifier.name'}"
        where = "" if size is None else f" for an input of {size[0]} x {size[1]} pixels"
        raise UserError(f"timm cannot make classifier.name={name!r}{where} ({reason}); {remedy}") from error


def _create(name: str, size: tuple[int, int] | None, options: dict[str, Any]) -> nn.Module:
    import timm

    if size is None:
        return timm.create_model(name, **options)
    try:
        return timm.create_model(name, img_size=size[0] if size[0] == size[1] else size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        with fixed_seed():
            return timm.create_model(name, **options)


def shapes(name: str, side: int, options: dict[str, Any]) -> dict[str, torch.Size] | None:
    """Returns the shapes of the model's tensors for a square input, without making them; None if it cannot be made."""
    try:
        with torch.device("meta"):
            model = _create(name, (side, side), options)
    except Exception:  # models raise different errors for a size that they do not take
        return None
    return {key: value.shape for key, value in model.state_dict().items()}


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


def from_hub(name: str, *, size: tuple[int, int] | None = None, **options: Any) -> nn.Module:
    """Returns the model with the hub's weights.

    Raises UserError if they do not fit the size and the options as they are; timm would resample them instead.
    """
    model = downloaded_model(name)
    if size is None and not options:
        return model
    built = build(name, size=size, **options)
    if reason := mismatch(model.state_dict(), built):
        where = "" if size is None else f" for an input of {size[0]} x {size[1]} pixels"
        raise UserError(
            f"the weights of {name!r} do not fit the model that classifier.input_size and classifier.model_args "
            f"describe{where}: {reason}; leave them out, or give a checkpoint that was trained so"
        )
    load_into(built, model.state_dict(), name=name, file=name)
    return built


def downloaded_model(name: str) -> nn.Module:
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


def with_checkpoint(
    name: str, checkpoint: Checkpoint, *, size: tuple[int, int] | None = None, **options: Any
) -> tuple[nn.Module, tuple[int, int] | None]:
    """Returns the model with the weights of a local file, and the input size that it was built for if that was chosen.

    The model has as many classes as the file's head. Without a `size` it is built for that of the checkpoint, where its
    weights tell it.

    Raises:
        UserError: the weights are of another model, or would only fit if they were resampled or cut.
    """
    model = build(name, size=size, **options)
    state = checkpoint.state_for(model)
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    if "num_classes" not in options:
        classes = classes_of_head(state, config.get("classifier"))
        offset = config.get("label_offset") or 0
        if offset and classes == config["num_classes"] + offset:
            classes = config["num_classes"]
            log.info("timm drops the background class of the weights of %s", name)
        if classes is not None and classes != model.num_classes:
            options["num_classes"] = classes
            model = build(name, size=size, **options)
    if size is None and (side := fitting_side(name, state, model, options)):
        log.warning("classifier %s is built for the checkpoint's input of %d x %d pixels", name, side, side)
        size = side, side
        model = build(name, size=size, **options)
    if mismatch(state, model) is None:
        load_into(model, state, name=name, file=checkpoint.file)
        return model, size
    if ":" not in name and not coded(state, model):
        guesses = [FoundWeights("", state, set()), *checkpoint.guesses(model)]
        for guess in {frozenset(guess.state): guess for guess in guesses}.values():
            if (translated := with_translated(name, guess.state, checkpoint.file, model, size, options)) is not None:
                place = guess.path or "all"
                log.info(
                    "classifier.checkpoint=%r: timm translated the names of the weights (%s)", checkpoint.file, place
                )
                return translated, size
    height, width = size or config["input_size"][-2:]
    hint = (
        f"; it was built for an input of {height} x {width} pixels and with timm's own arguments, which "
        "classifier.input_size and classifier.model_args change"
    )
    load_into(model, state, name=name, file=checkpoint.file, hint=hint)
    return model, size


def with_translated(
    name: str,
    state: State,
    file: str,
    model: nn.Module,
    size: tuple[int, int] | None,
    options: dict[str, Any],
) -> nn.Module | None:
    """Returns the model with weights that have the names of the model's authors, which timm translates for many models.

    Returns None if timm cannot. Raises UserError if timm fits weights to the model by changing their values.

    Args:
        model: one that was built for the same size and with the same options.
    """
    classes = options.get("num_classes") or classes_of_head(state, usual_heads(state)) or model.num_classes
    overlay = {"state_dict": state, "num_classes": classes}
    arguments = options | {"num_classes": classes}
    try:
        loaded = build(
            name, size=size, pretrained=True, pretrained_strict=True, pretrained_cfg_overlay=overlay, **arguments
        )
    except UserError:
        return None
    config: dict[str, Any] = loaded.pretrained_cfg  # type: ignore[assignment]
    heads = config.get("classifier") or ()
    cut = (heads,) if isinstance(heads, str) else heads
    background = [f"{head}.{kind}" for head in cut for kind in ("weight", "bias")] if config.get("label_offset") else []
    changed = [key for key in changed_keys(loaded, state) if key not in background]
    if changed:
        height, width = size or config["input_size"][-2:]
        key = changed[0]
        theirs = tuple(state[key].shape) if key in state else "of another name"
        raise UserError(
            f"classifier.checkpoint={file!r} does not fit {name} as it is built for an input of {height} x {width} "
            f"pixels: {key} is {theirs} in the file and {tuple(loaded.state_dict()[key].shape)} in the model, and timm "
            "would resample it, which makes another function; give the checkpoint's classifier.input_size or "
            "classifier.model_args, or the classifier.name of the checkpoint"
        )
    return loaded


def fitting_side(name: str, state: State, model: nn.Module, options: dict[str, Any]) -> int | None:
    """Returns the side of the square input for which tables of positions have the checkpoint's shapes.

    Returns None if they have them already, or at no size. The tables grow with the size, so that few sizes are tried.
    """
    other = reshaped(state, model)
    if not other:
        return None
    expected = {key: value.shape for key, value in model.state_dict().items()}
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    usual = config["input_size"][-1]
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None) or 1
    patch = patch[0] if isinstance(patch, (tuple, list)) else patch
    # Usual sizes come first: more than one size may have these shapes.
    steps = [step for step in (32, 16, 8) if step % patch == 0] or [patch]
    guess = usual * math.sqrt(state[other[0]].numel() / expected[other[0]].numel())
    for side in dict.fromkeys(max(1, round(guess / step)) * step for step in steps):
        found = shapes(name, side, options) or {}
        if all(found.get(key) == state[key].shape for key in other):
            return side
    probes = [shapes(name, side, options) or {} for side in (usual // 2, 2 * usual)]
    tables = [key for key in other if any(probe.get(key, expected[key]) != expected[key] for probe in probes)]
    wanted = {key: state[key].shape for key in tables}
    return _searched_side(name, wanted, options, steps if patch == 1 else steps[-1:]) if tables else None


def _searched_side(name: str, wanted: dict[str, torch.Size], options: dict[str, Any], steps: list[int]) -> int | None:
    """Returns a multiple of one of the steps for which the tensors have the wanted shapes; None if there is none."""
    first = next(iter(wanted))
    for step in steps:
        low, high = 1, SEARCHED_SIDE // step
        while low <= high:
            middle = (low + high) // 2
            found = shapes(name, middle * step, options) or {}
            if {key: found.get(key) for key in wanted} == wanted:
                return middle * step
            if first in found and found[first].numel() > wanted[first].numel():
                high = middle - 1
            else:
                low = middle + 1
    return None


def usual_heads(state: State) -> tuple[str, ...]:
    """Returns the names of modules in a state that are named as heads usually are."""
    names = {key.removesuffix(".weight") for key, value in state.items() if key.endswith(".weight") and value.ndim > 1}
    return tuple(name for name in names if name.rpartition(".")[2] in ("head", "fc", "classifier", "last_linear"))


def classes_of_head(state: State, classifier: str | tuple[str, ...] | None) -> int | None:
    """Returns how many classes the head of a checkpoint has; None if the head is not in it.

    Args:
        classifier: name of the head's module, or of several heads.
    """
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    counts = {len(state[f"{name}.weight"]) for name in names if f"{name}.weight" in state}
    return counts.pop() if len(counts) == 1 else None


def preprocessing_of(model: nn.Module, name: str, size: tuple[int, int] | None = None) -> Preprocessing:
    """Returns timm's own evaluation transform of the model. Raises UserError if it is not supported.

    Args:
        size: the input size in place of timm's.
    """
    from timm.data.config import resolve_model_data_config

    if not model.num_classes:
        raise UserError(f"timm's {name!r} {NO_HEAD}")
    config = resolve_model_data_config(model)
    height, width = size or config["input_size"][-2:]
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
