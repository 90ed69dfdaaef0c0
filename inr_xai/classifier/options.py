"""What the user says of a library's classifier because weights do not tell it: input size, statistics, arguments."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inr_xai.errors import UserError
from inr_xai.limits import height_and_width
from inr_xai.types import Preprocessing

SIZES = ("img_size", "image_size", "input_size")
"""Names that builders have for the input size."""
RESERVED = {
    **dict.fromkeys(("name", "model_name"), "classifier.name"),
    **dict.fromkeys(("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "weights"), "classifier.pretrained"),
    **dict.fromkeys(("checkpoint_path", "pretrained_strict", "pretrained_filter_fn"), "classifier.checkpoint"),
}
"""Arguments of builders that an option of its own gives."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CHANNELS = 3


@dataclass(frozen=True)
class ClassifierOptions:
    """Settings of a library's model.

    Args:
        size: input height and width in pixels; None takes the checkpoint's, or else the library's.
        mean, std: statistics of the normalisation, one per channel; None takes the library's.
        model_args: arguments of the library's builder.
    """

    size: tuple[int, int] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    model_args: dict[str, Any]

    def normalised(self, preprocessing: Preprocessing) -> Preprocessing:
        """Returns the transform with these statistics."""
        return replace(preprocessing, mean=self.mean or preprocessing.mean, std=self.std or preprocessing.std)


def read_options(
    input_size: Any,
    mean: Any,
    std: Any,
    model_args: Any,
) -> ClassifierOptions:
    """Returns the checked settings, which a configuration gives as any type. Raises UserError if one is not allowed."""
    if model_args is not None and not isinstance(model_args, Mapping):
        raise UserError(f"classifier.model_args={model_args!r} is not allowed; give {{ARGUMENT: VALUE}}")
    arguments = dict(model_args or {})
    for name in arguments:
        if name in RESERVED:
            raise UserError(f"classifier.model_args.{name} is not allowed; {RESERVED[name]} says it")
    if arguments.get("features_only"):
        raise UserError("classifier.model_args.features_only is not allowed; a model of features has no classes")
    if arguments.get("in_chans", CHANNELS) != CHANNELS:
        raise UserError(
            f"classifier.model_args.in_chans={arguments['in_chans']} is not allowed; photos have {CHANNELS} channels"
        )
    sizes = [] if input_size is None else [height_and_width(input_size, "input_size")]
    sizes += [height_and_width(arguments.pop(name), f"model_args.{name}") for name in SIZES if name in arguments]
    if len(set(sizes)) > 1:
        raise UserError(f"classifier.input_size and classifier.model_args give two input sizes ({sizes}); give one")
    statistics = {name: statistic(values, name) for name, values in (("mean", mean), ("std", std))}
    return ClassifierOptions(sizes[0] if sizes else None, statistics["mean"], statistics["std"], arguments)


def statistic(values: Any, name: str) -> tuple[float, ...] | None:
    """Returns a statistic with one value for each channel. Raises UserError for anything else."""
    if values is None:
        return None
    numbers = list(values) if isinstance(values, (list, tuple)) else [values]
    if (
        len(numbers) != CHANNELS
        or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in numbers)
        or (name == "std" and not all(value > 0 for value in numbers))
    ):
        above = " above 0" if name == "std" else ""
        raise UserError(
            f"classifier.{name}={values!r} is not allowed; give {CHANNELS} finite numbers{above}, one per channel, in "
            "the units of an image in [0, 1]"
        )
    return tuple(float(value) for value in numbers)
