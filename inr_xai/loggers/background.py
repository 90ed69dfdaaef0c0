"""Calls that one thread makes in their order, so that the caller never waits for them."""

import queue
import threading
from collections.abc import Callable


class Background:
    """A daemon thread with a queue of calls. After the first call that raises, the others are dropped.

    Args:
        on_failure: is called with the exception, in that thread.

    >>> results = []
    >>> background = Background(results.append)
    >>> background.call(lambda: results.append("done"))
    >>> background.close(seconds=5), results
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
        """Adds a call to the queue and returns at once."""
        if not self._failed:
            self._calls.put(function)

    def close(self, *, seconds: float, last: Callable[[], object] | None = None) -> bool:
        """Waits for the calls in the queue, then for `last`, which is made even after a failure.

        Returns:
            Whether all calls ended in time. Those that did not go on in their thread, which does not keep the process
            alive.
        """
        self._last = last
        self._calls.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        """Makes the calls; this is what the thread runs."""
        while (function := self._calls.get()) is not None:
            if not self._failed:
                self._try(function)
        if self._last is not None:
            self._try(self._last)

    def _try(self, function: Callable[[], object]) -> None:
        """Makes one call, and notes that it failed if it raises."""
        try:
            function()
        except Exception as error:
            self._failed = True
            self._on_failure(error)
