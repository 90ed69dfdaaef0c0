"""Unusual configurations: each is refused with one sentence, before any folder is made, or runs."""

from pathlib import Path

import pytest
from hydra.errors import HydraException

from inr_xai.config import check, sentence
from inr_xai.errors import UserError
from inr_xai.pipeline import run
from tests.config.unusual import BASE, REFUSED, RUNS, UNUSUAL
from tests.helpers.runs import configured, configured_fast


def compose(overrides: list[str]):
    try:
        return configured_fast(*BASE, *overrides)
    except Exception:
        return configured(*BASE, *overrides)


@pytest.mark.parametrize("overrides", [o for o, outcome in UNUSUAL if outcome == REFUSED], ids=lambda o: " ".join(o)[:60])
def test_refused(overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception) as caught:
        check(configured(*BASE, *overrides))
    text = sentence(caught.value)
    print(text)
    assert text is not None, repr(caught.value)
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []
