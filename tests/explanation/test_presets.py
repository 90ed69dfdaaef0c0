"""The presets of the Python API are those of the command line."""

from dataclasses import fields
from typing import Any

import pytest

from inr_xai.config import composed
from inr_xai.errors import UserError
from inr_xai.explanation.presets import PRESETS, preset_options
from inr_xai.instantiate import build_method
from inr_xai.method import Method


def shown(value: Any) -> Any:
    """A value that can be compared: objects by class and attributes."""
    value = getattr(value, "func", value)  # a partial stands for what it calls
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return value
    return type(value), {name: shown(part) for name, part in vars(value).items() if name != "parts"}


@pytest.mark.parametrize("name", ["fast", "best", "pyramid"])
@pytest.mark.slow
def test_a_preset_changes_what_the_command_line_changes(name: str) -> None:
    ours, before = Method(**preset_options(name)), Method()
    theirs, base = build_method(composed(f"+preset={name}")), build_method(composed())
    for option in fields(Method):
        of = option.name
        if of in ("areas", "explanations", "optimizer"):
            continue
        changes = shown(getattr(theirs, of)) != shown(getattr(base, of))
        assert changes == (shown(getattr(ours, of)) != shown(getattr(before, of))), of
        if changes:
            assert shown(getattr(ours, of)) == shown(getattr(theirs, of)), of


def test_the_preset_of_gpus() -> None:
    cfg = composed("+preset=gpu", "trainer.accelerator=cpu")
    assert {key: cfg[key] for key in PRESETS["gpu"]()} == PRESETS["gpu"]()


def test_other_names_are_refused() -> None:
    assert preset_options(None) == {}
    with pytest.raises(UserError, match=r"preset='fasst' is none of fast, best, gpu, pyramid; did you mean fast\?"):
        preset_options("fasst")
