"""What a run knows of its results without their masks files: an index of one line an image, kept while the run goes on.

Each shard adds to a file of its own, and whoever asks reads those of all shards. The index only repeats what the masks
files hold. A masks file without a line, or that was changed since, is read once and gets a line; a line without its
masks file does not count.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inr_xai.runs.files import append_text, write_chunks
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index_lines import (
    RESULTS,
    IndexEntry,
    format_line,
    index_lines,
    parse_line,
    shard_file,
    shard_files,
)
from inr_xai.runs.masks_place import MasksPlace
from inr_xai.runs.results import StoredResults

if TYPE_CHECKING:  # what brings torch is imported late, as in `inr_xai.runs.folder`
    from inr_xai.runs.masks_file import SampleRecord

log = logging.getLogger(__name__)


class ResultIndex:
    """The index of a run, to which one shard of the run adds.

    Args:
        shard: the number of this shard, from 0, and how many there are.
    """

    def __init__(self, folder: RunFolder, shard: tuple[int, int] = (0, 1)):
        self.folder = folder
        self.file = shard_file(folder.path, shard, RESULTS)
        self._damaged: set[Path] = set()

    def add(self, record: "SampleRecord") -> None:
        """Adds the line of an image that has just been committed. Raises RunFault as `append_text` does."""
        self._append(record, self.folder.place_of(record.sample_id))

    def read(self) -> StoredResults:
        """Returns what is stored of all images whose masks file is there, those of other shards included.

        Raises:
            UserError: a masks file has to be read for that, and is damaged or has the name of another image.
        """
        results, unknown = self.known()
        if self.file in self._damaged:
            good = (line for place, line in index_lines(self.file) if parse_line(line, self.file, place) is not None)
            write_chunks(self.file, good, within=self.folder.path)
            results, unknown = self.known()
        return results if not unknown else StoredResults({**results, **self._read_masks_files(unknown)})

    def known(self) -> tuple[StoredResults, list[MasksPlace]]:
        """Returns what the index says of the images that are there, and where those are that it does not know.

        A masks file that was changed since its line was written is one of the latter.
        """
        lines, results, unknown = self._lines(), dict[str, IndexEntry](), list[MasksPlace]()
        for place in self.folder.images.places():
            line = lines.get((self._name(place), place.start, place.size, place.mtime))
            if line is None:
                unknown.append(place)
            else:
                results.setdefault(*line)
        return StoredResults(results), unknown

    def _lines(self) -> dict[tuple[str, int, int | None, int], tuple[str, IndexEntry]]:
        """Returns what the lines of all shards say: the image, and its entry.

        The keys are name, first byte, size and time of the masks file, so that a line about a file that was made anew
        since does not stand in the way of the line about the new one, wherever the two are.
        """
        known: dict[tuple[str, int, int | None, int], tuple[str, IndexEntry]] = {}
        self._damaged.clear()
        for file in shard_files(self.folder.path, RESULTS):
            damaged = 0
            for place, line in index_lines(file):
                found = parse_line(line, file, place)
                if found is None:
                    damaged += 1
                else:
                    name, sample_id, entry = found
                    known[name, entry.start, entry.size, entry.mtime] = sample_id, entry
            if damaged:
                self._damaged.add(file)
                log.warning("%s has %d damaged lines, which are made again from the masks files", file, damaged)
        return known

    def _read_masks_files(self, places: Sequence[MasksPlace]) -> dict[str, IndexEntry]:
        """Adds masks files to the index, one after another, and returns what it says of them now."""
        began, found = time.monotonic(), {}
        log.info("%d masks files are not in the index of %s: reading them", len(places), self.folder.path)
        for place in sorted(places):
            record = self.folder.images.read_at(place)
            found[record.sample_id] = self._append(record, place)
        log.info("%d masks files read in %.0f s", len(places), time.monotonic() - began)
        return found

    def _append(self, record: "SampleRecord", place: MasksPlace) -> IndexEntry:
        """Adds the line of an image, and returns what it says."""
        line = format_line(record, self._name(place), place)
        parsed = parse_line(line.encode(), self.file, append_text(self.file, line, within=self.folder.path))
        assert parsed is not None
        return parsed[2]

    def _name(self, place: MasksPlace) -> str:
        """Returns the path of a masks file below the folder of masks; that of a member begins with the tar's."""
        name = self.folder.images.name_of(place)
        return f"{place.file.name}/{name}" if place.member else name
