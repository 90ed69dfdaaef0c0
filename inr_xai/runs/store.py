"""How a run stores what it has of an image (the option `store`): each image in a file of its own, or in tars.

Reading does not depend on it: `inr_xai.runs.stored_images` finds images of both kinds.
"""

from abc import ABC, abstractmethod
from pathlib import Path

from inr_xai.runs.files import write_new
from inr_xai.runs.lock import folder_lock
from inr_xai.runs.masks_file import Coding, SampleRecord, pack_record
from inr_xai.runs.masks_place import MasksPlace
from inr_xai.runs.stored_images import StoredImages
from inr_xai.runs.tar_members import TarWriter


class Store(ABC):
    """Where the images that a process explains are written."""

    @abstractmethod
    def commit(self, images: StoredImages, record: SampleRecord, *, within: Path | None = None) -> MasksPlace | None:
        """Writes an image, which is done from then on, and returns its place; None if it is stored already, and stays.

        Of several processes that do so at once, one is the first. A killed process leaves the image whole or not.

        Args:
            images: those of the run.
            within: see `inr_xai.runs.files.write_chunks`.

        Raises:
            RunFault: a fault of the machine.
        """


class ImageStore(Store):
    """Writes each image to a file of its own, masks/<id>.safetensors.

    It gets its name by a hard link, which never replaces a file.

    Args:
        masks: "lossless" compresses them to the bit; "float16" keeps the plain tensor `masks`, which every reader of
            safetensors understands.
    """

    def __init__(self, masks: Coding = "lossless"):
        self._masks = masks

    def commit(self, images: StoredImages, record: SampleRecord, *, within: Path | None = None) -> MasksPlace | None:
        if images.in_tars(record.sample_id):
            return None
        if not write_new(images.file_of(record.sample_id), pack_record(record, self._masks), within=within):
            return None
        return images.existing(record.sample_id)


class ShardStore(Store):
    """Appends images to tars, masks/<session>-<number>.tar, of which each process has its own.

    The run's folder is locked while it looks whether an image is stored, and writes it. Where there are no locks, two
    processes at once may both write an image; then the first tar by name counts for every reader.

    Args:
        masks: see `ImageStore`.
        megabytes: the size from which on a tar is full, and the next one begins.
    """

    def __init__(self, masks: Coding = "lossless", megabytes: int = 1000):
        self._masks, self._bytes = masks, megabytes * 10**6
        self._writer: TarWriter | None = None

    def commit(self, images: StoredImages, record: SampleRecord, *, within: Path | None = None) -> MasksPlace | None:
        if self._writer is None or self._writer.folder != images.folder:
            self._writer = TarWriter(images.folder, self._bytes)
        name, data = images.member_of(record.sample_id), pack_record(record, self._masks)
        with folder_lock(images.run):
            return None if images.stored([record.sample_id]) else self._writer.append(name, data, within=within)
