"""Which weights of a file are taken: those under the one prefix that has all of the model's keys, raw or averaged."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inr_xai.classifier import custom
from inr_xai.classifier.checkpoint import read_state
from inr_xai.errors import UserError
from tests.classifier.test_frozen import network

State = dict[str, Tensor]
OTHER = torch.zeros(3)


def state_of(seed: int) -> State:
    """A state of the small network, of its own for each seed."""
    model = network()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    return model.state_dict()


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def loaded(path: Path, content: Any, key: str | None = None) -> State:
    """The weights that the small network has after it has loaded a file of this content."""
    torch.save(content, path / "a.pth")
    model = network()
    custom(model, checkpoint=path / "a.pth", checkpoint_key=key)
    return model.state_dict()


def equal(state: State, other: State) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


WEIGHTS, AVERAGED = state_of(1), state_of(2)
WITHIN = {key.replace("norm.", "norm._orig_mod.").replace("fc.", "fc.module."): value for key, value in WEIGHTS.items()}


@pytest.mark.parametrize(
    ("content", "taken", "left"),
    [
        (WEIGHTS | {"loss.weight": OTHER, "n_averaged": torch.tensor(3)}, None, "2 other tensors (loss.weight, n_aver"),
        (prefixed("module.", WEIGHTS) | {"n_averaged": torch.tensor(3)}, "module", "1 other tensors (n_averaged)"),
        (prefixed("net.backbone.", WEIGHTS) | {"net.head.w": OTHER}, "net.backbone", "1 other tensors (net.head.w)"),
        (prefixed("_orig_mod.module.model.", WEIGHTS) | {"metric.total": OTHER}, "_orig_mod.module.model", "metric"),
        (WITHIN | {"criterion.weight": OTHER}, None, "1 other tensors (criterion.weight)"),
        (prefixed("encoder.model.", WITHIN) | {"proj.weight": OTHER}, "encoder.model", "1 other tensors (proj.weight)"),
        (
            {"state_dict": prefixed("model.", WEIGHTS) | {f"m.{i}": OTHER for i in range(9)}},
            "state_dict.model",
            "9 other",
        ),
        ({"network": WEIGHTS, "optimizer": {"state": {0: {"exp_avg": OTHER}}}}, "network", ""),
        ({"anything": {"deep": {"weights": WEIGHTS}}, "epoch": 3}, "anything.deep.weights", ""),
        (WEIGHTS | {"conv.total_ops": OTHER}, None, ""),
    ],
)
def test_the_weights_under_one_prefix_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: Any, taken: str | None, left: str
) -> None:
    with caplog.at_level(logging.INFO):
        assert equal(loaded(tmp_path, content), WEIGHTS)
    lines = [record.getMessage() for record in caplog.records if "classifier.checkpoint=" in record.getMessage()]
    assert len(lines) == (1 if taken or left else 0)
    assert not taken or f"took the weights of {taken}" in lines[0]
    assert ("left out" in "".join(lines)) == bool(left)
    assert not left or left in lines[0]


@pytest.mark.parametrize("raw", ["state_dict", "model", "model_state", "net", "student", "state_dict.model"])
@pytest.mark.parametrize("averaged", ["state_dict_ema", "model_ema", "ema", "ema_state_dict", "params_ema", "teacher"])
@pytest.mark.slow
def test_averaged_weights_come_before_raw_ones_unless_one_chooses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, raw: str, averaged: str
) -> None:
    outer, _, inner = raw.partition(".")
    content = {outer: {inner: WEIGHTS} if inner else WEIGHTS, averaged: prefixed("module.", AVERAGED)}
    with caplog.at_level(logging.INFO):
        assert equal(loaded(tmp_path, content), AVERAGED)
    assert f"took the weights of {averaged}.module and not of {raw} (classifier.checkpoint_key chooses)" in caplog.text
    assert equal(loaded(tmp_path, content, raw), WEIGHTS)
    assert equal(loaded(tmp_path, content, averaged), AVERAGED)


def test_averaged_weights_beside_raw_ones_in_one_dict(tmp_path: Path) -> None:
    content = {"state_dict": prefixed("model.", WEIGHTS) | prefixed("ema_model.module.", AVERAGED)}
    assert equal(loaded(tmp_path, content), AVERAGED)
    assert equal(loaded(tmp_path, content, "state_dict.model"), WEIGHTS)


def test_several_weights_without_a_preferred_one_are_refused(tmp_path: Path) -> None:
    content = {"state_dict": prefixed("encoder_q.", WEIGHTS) | prefixed("encoder_k.", AVERAGED)}
    message = r"several different weights of the model \(state_dict\.encoder_q, state_dict\.encoder_k\); choose with cl"
    with pytest.raises(UserError, match=message):
        loaded(tmp_path, content)
    assert equal(loaded(tmp_path, content, "state_dict.encoder_k"), AVERAGED)
    same = {"state_dict": prefixed("encoder_q.", WEIGHTS) | prefixed("encoder_k.", WEIGHTS)}
    assert equal(loaded(tmp_path, same), WEIGHTS)


def test_a_key_that_is_not_in_the_file_is_refused(tmp_path: Path) -> None:
    message = (
        r"checkpoint_key='models' is not in '.*a\.pth', which holds tensors below model, ema; did you mean model\?"
    )
    with pytest.raises(UserError, match=message):
        loaded(tmp_path, {"model": WEIGHTS, "ema": AVERAGED}, "models")
    with pytest.raises(UserError, match=r"checkpoint_key='model' names a part of a file; give classifier.checkpoint"):
        custom(network(), checkpoint_key="model")


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("extra", ["fc.1.weight", "drop.bias", "7.weight"])
def test_keys_within_the_models_own_parts_are_of_another_network(tmp_path: Path, prefix: str, extra: str) -> None:
    content = prefixed(prefix, WEIGHTS | {extra: OTHER})
    with pytest.raises(UserError, match=rf"is not one of Sequential: 1 are unexpected \(first: {extra}\); give"):
        loaded(tmp_path, content)


def test_the_part_whose_shapes_fit_is_taken(tmp_path: Path) -> None:
    """A smaller part has the same keys."""
    model = nn.Linear(3, 2)
    state = {"head.weight": torch.ones(2, 3), "head.bias": torch.ones(2), "neck.weight": OTHER, "neck.bias": OTHER}
    torch.save(state, tmp_path / "a.pth")
    custom(model, checkpoint=tmp_path / "a.pth")
    assert torch.equal(model.weight, torch.ones(2, 3))


def test_a_normalisation_that_is_left_out_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = prefixed("model.", WEIGHTS) | {"normalize.mean": torch.tensor([0.5, 0.25, 0.0])[:, None, None]}
    assert equal(loaded(tmp_path, content), WEIGHTS)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "a normalisation within the model was left out (normalize.mean = [0.5, 0.25, 0.0])" in warning


def test_the_state_of_a_training_is_passed_over_unless_it_is_asked_for(tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS, "callbacks": {"EMA": {"weights": AVERAGED}}}
    assert equal(loaded(tmp_path, content), WEIGHTS)
    assert equal(loaded(tmp_path, content, "callbacks.EMA"), AVERAGED)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    content = WEIGHTS | {"fc.weight": (WEIGHTS["fc.weight"] * 10).to(torch.int8)}
    with pytest.raises(UserError, match=r"1 are no floating-point numbers \(first: fc\.weight is torch\.int8\)"):
        loaded(tmp_path, content)


@pytest.mark.parametrize("change", [lambda value: value.to("meta"), lambda value: value.to_sparse()])
def test_tensors_that_cannot_be_copied_are_refused(tmp_path: Path, change: Any) -> None:
    with pytest.raises(UserError, match=r"cannot be copied into Sequential .*; save its weights as dense tensors"):
        loaded(tmp_path, WEIGHTS | {"fc.weight": change(WEIGHTS["fc.weight"])})


def test_half_precision_and_missing_counters_are_loaded(tmp_path: Path) -> None:
    halves = {key: value.half() for key, value in WEIGHTS.items() if "tracked" not in key}
    state = loaded(tmp_path, halves)
    assert all(torch.equal(state[key], value.float()) for key, value in halves.items())


def test_a_checkpoint_keeps_the_names_of_its_dicts(tmp_path: Path) -> None:
    torch.save({"a": {"w": OTHER}, "b": {"c": {"w": OTHER}}, "optimizer": {"w": OTHER}}, tmp_path / "a.pth")
    checkpoint = read_state(tmp_path / "a.pth")
    assert list(checkpoint.tensors) == ["a.w", "b.c.w"]
    assert checkpoint.parts == ("a", "b.c")
