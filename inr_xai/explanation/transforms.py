"""How a picture becomes the input of a model: the model's own evaluation transform, or one that the caller gives.

What is known of a transform is a `Preprocessing` (resize, crop, statistics). Of a callable that is none of the known
kinds, the statistics are found by plain pictures that pass through it; its geometry stays unknown.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inr_xai.data.transform import to_input
from inr_xai.errors import UserError, error_text
from inr_xai.types import Frame, Preprocessing
from inr_xai.types import Image as InputImage

LEVELS = (0, 51, 204, 255)
"""Grey levels of the plain pictures that tell the statistics of a transform."""
ROUNDING = 2e-3
"""How far a transform may be from mean and standard deviation, in units of its range."""
AGREES = 0.1
"""How far the input of a transform that was read may be from that of the transform itself, with values in [0, 1]."""
NOT_AFFINE = (
    "transform= does more to colours than subtract a mean and divide by a standard deviation, so that baselines cannot "
    "be drawn; give the preprocessed tensor with input_mean= and input_std="
)


@dataclass(frozen=True)
class InputTransform:
    """How pictures become inputs.

    Args:
        preprocessing: the geometry and the statistics; of a callable, the geometry is that of the inputs it makes.
        callable: makes normalised inputs, c x h x w, from pictures of Pillow; None if `preprocessing` says all.
    """

    preprocessing: Preprocessing
    callable: Callable[[Any], Any] | None = None

    def apply(self, picture: Image.Image) -> tuple[InputImage, Frame]:
        """Returns the input before normalisation, values in [0, 1], and how it was cut from the picture.

        Raises UserError if the callable fails, or does not return one image as a floating tensor.
        """
        if self.callable is None:
            return to_input(picture, self.preprocessing)
        return unnormalised(made_by(self.callable, picture), self.preprocessing)


def unnormalised(values: Tensor, preprocessing: Preprocessing) -> tuple[InputImage, Frame]:
    """Returns a normalised input, c x h x w, as an image with values in [0, 1], and the frame of an uncut picture."""
    mean, std = (torch.tensor(of)[:, None, None] for of in (preprocessing.mean, preprocessing.std))
    size = (values.shape[-2], values.shape[-1])
    image = (values.float().cpu() * std + mean).clamp(0, 1)
    return image, Frame(original=size, resized=size, top=0, left=0, size=size)


def given_transform(transform: Any, picture: Image.Image) -> InputTransform:
    """Returns what is known of a transform that the caller gives.

    Args:
        transform: a `Preprocessing`, one of torchvision's weights, a Compose of torchvision's (or timm's) transforms,
            an image processor of Hugging Face, or any callable that makes a normalised tensor, c x h x w, of a picture
            of Pillow.
        picture: a picture that is explained, with which it is tried.

    Raises:
        UserError: it is none of these, or fails, or does more to colours than a normalisation.
    """
    if isinstance(transform, Preprocessing):
        return InputTransform(transform)
    if hasattr(transform, "image_mean") and hasattr(transform, "to_dict"):  # an image processor of Hugging Face
        from inr_xai.classifier.hugging_face import preprocessing_of

        return InputTransform(preprocessing_of(transform))
    if not callable(transform):
        raise UserError(
            f"transform={transform!r:.80} is no transform; give a callable that makes a tensor of a picture"
        )
    known = _of_weights(transform) or _of_compose(transform)
    made = made_by(transform, picture)
    if known is not None:
        ours, _ = to_input(picture, known)
        theirs, _ = unnormalised(made, known)
        if ours.shape == theirs.shape and float((ours - theirs).abs().max()) <= AGREES:
            return InputTransform(known)
    mean, std = statistics(transform, picture.size)
    size = (made.shape[-2], made.shape[-1])
    return InputTransform(Preprocessing(size, size, "bilinear", mean, std), transform)


def made_by(transform: Callable[[Any], Any], picture: Image.Image) -> Tensor:
    """Returns what a transform makes of a picture, c x h x w. Raises UserError if it fails or returns none."""
    try:
        made = transform(picture)
    except Exception as error:  # it may raise anything
        raise UserError(f"transform= fails for a picture ({error_text(error)}); correct it") from error
    if isinstance(made, Tensor) and made.ndim == 4 and len(made) == 1:
        made = made[0]
    if not isinstance(made, Tensor) or made.ndim != 3 or not made.is_floating_point():
        got = f"{tuple(made.shape)} of {made.dtype}" if isinstance(made, Tensor) else type(made).__name__
        raise UserError(f"transform= must return a floating tensor of c x h x w for a picture; got {got}")
    return made


def statistics(transform: Callable[[Any], Any], size: tuple[int, int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation per channel of a transform, from what it makes of plain pictures.

    Args:
        size: width and height of the pictures.

    Raises:
        UserError: the values are no linear function of the grey level.
    """
    grey = [Image.fromarray(np.full((size[1], size[0], 3), level, dtype=np.uint8)) for level in LEVELS]
    made = [made_by(transform, picture).double() for picture in grey]
    # In the middle, which a padding leaves alone; level x channel.
    values = torch.stack([image[:, image.shape[1] // 2, image.shape[2] // 2] for image in made])
    levels = torch.tensor(LEVELS, dtype=torch.float64)[:, None] / 255
    slope, start = values[-1] - values[0], values[0]
    straight = (values - (start + slope * levels)).abs() <= ROUNDING * slope.abs()
    if bool((slope <= 0).any()) or not bool(straight.all()):
        raise UserError(NOT_AFFINE)
    return tuple((-start / slope).tolist()), tuple((1 / slope).tolist())


def _of_weights(transform: Any) -> Preprocessing | None:
    """Returns the preset of torchvision's weights as a record; None if the transform is no such preset."""
    if type(transform).__name__ != "ImageClassification" or not hasattr(transform, "crop_size"):
        return None
    resize, crop = list(transform.resize_size), list(transform.crop_size)
    return Preprocessing(
        size=(crop[0], crop[-1]),
        resize=resize[0] if len(resize) == 1 else (resize[0], resize[1]),
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )


def _of_compose(transform: Any) -> Preprocessing | None:
    """Returns Resize, CenterCrop and Normalize in a row as a record; None if there is anything else."""
    steps = {type(step).__name__: step for step in getattr(transform, "transforms", ())}
    beside = {"ToTensor", "MaybeToTensor", "PILToTensor", "MaybePILToTensor", "ToImage", "ToDtype", "ConvertImageDtype"}
    if not {"Resize"} <= steps.keys() <= {"Resize", "CenterCrop", "Normalize", *beside}:
        return None
    size = steps["Resize"].size
    sides = [size] if isinstance(size, int) else list(size)
    crop = list(np.ravel(steps["CenterCrop"].size)) if "CenterCrop" in steps else sides
    normalise = steps.get("Normalize")
    if len(crop) == 1 and "CenterCrop" not in steps:
        return None  # the shorter side alone: inputs have different sizes
    mean, std = ((0.0,) * 3, (1.0,) * 3) if normalise is None else (normalise.mean, normalise.std)
    return Preprocessing(
        size=(int(crop[0]), int(crop[-1])),
        resize=sides[0] if len(sides) == 1 else (sides[0], sides[1]),
        interpolation=str(getattr(steps["Resize"].interpolation, "value", "bilinear")),
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
    )
