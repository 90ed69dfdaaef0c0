"""Hugging Face's image classifiers: the package transformers, its image processors, and folders of `save_pretrained`.

transformers is imported on first use. Weights are read from safetensors alone, and code of a repository never runs.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from inr_xai.classifier.checkpoint import Checkpoint, load_into
from inr_xai.classifier.hub import hub_file, require_online
from inr_xai.classifier.untrained import fixed_seed
from inr_xai.data.transform import to_input
from inr_xai.errors import UserError, error_text
from inr_xai.types import Preprocessing

Made = TypeVar("Made")
FILES = ("config.json", "preprocessor_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
REMEDY = "give classifier.name=FOLDER, into which model.save_pretrained and processor.save_pretrained have written"
HUB_NAME = r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)?(@[\w./-]+)?"
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of interpolations, by which processors name them."""
SQUASHED = 384
"""Shorter side from which ConvNeXt's processor squashes the photo to a square and crops nothing."""
TOLERANCE = 0.05
"""How far values in [0, 1] of the two transforms may be apart: interpolations of other libraries, and rounding."""
PERIOD = 24
"""Pixels of the input in a wave of the photo that is made up to compare them; a shift by a pixel changes it by .13."""


class LogitsOnly(nn.Module):
    """A model of transformers that returns its logits as one tensor, for tools that expect one.

    Args:
        model: whose output has `logits`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values).logits


def logits_only(model: nn.Module) -> nn.Module:
    """Returns a model that returns the logits b x n alone; its parts are those of `model`, and can be hooked."""
    return LogitsOnly(model)


def class_names(model: nn.Module) -> list[str] | None:
    """Returns the name of each class by the model's configuration; None if it has placeholders such as LABEL_0."""
    labels = getattr(getattr(model, "config", None), "id2label", None) or {}
    names = [str(labels.get(index, labels.get(str(index), f"LABEL_{index}"))) for index in range(len(labels))]
    return names if any(name != f"LABEL_{index}" for index, name in enumerate(names)) else None


def preprocessing_of(processor: Any) -> Preprocessing:
    """Returns what an image processor of transformers does to a photo.

    The result is compared with what the processor makes of a photo, so that it holds for processors of any kind.

    Raises:
        UserError: the processor does what `Preprocessing` cannot say.
    """
    kind = type(processor).__name__
    settings = processor.to_dict() if hasattr(processor, "to_dict") else {}
    if not isinstance(settings.get("size"), Mapping | int) or not settings.get("do_resize", True):
        raise UserError(
            f"{kind} does not resize photos to one size, which classifier=hugging_face needs; for a model of timm take "
            "classifier=timm classifier.name=hf-hub:OWNER/NAME, for others classifier=custom with its options"
        )
    size, resize = _sizes(settings, kind)
    scale = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 255.0
    normalises = settings.get("do_normalize", True)
    mean, std = (
        [value / scale for value in _per_channel(settings.get(key) if normalises else plain)]
        for key, plain in (("image_mean", 0.0), ("image_std", 1.0))
    )
    preprocessing = Preprocessing(
        size=size,
        resize=resize,
        interpolation=RESAMPLE[int(settings.get("resample", 2))],
        mean=tuple(mean),
        std=tuple(std),
        floor_crop=True,
    )
    _require_same(processor, preprocessing, kind)
    return preprocessing


def _sizes(settings: Mapping[str, Any], kind: str) -> tuple[tuple[int, int], int | tuple[int, int]]:
    """Returns the size of the input, and the shorter side or the size to which the photo is resized."""
    given = settings["size"]
    given = {"height": given, "width": given} if isinstance(given, int) else dict(given)
    given = {key: value for key, value in given.items() if value is not None}
    crop = settings.get("crop_size") if settings.get("do_center_crop") else None
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    cut = None if crop is None else (int(crop["height"]), int(crop["width"]))
    share = settings.get("crop_pct")
    if set(given) == {"height", "width"} and share is None:
        whole = int(given["height"]), int(given["width"])
        return cut or whole, whole
    if set(given) == {"shortest_edge"}:
        side = int(given["shortest_edge"])
        if share is not None and cut is None:  # ConvNeXt's
            return (side, side), (side, side) if side >= SQUASHED else int(side / share)
        if cut is not None:
            return cut, side if share is None else int(side / share)
    raise UserError(
        f"{kind} makes inputs of no fixed size of its size={given}, do_center_crop="
        f"{bool(settings.get('do_center_crop'))}; give the processor a size of height and width, or a shortest_edge "
        "and a crop_size"
    )


def _per_channel(values: Any) -> list[float]:
    """Returns a statistic of each channel, given for each or as one number for all."""
    return [float(value) for value in values] if isinstance(values, list | tuple) else [float(values)] * 3


def _require_same(processor: Any, preprocessing: Preprocessing, kind: str) -> None:
    """Raises UserError unless the processor makes of a made up photo what `preprocessing` makes of it."""
    short = preprocessing.resize if isinstance(preprocessing.resize, int) else min(preprocessing.resize)
    height, width = round(1.3 * short), round(1.7 * short)
    down, across = np.mgrid[:height, :width] * (2 * np.pi / (1.3 * PERIOD))
    waves = [np.sin(down + phase) * np.cos(across + phase / 2) for phase in (0.0, 1.0, 2.0)]
    photo = Image.fromarray((127.5 + 127 * np.stack(waves, axis=2)).astype(np.uint8))
    try:
        theirs = torch.as_tensor(np.asarray(processor(images=photo, return_tensors="pt")["pixel_values"])[0]).float()
    except Exception as error:  # processors raise anything
        raise UserError(f"{kind} refuses a photo of {height} x {width} pixels ({error_text(error)[:200]})") from error
    mean, std = (torch.tensor(part)[:, None, None] for part in (preprocessing.mean, preprocessing.std))
    ours = to_input(photo, preprocessing)[0]
    if theirs.shape != ours.shape or float((theirs * std + mean - ours).abs().max()) > TOLERANCE:
        raise UserError(
            f"{kind} changes photos in other ways than by a resize, a centre crop and a normalisation; save the model "
            "with a ViTImageProcessor or a BitImageProcessor of these steps, or take classifier=custom with its options"
        )


def find_folder(name: str, *, weights: bool) -> str:
    """Returns the folder of a name: itself, or that of an earlier download; the name itself if it must be downloaded.

    Args:
        weights: whether the folder must also hold weights.

    Raises:
        UserError: there is no such folder, or the hub cannot be reached.
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if not re.fullmatch(HUB_NAME, name):
        raise UserError(f"classifier.name={name!r} is no folder, and no name of Hugging Face's hub; {REMEDY}")
    config = hub_file(name, FILES[:1])
    if config is not None:
        present = [file for file in (*FILES, *WEIGHTS) if (config.parent / file).is_file()]
        if set(FILES) <= set(present) and (not weights or not set(WEIGHTS).isdisjoint(present)):
            return str(config.parent)
    require_online(name, remedy=REMEDY)
    return name


def load_processor(place: str) -> Any:
    """Returns the image processor of a folder, or of a hub's repository. Raises UserError if it has none."""
    from transformers import AutoImageProcessor

    return _loaded(AutoImageProcessor.from_pretrained, place, "image processor (preprocessor_config.json)")


def build(place: str) -> nn.Module:
    """Returns the model that a folder's config.json describes; random weights are the same at each call."""
    from transformers import AutoConfig, AutoModelForImageClassification

    config = _loaded(AutoConfig.from_pretrained, place, "configuration of a model (config.json)")
    try:
        with fixed_seed():
            return AutoModelForImageClassification.from_config(config, trust_remote_code=False).float()
    except ValueError as error:
        raise UserError(
            f"transformers has no image classifier of the type {config.model_type!r} of classifier.name={place!r}"
        ) from error


def from_hub(place: str) -> nn.Module:
    """Returns the model with the weights of a folder, or of a hub's repository.

    Raises UserError if it has no safetensors, or none of some part of the model, which would stay random.
    """
    from transformers import AutoModelForImageClassification

    load = AutoModelForImageClassification.from_pretrained
    options = {"use_safetensors": True, "output_loading_info": True}
    model, told = _loaded(load, place, "image classifier with weights in safetensors", **options)
    absent = sorted([*told["missing_keys"], *(str(key) for key in told["mismatched_keys"])])
    if absent:
        raise UserError(
            f"classifier.name={place!r} lacks weights of {len(absent)} tensors of the classifier (first: {absent[0]}), "
            "which would stay random; take a model that was trained to classify"
        )
    return model.float()


def with_checkpoint(place: str, checkpoint: Checkpoint) -> nn.Module:
    """Returns the model that a folder describes with the weights of a local file. Raises UserError if they differ."""
    model = build(place)
    load_into(model, checkpoint.state_for(model), name=type(model).__name__, file=checkpoint.file)
    return model


def _loaded(load: Callable[..., Made], place: str, what: str, **options: Any) -> Made:
    """Calls one of transformers' from_pretrained. Raises UserError, in one sentence, if it fails."""
    local = Path(place).is_dir()
    repository, _, revision = (place, "", "") if local else place.partition("@")
    if revision:
        options["revision"] = revision
    try:
        return load(repository, local_files_only=local, trust_remote_code=False, **options)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = (str(error).strip().split("\n")[0] or type(error).__name__)[:200].removesuffix(".")
        raise UserError(f"classifier.name={place!r} holds no {what} that can be loaded ({reason}); {REMEDY}") from error
