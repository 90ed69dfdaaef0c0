"""Photos on which objects are marked: what the data sets with segmentations or boxes share.

Marks lie on the photo's pixels as its file stores them; where EXIF turns the photo, its marks are turned with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Bool
from torch import Tensor

from inr_xai.data.labels import check_selection, parse_targets
from inr_xai.data.marks import upright
from inr_xai.data.pools import is_synthetic, load_synthetic, split_pools
from inr_xai.data.transform import read_image, segmentation_to_input, to_input
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing, Sample

SMALL = 1 / 4  # of the photo: a larger object is no difficult one


@dataclass(frozen=True)
class Marks:
    """Where a class is on a photo as stored: at least one of `segmentation` and `boxes`; see `Sample`."""

    segmentation: Bool[Tensor, "H W"] | None = None
    ignore: Bool[Tensor, "H W"] | None = None
    boxes: Bool[Tensor, "H W"] | None = None


@dataclass(frozen=True)
class Shown:
    """A class that a photo shows.

    Args:
        photo: the image file.
        target: class index.
        others: whether the photo shows another class as well.
    """

    photo: Path
    target: int
    others: bool = False


class Annotated(ABC):
    """One sample for each photo and class that it shows, in the order of their ids; nothing is decoded before `load`.

    Abstract: a data set calls `_take` when it knows its samples, and says by `_marks` where their classes are.
    """

    ids: list[str]
    class_names: list[str] | None
    scoring_ids: list[str]
    donor_ids: list[str]

    def __init__(self, *, targets: str | int, limit: int | None, every: int) -> None:
        check_selection(limit=limit, every=every)
        self.targets, self.limit, self.every = parse_targets(targets), limit, every

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """The sample. Raises UserError where the photo or its marks cannot be read or do not fit each other."""
        if sample_id in self._broken:
            raise UserError(self._broken[sample_id])
        if sample_id not in self._samples:
            if is_synthetic(sample_id):
                return load_synthetic(sample_id, preprocessing)
            raise UserError(
                f"there is no sample {sample_id!r}; the options of data, or the files below data.root, may have changed"
            )
        shown = self._samples[sample_id]
        image, frame = to_input(read_image(shown.photo), preprocessing)
        marks = self._marks(sample_id)
        if marks.segmentation is not None and not marks.segmentation.any():
            raise UserError(f"the segmentation of {sample_id!r} has no pixel of its class; leave out the photo")
        extent = marks.segmentation if marks.boxes is None else marks.boxes
        assert extent is not None
        segmentation, ignore, boxes = (
            None if mask is None else segmentation_to_input(upright(mask, shown.photo), frame)
            for mask in (marks.segmentation, marks.ignore, marks.boxes)
        )
        return Sample(
            image=image,
            target=shown.target,
            sample_id=sample_id,
            frame=frame,
            segmentation=segmentation,
            ignore=ignore,
            boxes=boxes,
            on_photo=upright(extent, shown.photo),
            difficult=shown.others and float(extent.double().mean()) < SMALL,
        )

    def _take(
        self,
        samples: Mapping[str, Shown],
        class_names: list[str],
        *,
        pool_size: int,
        broken: Mapping[str, str] | None = None,
    ) -> None:
        """Fixes the samples. Each photo stands in the pools once, by the first of its samples.

        Args:
            broken: ids of further samples, of photos whose classes cannot be read, with what `load` says of each.
        """
        self._broken = dict(broken or {})
        if not samples and self._broken:
            raise UserError(next(iter(self._broken.values())))
        if not samples:
            raise UserError("no photo of the data set shows a class that has a label; choose another data.split")
        if not any(shown.photo.is_file() for shown in samples.values()):
            example = next(iter(samples.values())).photo
            raise UserError(f"none of the photos exists (such as {str(example)!r}); correct data.root")
        self._samples = dict(samples)
        self.class_names = class_names
        self.ids = sorted([*samples, *self._broken])
        photos = {samples[sample_id].photo: sample_id for sample_id in sorted(samples, reverse=True)}
        self.scoring_ids, self.donor_ids = split_pools(list(photos.values()), pool_size)

    @abstractmethod
    def _marks(self, sample_id: str) -> Marks:
        """Where the sample's class is. Raises UserError where the file that says so cannot be read."""


def require_folder(folder: Path, layout: str) -> Path:
    """The folder. Raises UserError where it is none; `layout` says how data.root must look."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{str(folder)!r} {what}; data.root must hold {layout}")
    return folder
