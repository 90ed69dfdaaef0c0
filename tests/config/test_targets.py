"""The walk over the targets, on small functions of every kind of signature, and what constructors say of arguments."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from inr_xai.config import sentence
from inr_xai.config.targets import argument, check_target
from inr_xai.errors import UserError

NO_FUNCTION = "a value, not a function"


def refusal(act: Callable[[], Any]) -> str:
    """Returns the sentence that the program would print."""
    with pytest.raises((UserError, InstantiationException)) as caught:
        act()
    text = sentence(caught.value)
    assert text is not None
    assert "\n" not in text
    return text


def plain(a: int, b: float = 1.0, *, c: Literal["x", "y"] | None = None) -> tuple:
    return a, b, c


def open_ended(first: int, **rest: Any) -> tuple:
    return first, rest


def by_position(first: int, /, second: Any = None) -> tuple:
    return first, second


def needs_much(*, area: float) -> None:
    if area > 1:
        raise ValueError(f"expected area <= 1, got {area}")
    raise RuntimeError("a bug")


class Configured:
    """A class whose constructor takes more than its signature says, as those of transformers' configurations."""

    @functools.wraps(plain)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.classes = kwargs.get("classes", 2)

    @property
    def classes(self) -> int:
        return self._classes

    @classes.setter
    def classes(self, value: int) -> None:
        self._classes = value

    @property
    def fixed(self) -> int:
        return 1


def node(function: str, **arguments: Any) -> dict[str, Any]:
    """Returns the node of a function of this file."""
    return {"_target_": f"{__name__}.{function}", **arguments}


@pytest.mark.parametrize(
    "good",
    [
        node("plain", a=1),
        node("plain", a=1, b=2, c="y"),
        node("plain", a=1, c=None, _convert_="all", _recursive_=False),
        node("plain", _args_=[1]),
        node("plain", _partial_=True),
        node("open_ended", first=1, anything=2),
        node("Configured", b=2.0, classes=3),
        node("by_position", _args_=[1], second=node("plain", a=2)),
        node("by_position", _args_=[1], second=[node("plain", a=2), 3]),
        {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1},
        {"_target_": "torch.nn.Identity", "whatever": 1},
    ],
)
def test_walk_accepts(good: dict[str, Any]) -> None:
    check_target(good, "x", ["tests"])


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        (node("plain"), ["x.a is required", "x.a=VALUE", "x._partial_=true"]),
        (node("plain", _args_=[1], d=1), ["x.d=1", "it takes a, b, c"]),
        (node("plain", _partial_=True, d=1), ["x.d=1", "not an argument"]),
        (node("Configured", fixed=3), ["x.fixed=3", "not an argument"]),
        (node("Configured", clases=3), ["x.clases=3", "not an argument"]),
        (node("plain", a="1"), ["x.a=1", "must be int"]),
        (node("plain", a=True), ["x.a=true", "must be int"]),
        (node("plain", a=1, b=None), ["x.b=null", "must be float"]),
        (node("plain", a=1, c="z"), ["x.c=z", "x | y"]),
        (node("open_ended", other=1), ["x.first is required"]),
        (node("open_ended", first="one", other=1), ["x.first=one", "must be int"]),
        (node("by_position"), ["x.first is required"]),
        (node("plain", a=1, _partail_=True), ["x._partail_=true", "did you mean x._partial_?"]),
        (node("by_position", _args_=[1], second=node("plain", d=1)), ["x.second.d=1"]),
        (node("by_position", _args_=[1], second=[{"deep": node("plain", d=1)}]), ["x.second[0].deep.d=1"]),
        (node("plain", a=1, _partial_="yes"), ["x._partial_=yes", "must be bool"]),
        (node("plain", a=1, _recursive_=3), ["x._recursive_=3", "must be bool"]),
        (node("plain", a=1, _convert_="some"), ["x._convert_=some", "none | partial | object | all"]),
        (node("plain", a=1, _args_=3), ["x._args_=3", "is no list"]),
        (node("plain", a=1) | {7: 1}, ["x.7=1", "give the name of an argument"]),
        (node("plan", a=1), ["x._target_=", f"did you mean {__name__}.plain?"]),
        ({"_target_": f"{__name__}.NO_FUNCTION"}, ["x._target_", "give a class or a function"]),
        ({"_target_": "inr_xai.nowhere.Thing"}, ["x._target_=inr_xai.nowhere.Thing", "no nowhere"]),
        ({"_target_": "not a path"}, ["x._target_=not a path", "package.module.Class"]),
        ({"a": 1}, ["x={a:1}", "x._target_=package.Class"]),
        (None, ["x=null", "x._target_=package.Class"]),
    ],
)
def test_walk_refuses(bad: Any, parts: list[str]) -> None:
    text = refusal(lambda: check_target(bad, "x", ["tests"]))
    for part in parts:
        assert part in text


def test_a_target_whose_own_import_fails_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_other.py").write_text("import package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = refusal(lambda: check_target({"_target_": "needs_other.Thing"}, "x", ["needs_other"]))
    assert "x._target_=needs_other.Thing" in text
    assert "install package_that_is_not_there" in text


def test_argument_falls_back_to_the_signature() -> None:
    assert argument(node("plain", b=3.0), "b", ["tests"]) == 3.0
    assert argument(node("plain"), "b", ["tests"]) == 1.0
    assert argument(node("plain"), "no such argument", ["tests"]) is None


def test_a_constructors_complaint_is_a_sentence_but_a_bug_is_not() -> None:
    cfg = OmegaConf.create({"area_rule": node("needs_much", area=2.0)})
    assert refusal(lambda: instantiate(cfg)) == "area_rule: expected area <= 1, got 2.0"
    with pytest.raises(InstantiationException) as caught:
        instantiate(node("needs_much", area=0.5))
    assert sentence(caught.value) is None
    with pytest.raises(InstantiationException) as caught:
        instantiate({"_target_": "inr_xai.perturbation.Jitter", "shift": "x"})
    assert str(sentence(caught.value)).startswith("inr_xai.perturbation.shifts.Jitter does not take these values (")
    assert sentence(RuntimeError("a bug")) is None
    assert sentence(ValueError("raised by the program")) is None
    assert sentence(UserError("no photo there")) == "no photo there"
