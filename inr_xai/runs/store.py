"""How a run stores what it has of an image (the option `store`): each image in a file of its own, or in tars.

Reading does not depend on it: `inr_xai.runs.stored_images` finds images of both kinds.
"""

from abc import ABC, abstractmethod
from pathlib import Path

from inr_xai.runs.files import write_bytes
from inr_xai.runs.masks_file import Coding, MasksPlace, SampleRecord, pack_record
from inr_xai.runs.stored_images import StoredImages
from inr_xai.runs.tar_members import TarWriter


class Store(ABC):
    """Where the images that a process explains are written."""

    @abstractmethod
    def commit(self, images: StoredImages, record: SampleRecord, *, within: Path | None = None) -> MasksPlace:
        """Writes an image, which is done from then on, and returns its place. A killed process leaves it whole or not.

        Args:
            images: those of the run.
            within: see `inr_xai.runs.files.write_chunks`.

        Raises:
            RunFault: a fault of the machine.
        """


class ImageStore(Store):
    """Writes each image to a file of its own, masks/<id>.safetensors, in the place of one that is there.

    Args:
        masks: "lossless" compresses them to the bit; "float16" keeps the plain tensor `masks`, which every reader of
            safetensors understands.
    """

    def __init__(self, masks: Coding = "lossless"):
        self._masks = masks

    def commit(self, images: StoredImages, record: SampleRecord, *, within: Path | None = None) -> MasksPlace:
        write_bytes(images.file_of(record.sample_id), pack_record(record, self._masks), within=within)
        place = images.find(record.sample_id)
        assert place is not None
        return place


class ShardStore(Store):
    """Appends images to tars, masks/<session>-<number>.tar, of which each process has its own.

    Args:
        masks: see `ImageStore`.
        megabytes: the size from which on a tar is full, and the next one begins.
    """

    def __init__(self, masks: Coding = "lossless", megabytes: int = 1000):
        self._masks, self._bytes = masks, megabytes * 10**6
        self._writer: TarWriter | None = None

    def commit(self, images: StoredImages, record: SampleRecord, *, within: Path | None = None) -> MasksPlace:
        if self._writer is None or self._writer.folder != images.folder:
            self._writer = TarWriter(images.folder, self._bytes)
        name = images.member_of(record.sample_id)
        return self._writer.append(name, pack_record(record, self._masks), within=within)
