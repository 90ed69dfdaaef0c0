"""Shapes, the sentence on mask polarity, the records that pass from the data to the fit, and two protocols.

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
"""A line of a table: column -> value."""


@dataclass(frozen=True)
class Frame:
    """How a photo became the classifier's input: resized to `resized`, then cut at (`top`, `left`) to `size`.

    All pairs are (height, width) in pixels; `original` is the photo's size after EXIF orientation. `top` and `left`
    are negative where the input was padded.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """A classifier's own evaluation transform, up to (not including) the normalisation.

    Args:
        size: input height and width in pixels.
        resize: what the shorter side is resized to before the centre crop, or the (height, width) to squash to.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean, std: per-channel statistics of the [0, 1] input that the classifier normalises with.
    """

    size: tuple[int, int]
    resize: int | tuple[int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """One image to explain, in the classifier's input frame.

    Args:
        image: values in [0, 1].
        target: class index of the label; None where the data set does not know it.
        sample_id: unique name in the data set; file names and random generators derive from it.
        frame: how the photo became the input.
        segmentation: True on the object of the label, in the input frame; None where unknown.
        ignore: True on pixels that count neither as object nor as background, in the input frame; None for none.
        boxes: True within the bounding boxes of the label's objects, in the input frame; None where unknown.
        on_photo: True within those boxes, or where none are known on the object, on the whole upright photo, of which
            the input may be a part; None where unknown, or where the input is all there is.
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
        sample_ids: name the images' random draws and files.
    """

    images: Images
    targets: Targets
    sample_ids: list[str]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def only(self, positions: Sequence[int]) -> "Batch":
        """The images at these positions."""
        chosen = list(positions)
        return Batch(self.images[chosen], self.targets[chosen], [self.sample_ids[position] for position in chosen])


@runtime_checkable
class Classifier(Protocol):
    """What fits and scores need of a classifier: logits, the colours of its input, and to be frozen for a while."""

    head: str
    """`softmax` for one class an image, `sigmoid` for several."""
    colour_mean: tuple[float, ...]
    colour_std: tuple[float, ...]

    def __call__(self, images: Images) -> Logits: ...

    def probability(self, logits: Logits, targets: Targets) -> Float[Tensor, " b"]: ...

    def frozen(self, device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]: ...


@runtime_checkable
class ImageData(Protocol):
    """What every data set offers. Reading is lazy: nothing is decoded before `load`."""

    targets: str | int
    """Which class to explain: "label", "predicted", "wrong" (one that the image does not show), or one class index."""
    every: int
    """Take every n-th of `ids`."""
    limit: int | None
    """And of these at most so many."""

    @property
    def ids(self) -> list[str]:
        """All sample ids in sorted order, before limit and shard."""

    @property
    def class_names(self) -> list[str] | None:
        """A readable name for each class index, None where unknown."""

    @property
    def scoring_ids(self) -> list[str]:
        """Ids of the pool whose photos serve as the scoring baseline `photo`."""

    @property
    def donor_ids(self) -> list[str]:
        """Ids of the pool whose photos a fit may use; disjoint from `scoring_ids`."""

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """The sample, also of an id of one of the pools. Raises UserError where it cannot be read."""
