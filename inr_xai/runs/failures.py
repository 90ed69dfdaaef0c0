"""The images that a run could not explain: each shard notes its own, and failures.csv joins those of all shards."""

import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from inr_xai.runs import index_lines
from inr_xai.runs.files import append_text, format_csv, write_bytes
from inr_xai.runs.folder import FAILURE_COLUMNS, FAILURES, RunFolder
from inr_xai.runs.lock import folder_lock
from inr_xai.runs.structure import require

NOTE = {"id": str, "reason": str, "time": float}
"""The shape of a line of a shard's file."""


class FailureNotes:
    """The failures that one shard notes, in a file of its own beside its index.

    Args:
        shard: the number of this shard, from 0, and how many there are.
    """

    def __init__(self, folder: RunFolder, shard: tuple[int, int] = (0, 1)):
        self._folder = folder
        self._file = index_lines.shard_file(folder.path, shard, index_lines.FAILURES)

    def begin(self, plan: Collection[str], done: Collection[str]) -> None:
        """Takes the images that are tried again out of failures.csv, and those that are done."""
        with folder_lock(self._folder.path):
            if not self._files():  # a run of a version that knew failures.csv alone
                self.take_over(self._folder)
            tried = set(plan)
            self._write({name: why for name, why in self.read(done).items() if name not in tried})

    def add(self, sample_id: str, reason: str) -> None:
        """Notes an image that failed, in failures.csv too."""
        self._folder.require_there()
        self._note(sample_id, reason, when=time.time())
        line = format_csv([dict(zip(FAILURE_COLUMNS, (sample_id, reason), strict=True))], header=False)
        with folder_lock(self._folder.path):
            append_text(self._folder.path / FAILURES, line)

    def take_over(self, other: RunFolder) -> None:
        """Adds what the shards of another run have noted, or what its failures.csv says if it is of an old version."""
        files = index_lines.shard_files(other.path, index_lines.FAILURES)
        for note in (note for file in files for note in read_notes(file)):
            self._note(note["id"], note["reason"], when=note["time"])
        if not files:
            for sample_id, reason in other.read_failures().items():
                self._note(sample_id, reason, when=0.0)

    def conclude(self, done: Collection[str]) -> dict[str, str]:
        """Writes failures.csv anew and returns it: the last reason of each image that any shard noted, and not done."""
        with folder_lock(self._folder.path):
            failures = self.read(done)
            self._write(failures)
        own = [note for note in read_notes(self._file) if failures.get(note["id"]) == note["reason"]]
        last = {note["id"]: json.dumps(note) + "\n" for note in own}
        if self._file.exists() and len(last) < self._file.read_bytes().count(b"\n"):
            write_bytes(self._file, "".join(last.values()).encode(), within=self._folder.path)
        return failures

    def read(self, done: Collection[str]) -> dict[str, str]:
        """Returns image id -> the last reason that any shard noted, without the images that are done."""
        notes: dict[str, tuple[float, str]] = {}
        for file in self._files():
            for note in read_notes(file):
                if note["id"] not in done:
                    notes[note["id"]] = max(notes.get(note["id"], (0.0, "")), (note["time"], note["reason"]))
        return {sample_id: reason for sample_id, (_, reason) in sorted(notes.items())}

    def _files(self) -> list[Path]:
        return index_lines.shard_files(self._folder.path, index_lines.FAILURES)

    def _note(self, sample_id: str, reason: str, *, when: float) -> None:
        line = json.dumps({"id": sample_id, "reason": reason, "time": when}) + "\n"
        append_text(self._file, line, within=self._folder.path)

    def _write(self, failures: Mapping[str, str]) -> None:
        rows = [dict(zip(FAILURE_COLUMNS, pair, strict=True)) for pair in failures.items()]
        content = format_csv(rows, FAILURE_COLUMNS).encode()
        write_bytes(self._folder.path / FAILURES, content, within=self._folder.path)


def noted(run: Path) -> set[str]:
    """Returns the images of which any shard has noted a failure."""
    return {note["id"] for file in index_lines.shard_files(run, index_lines.FAILURES) for note in read_notes(file)}


def read_notes(file: Path) -> Iterator[dict[str, Any]]:
    """Yields the notes in a shard's file; a line that a killed process left incomplete is none."""
    for line in file.read_bytes().splitlines() if file.exists() else ():
        with suppress(ValueError):
            note = json.loads(line)
            require(note, NOTE)
            yield note
