"""Digests depend on every value, and a class that has moved keeps its digest."""

import torch

from inr_xai.digests import describe, digest
from inr_xai.perturbation import Jitter
from tests.helpers.comparison import Ramp


def test_a_digest_depends_on_every_value() -> None:
    parts = [describe(Ramp()), describe(Ramp(strength=2)), describe({"a": [1, None]}), describe({"a": [1, 0]})]
    assert len({digest({"part": part}) for part in parts}) == 4
    assert describe(torch.optim.Adam) == {"class": "torch.optim.adam.Adam", "arguments": {}}


def test_a_moved_class_is_named_by_its_old_path() -> None:
    description = describe(Jitter())
    assert description["class"] == "inr_xai.jitter.Jitter"
    moved = description | {"class": "inr_xai.perturbation.Jitter"}
    assert digest({"jitter": moved}) == digest({"jitter": description})
