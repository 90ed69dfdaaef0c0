"""Work on one image after another: whatever one of them raises costs that image alone.

This is the one rule of what a failure costs, for explaining, evaluating, auditing and comparing: the image is noted
with the reason, the log says it (with the traceback if it is no refusal), and the other images go on. A fault of the
machine alone, such as a full disk, ends the work, because no image is to blame.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import TypeVar

from inr_xai.errors import RunFault, is_out_of_memory

log = logging.getLogger(__name__)

ImageT = TypeVar("ImageT")
Note = Callable[[str, str], object]
"""A function that is called with the id of an image that failed, and the reason."""


class Guard:
    """A context for the work on one image. Afterwards, `error` is the Exception that the work raised, if it did.

    A RunFault passes.

    Args:
        name: the id of the image.
        note: is called with the name and the reason if the work fails.

    >>> failures = []
    >>> with Guard("a", lambda name, reason: failures.append((name, reason))) as guard:
    ...     raise ValueError("no such file")
    >>> guard.failed, failures
    (True, [('a', 'no such file')])
    """

    def __init__(self, name: str, note: Note):
        self._name, self._note = name, note
        self.error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether the work raised an Exception."""
        return self.error is not None

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, RunFault):
            return False
        self.error = error
        reason = reason_of(error)
        log.warning("%s failed: %s", self._name, reason, exc_info=error if is_unexpected(error) else None)
        self._note(self._name, reason)
        return True


def each_image(ids: Sequence[str], work: Callable[[str, str], int], *, note: Note, what: str = "image") -> int:
    """Works on every image in turn, and returns the number of failures.

    Args:
        work: is called with an image's id and its place ("image 1 of 8, ID"), and returns how many parts of it failed.
        note: is called with the id and the reason if the work on an image raises, which counts as one failure.
        what: what the ids name, for the place.
    """
    failures = 0
    for position, image_id in enumerate(ids, start=1):
        with Guard(image_id, note) as guard:
            failures += work(image_id, f"{what} {position} of {len(ids)}, {image_id}")
        failures += guard.failed
    return failures


def each_part(
    image_id: str,
    parts: Collection[str],
    *,
    read: Callable[[], ImageT],
    work: Callable[[str, ImageT], object],
    note: Note,
) -> int:
    """Reads an image, works on each part of it in turn (one method, say), and returns how many parts failed.

    An image that cannot be read costs all of its parts; a part that fails costs itself alone.

    Args:
        parts: the names of the parts.
        read: returns the image.
        work: is called with a part's name and the image.
        note: is called with the part's name and the reason for each part that failed.

    >>> each_part("a", ["good", "bad"], read=lambda: 0, work=lambda part, image: {"good": 1}[part], note=print)
    bad KeyError: 'bad'
    1
    >>> each_part("a", ["good", "bad"], read=lambda: open("/nowhere"), work=print, note=lambda part, reason: None)
    2
    """

    def note_parts(*failed: str) -> Note:
        return lambda _, reason: [note(part, reason) for part in failed]

    with Guard(image_id, note_parts(*parts)) as reading:
        image = read()
    if reading.failed:
        return len(parts)
    failures = 0
    for part in parts:
        with Guard(f"{part} on {image_id}", note_parts(part)) as working:
            work(part, image)
        failures += working.failed
    return failures


def reason_of(error: Exception) -> str:
    """Returns what an error says, on one line; if it is unexpected, with the name of its class.

    >>> reason_of(ValueError("no object")), reason_of(RuntimeError("a\\nbug"))
    ('no object', 'RuntimeError: a bug')
    >>> reason_of(MemoryError())
    'the memory is used up (MemoryError); give a smaller masks_per_forward, or a smaller input'
    """
    name, text = type(error).__name__, " ".join(str(error).split())
    if is_out_of_memory(error):
        return f"the memory is used up ({text or name}); give a smaller masks_per_forward, or a smaller input"
    if not text:
        return name
    return f"{name}: {text}" if is_unexpected(error) else text


def is_unexpected(error: Exception) -> bool:
    """Returns whether an error is no refusal, nor about a file or the memory, so that its traceback is wanted."""
    return not (isinstance(error, ValueError | OSError) or is_out_of_memory(error))
