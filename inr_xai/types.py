"""Names of tensor shapes, the records that pass from the data to the fit, and the protocols of classifiers and data.

**Mask polarity, said once for the whole project: a mask has values in [0, 1]; 1 keeps the pixel, 0 replaces it.**
Axes are named by one letter: b images, k explanations, a areas, c channels, h height, w width, p points, l levels.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Image = Float[Tensor, "c h w"]
Images = Float[Tensor, "b c h w"]
Masks = Float[Tensor, "b a h w"]
Logits = Float[Tensor, "b n"]
Targets = Int[Tensor, " b"]
Areas = Float[Tensor, " a"]
Free = Bool[Tensor, "b a h w"]
Row = dict[str, Any]
"""One row of a table: column -> value."""
Cell = str | int | float | None
"""One value of a table that is read by people; None is an empty one."""


@dataclass(frozen=True)
class Frame:
    """How a photo became the classifier's input: resized to `resized`, then cut at (`top`, `left`) to `size`.

    All pairs are (height, width) in pixels; `original` is the photo's size after EXIF orientation. `top` and `left`
    are negative if the input was padded.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of a classifier, without the normalisation.

    Args:
        size: input height and width in pixels.
        resize: length to which the shorter side is resized before the centre crop, or a (height, width) to which the
            whole photo is squashed.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean, std: per-channel statistics with which the classifier normalises its input in [0, 1].
        floor_crop: an odd margin of the centre crop is halved downwards, as Hugging Face's processors do; otherwise the
            half is rounded to the even number, as timm and torchvision do.
    """

    size: tuple[int, int]
    resize: int | tuple[int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    floor_crop: bool = False


@dataclass(frozen=True)
class Sample:
    """One image to explain, in the classifier's input frame.

    Args:
        image: values in [0, 1].
        target: class index of the label; None if the data set does not know it.
        sample_id: unique name in the data set; file names and random generators derive from it.
        frame: how the photo became the input.
        segmentation: True on the object of the label, in the input frame; None if unknown.
        ignore: True on pixels that count neither as object nor as background, in the input frame; None if there are
            none.
        boxes: True within the bounding boxes of the label's objects, in the input frame; None if unknown.
        on_photo: where the label is on the whole upright photo, of which the input may be a part: True within the
            boxes, or on the object if no boxes are known. None if unknown, or if there is no photo beyond the input.
        difficult: the label covers less than a quarter of the photo, and the photo shows another class as well.
    """

    image: Image
    target: int | None
    sample_id: str
    frame: Frame
    segmentation: Bool[Tensor, "h w"] | None = None
    ignore: Bool[Tensor, "h w"] | None = None
    boxes: Bool[Tensor, "h w"] | None = None
    on_photo: Bool[Tensor, "H W"] | None = None
    difficult: bool = False


@dataclass(frozen=True)
class Batch:
    """Images that are explained together.

    Args:
        images: in the units of the classifier's input (values in [0, 1] on the command line).
        targets: class index of each image.
        sample_ids: unique names, from which random generators and file names derive.
    """

    images: Images
    targets: Targets
    sample_ids: list[str]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def only(self, positions: Sequence[int]) -> "Batch":
        """Returns the batch of the images at these positions."""
        chosen = list(positions)
        return Batch(self.images[chosen], self.targets[chosen], [self.sample_ids[position] for position in chosen])


@runtime_checkable
class Classifier(Protocol):
    """What fits and scores need of a classifier: logits, the colours of its input, and a way to freeze it."""

    head: str
    """`softmax` or `sigmoid` for logits, `probabilities`, or `none` for scores: see `FrozenClassifier`."""
    colour_mean: tuple[float, ...]
    colour_std: tuple[float, ...]
    """Mean and standard deviation of each channel of the input, in its units."""

    def __call__(self, images: Images) -> Logits: ...

    def probability(self, logits: Logits, targets: Targets) -> Float[Tensor, " b"]: ...

    def frozen(self, device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]: ...


@runtime_checkable
class ImageData(Protocol):
    """What every data set offers. No image is decoded before `load`."""

    targets: str | int
    """Which class to explain: "label", "predicted", "wrong" (one that the image does not show), or a class index."""
    every: int
    """Only every n-th of `ids` is explained."""
    limit: int | None
    """The largest number of images to explain, of those that `every` selects; None for all."""

    @property
    def ids(self) -> list[str]:
        """All sample ids in sorted order, before `every`, `limit` and shards select from them."""

    @property
    def class_names(self) -> list[str] | None:
        """A readable name for each class index; None if unknown."""

    @property
    def scoring_ids(self) -> list[str]:
        """Ids of the photos that serve as the scoring baseline `photo`."""

    @property
    def donor_ids(self) -> list[str]:
        """Ids of the photos that a fit may use as donors; disjoint from `scoring_ids`."""

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """Returns a sample; the ids of both pools are allowed too. Raises UserError if it cannot be read."""


@runtime_checkable
class SharesPhotos(Protocol):
    """A data set in which several samples can be of one photo, so that none of them is a baseline of another."""

    def photo_of(self, sample_id: str) -> str:
        """Returns a name of the sample's photo, the same for all its samples; an id that is no sample's stays."""


@runtime_checkable
class TakesFolders(Protocol):
    """A data set whose subfolders may be classes that nothing names."""

    @property
    def may_take_folders(self) -> bool:
        """Whether no photo has a label, and all lie in subfolders that may be classes."""

    def take_folders(self, classes: int) -> None:
        """Makes the subfolders the classes if there are as many; UserError if labels are needed and there are not."""
