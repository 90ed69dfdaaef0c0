"""The bar of the Python API counts steps of all images, also of images that end early or fail."""

from typing import Any

import pytest
import torch

from inr_xai.explanation import progress
from inr_xai.explanation.explain import explain
from inr_xai.explanation.progress import StepBar, is_watched
from tests.explanation.test_explain import SHORT
from tests.helpers.planted import Normalised, planted

SHOWN: list["Bar"] = []


class Bar:
    """What a bar needs of tqdm; keeps what it is told."""

    def __init__(self, total: int, **_: Any):
        self.total, self.n, self.words, self.closed = total, 0, [], False
        SHOWN.append(self)

    def update(self, steps: int) -> None:
        """Counts."""
        self.n += steps

    def set_description(self, words: str, refresh: bool) -> None:
        """Keeps the words once."""
        if self.words[-1:] != [words]:
            self.words.append(words)

    def close(self) -> None:
        """Keeps that it was closed."""
        self.closed = True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    """The bars that are shown."""
    SHOWN.clear()
    monkeypatch.setattr(progress, "_bar_class", lambda: Bar)
    return SHOWN


def test_every_image_is_counted_once(shown: list[Bar]) -> None:
    images = [planted((4, 4)), torch.full((3, 24, 24), torch.nan), planted((9, 9))]
    options = SHORT | {"explanations": 2, "transform": None, "input_mean": 0.0, "input_std": 1.0}
    results = explain(Normalised(), images, progress=True, **options)
    assert [one is None for one in results] == [False, True, False]
    (bar,) = shown
    assert (bar.total, bar.n, bar.closed) == (3 * 2 * 3, 3 * 2 * 3, True)
    assert bar.words == [
        "image 1 of 3",
        "image 2 of 3, explanation 1 of 2",
        "image 2 of 3, explanation 2 of 2",
        "image 3 of 3, explanation 1 of 2",
        "image 3 of 3, explanation 2 of 2",
    ]


def test_nothing_is_shown_where_nobody_watches(shown: list[Bar], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert not is_watched()
    explain(Normalised(), planted((4, 4)), **SHORT | {"transform": None})
    assert shown == []
    bar = StepBar(2, explanations=1, steps=3, shown=False)
    bar.next_images(2)
    bar.close()
