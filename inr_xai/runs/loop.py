"""Work on one image after another, where whatever one of them raises costs that image alone.

The one rule of what a failure costs, for explaining, evaluating, auditing and comparing: the image is noted with its
reason, the log says it (with the traceback where it is no refusal), and the other images go on.
"""

import logging
from collections.abc import Callable, Sequence
from types import TracebackType

log = logging.getLogger(__name__)

Note = Callable[[str, str], object]
"""Is told of an image that failed, and why."""


class Guard:
    """A block of work on one image; after it, `failed` tells whether it raised.

    Args:
        name: of the image.
        note: told where it fails.

    >>> noted = []
    >>> with Guard("a", lambda *failure: noted.append(failure)) as guard:
    ...     raise ValueError("no such file")
    >>> guard.failed, noted
    (True, [('a', 'no such file')])
    """

    def __init__(self, name: str, note: Note):
        self._name, self._note = name, note
        self.failed = False

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.failed = True
        reason = reason_of(error)
        log.warning("%s failed: %s", self._name, reason, exc_info=error if is_unexpected(error) else None)
        self._note(self._name, reason)
        return True


def each_image(ids: Sequence[str], work: Callable[[str, str], int], *, note: Note, what: str = "image") -> int:
    """Works on every image in turn, and returns how many failures there were.

    Args:
        work: given an image's id and its place ("image 1 of 8, ID"), returns how often it failed in part.
        note: told of an image whose work raised, which is one failure.
        what: the ids name.
    """
    failures = 0
    for position, image_id in enumerate(ids, start=1):
        with Guard(image_id, note) as guard:
            failures += work(image_id, f"{what} {position} of {len(ids)}, {image_id}")
        failures += guard.failed
    return failures


def reason_of(error: Exception) -> str:
    """An error as one line; what is no refusal of ours tells its kind too.

    >>> reason_of(ValueError("no object")), reason_of(RuntimeError("out of\\nmemory"))
    ('no object', 'RuntimeError: out of memory')
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if is_unexpected(error) or not text else text


def is_unexpected(error: Exception) -> bool:
    """Whether it is no refusal, so that its traceback is wanted."""
    return not isinstance(error, ValueError | OSError)
