"""Calls in the background: the caller does not wait, the order is kept, and one failure drops the rest."""

import threading

from inr_xai.loggers.background import Background


def test_calls_are_made_in_order_and_last_comes_last() -> None:
    results: list[int] = []
    background = Background(lambda error: None)
    for number in range(20):
        background.call(lambda number=number: results.append(number))
    assert background.close(seconds=10, last=lambda: results.append(-1))
    assert results == [*range(20), -1]


def test_a_call_that_never_ends_holds_up_nobody() -> None:
    release = threading.Event()
    background = Background(lambda error: None)
    background.call(release.wait)
    background.call(lambda: None)
    assert not background.close(seconds=0.05)
    release.set()
    assert background.close(seconds=10)


def test_after_a_failure_only_last_is_called() -> None:
    results: list[str] = []
    background = Background(lambda error: results.append(str(error)))
    background.call(lambda: [][0])
    background.call(lambda: results.append("dropped"))
    assert background.close(seconds=10, last=lambda: results.append("last"))
    assert results == ["list index out of range", "last"]
