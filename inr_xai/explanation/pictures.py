"""What the caller calls an image (a path, a PIL image, an array, a tensor) as an input with values in [0, 1]."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from inr_xai.data.files import safe_name
from inr_xai.data.pools import is_synthetic, load_synthetic
from inr_xai.data.transform import read_image, to_rgb
from inr_xai.errors import UserError
from inr_xai.explanation.transforms import InputTransform, given_transform, unnormalised
from inr_xai.seeding import sha256
from inr_xai.types import Frame, Preprocessing, Sample
from inr_xai.types import Image as InputImage

KINDS = "a path, a PIL image, an array h x w x 3 of 8 bits, or a preprocessed tensor c x h x w"


@dataclass(frozen=True)
class Picture:
    """One image of the caller.

    Args:
        content: the picture, or a preprocessed tensor c x h x w.
        name: the file's name without its suffix; else a hash of the content. The random draws derive from it.
    """

    content: Image.Image | Tensor
    name: str


@dataclass(frozen=True)
class Input:
    """An image as the classifier's input.

    Args:
        image: values in [0, 1].
        preprocessing: the transform, with the input's own size.
        placed: whether `frame` says where the input lies in the caller's picture.
    """

    image: InputImage
    frame: Frame
    name: str
    preprocessing: Preprocessing
    placed: bool = True


def pictures_in(images: Any) -> list[Any] | None:
    """Returns the images of a list, a tuple or a batch; None if it is a single image."""
    if isinstance(images, list | tuple):
        return list(images)
    if isinstance(images, Tensor) and images.ndim == 4:
        return list(images) if len(images) != 1 else None
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images)
    return None


def picture_of(image: Any, name: str | None = None) -> Picture:
    """Returns an image of the caller, with its name.

    Raises UserError if it cannot be read, or is none of the kinds that are understood.
    """
    if isinstance(image, str | Path):
        if Path(image).is_dir():
            raise UserError(
                f"image={str(image)!r} is a folder; give a photo, a list of photos, or use the command line"
            )
        if not Path(image).is_file():
            raise UserError(f"image={str(image)!r} does not exist; give {KINDS}")
        return Picture(read_image(image), name or safe_name(Path(image).stem))
    if isinstance(image, Tensor):
        return _tensor(image[0] if image.ndim == 4 and len(image) == 1 else image, name)
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Image.Image):
        raise UserError(f"image is a {type(image).__name__}; give {KINDS}")
    picture = to_rgb(ImageOps.exif_transpose(image))
    return Picture(picture, name or sha256(repr(picture.size).encode(), picture.tobytes()).hexdigest()[:16])


def input_of(picture: Picture, transform: InputTransform | None, *, mean: Any, std: Any) -> Input:
    """Returns a picture as the input of the model.

    Args:
        transform: how a picture becomes the input; of a tensor, only the statistics count.
        mean, std: the statistics of a preprocessed tensor, if the caller gives them.
    """
    if isinstance(picture.content, Tensor):
        preprocessing = _of_tensor(picture.content, transform, mean, std)
        image, frame = unnormalised(picture.content, preprocessing)
        return Input(image, frame, picture.name, preprocessing)
    if transform is None:
        raise UserError("transform=None: a picture needs a transform that makes an input of it")
    image, frame = transform.apply(picture.content)
    preprocessing = transform.preprocessing
    if transform.callable is not None:  # whose inputs may have different sizes
        preprocessing = replace(preprocessing, size=frame.size, resize=frame.size)
    return Input(image, frame, picture.name, preprocessing, placed=transform.callable is None)


def choose_transform(own: Preprocessing | None, transform: Any, pictures: Sequence[Picture]) -> InputTransform | None:
    """Returns the transform that the caller gives, or else the model's own; None if neither is there.

    Raises UserError as `given_transform` does.
    """
    if transform is None:
        return None if own is None else InputTransform(own)
    shown = [picture.content for picture in pictures if isinstance(picture.content, Image.Image)]
    return given_transform(transform, shown[0] if shown else Image.new("RGB", (256, 256)))


class GivenPhotos:
    """Other photos of the caller as a data set, for baselines; what is drawn completes them.

    Args:
        photos: the caller's photos as inputs.
    """

    def __init__(self, photos: Sequence[InputImage]):
        self._photos = {f"photo:{number:06}": photo for number, photo in enumerate(photos)}
        self.ids = list(self._photos)

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """Returns a photo, or a drawn scene under its id in a pool."""
        if is_synthetic(sample_id):
            return load_synthetic(sample_id, preprocessing)
        image = self._photos[sample_id]
        size = (image.shape[-2], image.shape[-1])
        return Sample(image, None, sample_id, Frame(size, size, 0, 0, size))


def _tensor(values: Tensor, name: str | None) -> Picture:
    if values.ndim != 3 or not values.is_floating_point() or not values.numel() or values.shape[0] not in (1, 3):
        raise UserError(
            f"image is a tensor of {tuple(values.shape)} and {values.dtype}; a preprocessed one is floating, c x h x w "
            "with 1 or 3 channels (for other inputs there is INRAttribution)"
        )
    if not bool(values.isfinite().all()):
        raise UserError("image holds NaN or infinite values; correct it")
    content = values.detach().float().cpu().contiguous()
    return Picture(content, name or sha256(content.numpy().tobytes()).hexdigest()[:16])


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise UserError(
            f"image is an array of {array.shape} and {array.dtype}; give one of 8 bits, h x w x 3, such as "
            "(255 * image).round().astype('uint8') of values in [0, 1]"
        )
    if not array.size:
        raise UserError(f"image is an empty array, {array.shape}")
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _of_tensor(values: Tensor, transform: InputTransform | None, mean: Any, std: Any) -> Preprocessing:
    """Returns what is known of the transform that made a tensor: its size, and its statistics."""
    channels, size = values.shape[0], (values.shape[-2], values.shape[-1])
    if mean is None and std is None and transform is not None:
        known = transform.preprocessing
        if len(known.mean) != channels:
            raise UserError(f"image has {channels} channels and the model's transform {len(known.mean)}")
        return replace(known, size=size, resize=size)
    if (mean is None or std is None) and (float(values.amin()) < 0 or float(values.amax()) > 1):
        raise UserError(
            "the statistics with which image was normalised are not known; give input_mean= and input_std=, or "
            "transform=, or a tensor with values in [0, 1] if the model normalises inside"
        )
    statistics = []
    for name, given, usual in (("input_mean", mean, 0.0), ("input_std", std, 1.0)):
        numbers = torch.as_tensor(usual if given is None else given, dtype=torch.float64).flatten()
        numbers = numbers.expand(channels) if len(numbers) == 1 else numbers
        if (
            len(numbers) != channels
            or not bool(numbers.isfinite().all())
            or (name == "input_std" and numbers.min() <= 0)
        ):
            raise UserError(f"{name}={given!r} must be one number or one for each of the {channels} channels")
        statistics.append(tuple(numbers.tolist()))
    return Preprocessing(size, size, "bilinear", mean=statistics[0], std=statistics[1])
