"""Digests depend on every value, and a class that has moved keeps its digest."""

import hashlib

import torch
from torch import nn

from inr_xai.digests import describe, digest, weights_digest
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


def test_the_digest_of_weights_is_that_of_names_dtypes_shapes_and_bytes_in_the_order_of_names() -> None:
    weight, steps = torch.tensor([[1.0, -2.0]]), torch.tensor(3)
    joined = b"".join(
        f"\0{name}\0{dtype}\0{shape}\0".encode() + values.numpy().tobytes()
        for name, dtype, shape, values in [("a", "torch.int64", "()", steps), ("b", "torch.float32", "(1, 2)", weight)]
    )
    assert weights_digest({"b": weight, "a": steps}) == hashlib.sha256(joined).hexdigest()
    assert weights_digest({"a": torch.zeros(0)}) != weights_digest({"a": torch.zeros(0, 1)})
    half = torch.ones(2, dtype=torch.bfloat16)
    assert weights_digest({"a": half}) != weights_digest({"a": half.flip(0) * 2})


def test_what_is_no_tensor_in_a_model_s_state_counts_too() -> None:
    class Scaled(nn.Linear):
        scale = 2

        def get_extra_state(self) -> dict[str, int]:
            return {"scale": self.scale}

    model = Scaled(2, 1)
    before = weights_digest(model.state_dict())
    assert weights_digest(model.state_dict()) == before
    model.scale = 3
    assert weights_digest(model.state_dict()) != before
