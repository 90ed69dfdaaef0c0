"""Where the masks file of an image is: in a file of its own, or in a tar."""

import shlex
from pathlib import Path
from typing import NamedTuple


class MasksPlace(NamedTuple):
    """Where a masks file is: in a file of its own, or in a tar.

    Args:
        file: the file of its own, or the tar.
        start, size: which bytes of it; a size of None is the rest.
        member: the name of the member of the tar; empty for a file of its own.
        mtime: when the file was written, in nanoseconds; 0 if nobody has asked.
    """

    file: Path
    start: int = 0
    size: int | None = None
    member: str = ""
    mtime: int = 0

    def __str__(self) -> str:
        return f"{self.file} ({self.member})" if self.member else str(self.file)

    @property
    def remedy(self) -> str:
        """What a refusal advises."""
        how = f"delete it (tar --delete -f {self.file.name} {shlex.quote(self.member)})" if self.member else "delete it"
        return f"{how} and run the same command to make it again"

    def read(self, most: int | None = None) -> bytes:
        """Returns the content, or its first bytes, `most` at most."""
        count = -1 if self.size is None else self.size
        if most is not None:
            count = most if count < 0 else min(most, count)
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(count)
