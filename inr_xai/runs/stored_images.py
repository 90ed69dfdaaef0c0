"""The images that a run folder has, in files of their own or in tars: which there are, and what is stored of each.

Whoever reads asks here, and need not know how a run was stored; one folder may hold both. An image that is there twice,
because two processes explained it, counts once: in a file of its own, else in the first tar by name.
"""

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inr_xai.data.names import ASIDE, files_below, hashed_name, id_file, id_of_name
from inr_xai.errors import UserError
from inr_xai.runs.masks_place import MasksPlace
from inr_xai.runs.tar_members import TAR, TarContent, fits, read_members

if TYPE_CHECKING:  # what brings torch is imported late, as in `inr_xai.runs.folder`
    from inr_xai.runs.masks_file import SampleRecord

MASKS, MASKS_SUFFIX = "masks", ".safetensors"
log = logging.getLogger(__name__)


class StoredImages:
    """The masks files below a run's folder of masks.

    A name is that of a masks file: its path below the folder of masks, or below the root of its tar.
    """

    def __init__(self, run: Path):
        self.run, self.folder = run, run / MASKS
        self._tars: dict[str, TarContent] = {}
        self._members: dict[str, MasksPlace] = {}

    def file_of(self, sample_id: str) -> Path:
        """Returns the path of the file of its own that an image has, if it has one."""
        return id_file(self.folder, sample_id, MASKS_SUFFIX)

    def member_of(self, sample_id: str) -> str:
        """Returns the name of the member that an image has in a tar."""
        name = self.file_of(sample_id).relative_to(self.folder).as_posix()
        return name if fits(name) else f"{hashed_name(sample_id)}{MASKS_SUFFIX}"

    def ids(self) -> set[str]:
        """Returns the ids of all images."""
        own, tars = self._look()
        members = self._members_of(tars)
        names = {*own, *members}
        hashed = {name for name in names if id_of_name(name.removesuffix(MASKS_SUFFIX)) is None}
        doubtful = [MasksPlace(self.folder / name) for name in hashed & own.keys()]
        doubtful += [members[name] for name in hashed & members.keys()]
        said = {known for place in doubtful if (known := self.id_of(place)) is not None}
        return said.union(name.removesuffix(MASKS_SUFFIX) for name in names - hashed)

    def places(self) -> Iterator[MasksPlace]:
        """Yields where the images are, each once unless its id stands in the file alone."""
        own, tars = self._look()
        for name, entry in own.items():
            with suppress(FileNotFoundError):
                stat = entry.stat()
                yield MasksPlace(self.folder / name, 0, stat.st_size, "", stat.st_mtime_ns)
        yield from (place for name, place in self._members_of(tars).items() if name not in own)

    def find(self, sample_id: str) -> MasksPlace | None:
        """Returns where an image is; None if it is not there."""
        file = self.file_of(sample_id)
        with suppress(FileNotFoundError, NotADirectoryError):
            stat = file.stat()
            return MasksPlace(file, 0, stat.st_size, "", stat.st_mtime_ns)
        name = self.member_of(sample_id)
        if name not in self._members or not self._members[name].file.exists():
            self._look_at_tars()
        return self._members.get(name)

    def stored(self, sample_ids: Collection[str]) -> set[str]:
        """Returns those of some images that are there by now, from one look at the tars."""
        stored = {sample_id for sample_id in sample_ids if self.file_of(sample_id).exists()}
        if len(stored) < len(sample_ids):
            self._look_at_tars()
        if self._members:
            stored.update(sample_id for sample_id in sample_ids if self.member_of(sample_id) in self._members)
        return stored

    def in_tars(self, sample_id: str) -> bool:
        """Returns whether an image is in a tar by now; if there were none at the last look, they are not looked for."""
        if self._tars:
            self._look_at_tars()
        return bool(self._members) and self.member_of(sample_id) in self._members

    def existing(self, sample_id: str) -> MasksPlace:
        """Returns where an image is. Raises UserError if it is not there."""
        place = self.find(sample_id)
        if place is None:
            raise UserError(f"{self.run} has no masks of {sample_id!r}; inr_xai.load(run).keys() lists what it has")
        return place

    def name_of(self, place: MasksPlace) -> str:
        """Returns the name of a masks file."""
        return place.member or place.file.relative_to(self.folder).as_posix()

    def id_of(self, place: MasksPlace) -> str | None:
        """Returns the image of a masks file.

        If the name has a hash, the file itself says the id; None if it is damaged or has the name of another image.
        """
        name = self.name_of(place)
        known = id_of_name(name.removesuffix(MASKS_SUFFIX))
        if known is not None:
            return known
        from inr_xai.runs.masks_file import read_facts

        try:
            stored = str(read_facts(place)[0]["sample_id"])
        except UserError as error:
            log.warning("%s; it does not count", error)
            return None
        named = self.member_of(stored) if place.member else self.file_of(stored).relative_to(self.folder).as_posix()
        return stored if named == name else None

    def read(self, sample_id: str) -> "SampleRecord":
        """Returns what is stored of an image.

        Raises:
            UserError: its masks file is missing, damaged, or that of another image.
        """
        return self.read_at(self.existing(sample_id))

    def read_at(self, place: MasksPlace) -> "SampleRecord":
        """Returns what is stored at a place. Raises UserError as `read` does."""
        from inr_xai.runs.masks_file import read_record

        record = read_record(place)
        names = (self.file_of(record.sample_id).relative_to(self.folder).as_posix(), self.member_of(record.sample_id))
        if self.name_of(place) != names[bool(place.member)]:
            raise UserError(f"{place} holds the masks of {record.sample_id!r}; give it the name that it had")
        return record

    def facts(self, sample_id: str) -> tuple[dict[str, Any], bool]:
        """Returns what is stored of an image beside tensors, and whether there is a checksum, see `read_facts`."""
        from inr_xai.runs.masks_file import read_facts

        return read_facts(self.existing(sample_id))

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yields the files on the disk, tars included: the path below the run's folder, and what the system knows."""
        own, tars = self._look()
        for name, entry in {**own, **tars}.items():
            with suppress(FileNotFoundError):
                yield f"{MASKS}/{name}", entry.stat()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yields what is wrong with the tars, whose headers are read anew: the file's name, and the problem."""
        own, tars = self._look()
        first = dict.fromkeys(own, "a file of its own")
        for tar in sorted(tars):
            content = read_members(self.folder / tar)
            yield from ((f"{MASKS}/{tar}", problem) for problem in content.faults)
            for place in content.members:
                if place.member in first:
                    where = first[place.member]
                    yield f"{MASKS}/{tar}", f"has {place.member!r}, which is also in {where}, which counts"
                first.setdefault(place.member, f"{MASKS}/{tar}")

    def _look(self) -> tuple[dict[str, "os.DirEntry[str]"], dict[str, "os.DirEntry[str]"]]:
        """Looks at the disk, and returns the files of single images and the tars, by their names."""
        own: dict[str, os.DirEntry[str]] = {}
        tars: dict[str, os.DirEntry[str]] = {}
        for name, entry in files_below(self.folder, MASKS_SUFFIX, TAR):
            if name.endswith(MASKS_SUFFIX):
                own[name] = entry
            elif "/" not in name:
                tars[name] = entry
        return own, tars

    def _look_at_tars(self) -> None:
        """Finds what is in the tars by now, without a look at the files of single images in folders."""
        tars: list[str] = []
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(TAR) and not entry.name.startswith(ASIDE) and entry.is_file():
                    tars.append(entry.name)
        self._members_of(tars)

    def _members_of(self, tars: Iterable[str]) -> dict[str, MasksPlace]:
        """Returns the members of tars by their names; of a tar that has grown, what is new is read.

        Each tar is opened for that, so that a network file system asks how long it is now.
        """
        before, self._tars, nothing = self._tars, {}, TarContent([], [], 0)
        for name in sorted(tars):
            with suppress(FileNotFoundError):
                self._tars[name] = read_members(self.folder / name, before.get(name, nothing))
        # Most looks find nothing new.
        if before.keys() != self._tars.keys() or any(
            before[name].members is not content.members for name, content in self._tars.items()
        ):
            self._members = {}
            for content in self._tars.values():
                for place in content.members:
                    if place.member.endswith(MASKS_SUFFIX):
                        self._members.setdefault(place.member, place)
        return self._members
