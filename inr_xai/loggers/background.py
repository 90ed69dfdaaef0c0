"""Calls made in their order by one thread, so that whoever asks for them never waits."""

import queue
import threading
from collections.abc import Callable


class Background:
    """A daemon thread and its queue; the first call that raises ends it, and later ones are dropped.

    Args:
        on_failure: called with the exception, in that thread.

    >>> said = []
    >>> background = Background(said.append)
    >>> background.call(lambda: said.append("done"))
    >>> background.close(seconds=5), said
    (True, ['done'])
    """

    def __init__(self, on_failure: Callable[[Exception], object]) -> None:
        self._on_failure = on_failure
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._last: Callable[[], object] | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="background", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], object]) -> None:
        """Ask for a call; returns at once."""
        if not self._failed:
            self._calls.put(function)

    def close(self, *, seconds: float, last: Callable[[], object] | None = None) -> bool:
        """Wait for the calls still due, then for `last`, which is made even after a failure; whether all ended in time.

        What is left goes on in its thread, which does not keep the process alive.
        """
        self._last = last
        self._calls.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (function := self._calls.get()) is not None:
            if not self._failed:
                self._try(function)
        if self._last is not None:
            self._try(self._last)

    def _try(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            self._failed = True
            self._on_failure(error)
