"""The base class of data sets whose photos have segmentations or boxes.

Marks refer to the pixels as the photo's file stores them; if EXIF turns the photo, its marks are turned with it.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Bool
from torch import Tensor

from inr_xai.data.labels import check_selection, parse_targets
from inr_xai.data.marks import upright
from inr_xai.data.outage import DataFolders
from inr_xai.data.pools import is_synthetic, load_synthetic, split_pools
from inr_xai.data.transform import PhotoReader, segmentation_to_input
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing, Sample

SMALL = 1 / 4  # share of the photo; a label that covers as much is not difficult


@dataclass(frozen=True)
class Marks:
    """Where a class is on the stored photo: at least one of `segmentation` and `boxes`; see `Sample`."""

    segmentation: Bool[Tensor, "H W"] | None = None
    ignore: Bool[Tensor, "H W"] | None = None
    boxes: Bool[Tensor, "H W"] | None = None


@dataclass(frozen=True)
class PhotoClass:
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
    """One sample for each photo and class that it shows, sorted by id; no photo is decoded before `load`.

    The constructor of a subclass calls `_set_samples`; its `_marks` returns where the class of a sample is.
    """

    ids: list[str]
    class_names: list[str] | None
    scoring_ids: list[str]
    donor_ids: list[str]
    folders: DataFolders
    """Say how long an outage of the photos' folder is waited for; by default it is not."""

    def __init__(
        self, *, targets: str | int, limit: int | None, every: int, range: Sequence[float] | None = None
    ) -> None:
        check_selection(limit=limit, every=every)
        self._reader = PhotoReader(range)
        self.targets, self.limit, self.every = parse_targets(targets), limit, every

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """Returns a sample. Raises UserError if the photo or its marks cannot be read or do not match in size.

        If the data are out of reach, it is Unreachable.
        """
        return self.folders.read(sample_id, lambda: self._load(sample_id, preprocessing))

    def _load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        if sample_id in self._unreadable:
            raise UserError(self._unreadable[sample_id])
        if sample_id not in self._samples:
            if is_synthetic(sample_id):
                return load_synthetic(sample_id, preprocessing)
            raise UserError(
                f"there is no sample {sample_id!r}; the options of data, or the files below data.root, may have changed"
            )
        sample = self._samples[sample_id]
        image, frame = self._reader.read_input(sample.photo, preprocessing)
        marks = self._marks(sample_id)
        if marks.segmentation is not None and not marks.segmentation.any():
            raise UserError(f"the segmentation of {sample_id!r} has no pixel of its class; leave out the photo")
        extent = marks.segmentation if marks.boxes is None else marks.boxes
        assert extent is not None
        segmentation, ignore, boxes = (
            None if mask is None else segmentation_to_input(upright(mask, sample.photo), frame)
            for mask in (marks.segmentation, marks.ignore, marks.boxes)
        )
        return Sample(
            image=image,
            target=sample.target,
            sample_id=sample_id,
            frame=frame,
            segmentation=segmentation,
            ignore=ignore,
            boxes=boxes,
            on_photo=upright(extent, sample.photo),
            difficult=sample.others and float(extent.double().mean()) < SMALL,
        )

    def photo_of(self, sample_id: str) -> str:
        """Returns the file of a sample's photo, which several samples share; the id itself if it is no sample."""
        return str(self._samples[sample_id].photo) if sample_id in self._samples else sample_id

    def _set_samples(
        self,
        samples: Mapping[str, PhotoClass],
        class_names: list[str],
        *,
        pool_size: int,
        unreadable: Mapping[str, str] | None = None,
    ) -> None:
        """Sets the samples and both pools. A photo is in the pools once, under the first of its sample ids.

        Args:
            samples: sample id -> the photo and its class.
            pool_size: photos in each of the two pools.
            unreadable: sample id -> error message of `load`, for photos whose classes cannot be read.

        Raises:
            UserError: there is no sample, or no photo exists.
        """
        self._unreadable = dict(unreadable or {})
        if not samples and self._unreadable:
            raise UserError(next(iter(self._unreadable.values())))
        if not samples:
            raise UserError("no photo of the data set shows a class that has a label; choose another data.split")
        if not any(sample.photo.is_file() for sample in samples.values()):
            example = next(iter(samples.values())).photo
            raise UserError(f"none of the photos exists (such as {str(example)!r}); correct data.root")
        self.folders = DataFolders(Path(os.path.commonpath({sample.photo.parent for sample in samples.values()})))
        self._samples = dict(samples)
        self.class_names = class_names
        self.ids = sorted([*samples, *self._unreadable])
        photos = {samples[sample_id].photo: sample_id for sample_id in sorted(samples, reverse=True)}
        self.scoring_ids, self.donor_ids = split_pools(list(photos.values()), pool_size)

    @abstractmethod
    def _marks(self, sample_id: str) -> Marks:
        """Returns where the sample's class is. Raises UserError if the marks cannot be read."""


def require_folder(folder: Path, layout: str) -> Path:
    """Returns the folder. Raises UserError if it does not exist; `layout` describes what data.root must hold."""
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{str(folder)!r} {reason}; data.root must hold {layout}")
    return folder
