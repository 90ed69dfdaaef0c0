"""Files of weights: the settings that training programs store beside them do no harm, and code in them never runs."""

import argparse
import collections
import datetime
import decimal
import functools
import os
import pathlib
import pickle
import shlex
import subprocess
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from inr_xai.classifier import custom
from inr_xai.classifier.checkpoint import read_state
from inr_xai.classifier.pickles import STAND_INS
from inr_xai.errors import UserError
from tests.classifier.test_frozen import network

CONFIG = OmegaConf.create({"lr": 0.1, "layers": [1, 2.5, "x", None, True], "same": "${lr}", "root": Path("data")})
SETTINGS = {
    "hyper_parameters": CONFIG,
    "args": argparse.Namespace(lr=0.1, model=argparse.Namespace(name="resnet18")),
    "paths": [pathlib.PurePosixPath("a"), pathlib.Path("/b"), pathlib.PureWindowsPath("c")],
    "numbers": [
        np.float64(0.1),
        np.int64(3),
        np.bool_(True),
        np.str_("a"),
        np.dtype("float32"),
        decimal.Decimal("1.5"),
    ],
    "arrays": [np.zeros((2, 3)), np.array(["a", "b"]), np.random.get_state()],  # noqa: NPY002 (what programs store)
    "times": [datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), datetime.date(2024, 1, 2), datetime.timedelta(3)],
    "containers": [
        collections.defaultdict(list, a=[1]),
        collections.deque([1, 2]),
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        collections.ChainMap({"a": 1}),
        types.SimpleNamespace(a=1),
        frozenset([1]),
        {2},
    ],
    "torch": [torch.Size([1]), torch.float16, torch.device("cpu"), torch.__version__],
    "plain": [uuid.UUID(int=1), range(3), slice(1, 2), 1j, b"bytes", dict, float],
}


@pytest.mark.parametrize("recent", [True, False], ids=["zip", "pickles of before 2020"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_beside_the_weights_are_passed_over(tmp_path: Path, kind: str, recent: bool) -> None:
    trained, model = network(), network()
    nn.init.normal_(trained.fc.weight, generator=torch.Generator().manual_seed(9))
    content = {kind: SETTINGS[kind], "state_dict": trained.state_dict(), "epoch": 3}
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=recent)
    with pytest.raises(pickle.UnpicklingError, match="Unsupported"):  # by PyTorch itself
        torch.load(tmp_path / "a.ckpt", weights_only=True)
    custom(model, checkpoint=tmp_path / "a.ckpt")
    assert torch.equal(model.fc.weight, trained.fc.weight)


class Reduced:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def attacks(mark: str) -> dict[str, Any]:
    """Objects that write the file `mark` if any code of theirs runs."""
    write = Reduced(eval, f"open({mark!r}, 'w')")
    return {
        "os.system": Reduced(os.system, f"touch {mark}"),
        "eval": write,
        "exec": Reduced(exec, f"open({mark!r}, 'w')"),
        "open": Reduced(open, mark, "w"),
        "getattr": Reduced(getattr, "text", "upper"),
        "partial": Reduced(functools.partial, eval, f"open({mark!r}, 'w')"),
        "import": Reduced(__import__, "antigravity"),
        "subprocess": Reduced(subprocess.call, ["touch", mark]),
        "within a Namespace": argparse.Namespace(a=write),
        "argument of an allowed class": Reduced(pathlib.PurePosixPath, write),
        "state of an allowed class": Reduced(argparse.Namespace, state={"a": write}),
        "factory of a defaultdict": Reduced(collections.defaultdict, functools.partial(open, mark, "w")),
        "module": nn.Linear(1, 1),
    }


@pytest.mark.parametrize("name", attacks(""))
def test_code_never_runs(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    for recent in (True, False):
        content = {"state_dict": network().state_dict(), "x": attacks(str(mark))[name]}
        torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=recent)
        with pytest.raises(UserError, match=r"cannot be loaded safely \(UnpicklingError: it holds the object .*trust"):
            read_state(tmp_path / "a.pth")
        assert not mark.exists()


def test_allowed_classes_are_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither their constructors nor their __setstate__ run: stand-ins take their places."""
    torch.save({"config": CONFIG, "state_dict": network().state_dict()}, tmp_path / "a.pth")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("an object of the file was made")

    for method in ("__init__", "__setstate__"):
        monkeypatch.setattr(type(CONFIG), method, fail)
        monkeypatch.setattr(argparse.Namespace, method, fail, raising=False)
    assert "state_dict.fc.weight" in read_state(tmp_path / "a.pth").tensors
    assert not {f"{kind.__module__}.{kind.__qualname__}" for kind in STAND_INS} & {
        *(
            f"builtins.{name}"
            for name in ("eval", "exec", "getattr", "setattr", "open", "compile", "__import__", "map")
        ),
        "functools.partial",
        "operator.attrgetter",
    }


def test_the_allowed_classes_of_the_process_stay_as_they_are(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"args": SETTINGS["args"], "state_dict": network().state_dict()}, tmp_path / "a.pth")
    read_state(tmp_path / "a.pth")
    assert set(torch.serialization.get_safe_globals()) == before  # PyTorch keeps a set, whose order changes


@pytest.mark.parametrize("whole", [True, False], ids=["a pickled module", "a state dict beside an object"])
def test_the_line_of_the_refusal_converts_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    trained = nn.Linear(3, 2)
    torch.save(trained if whole else {"state_dict": trained.state_dict(), "x": nn.ReLU()}, tmp_path / "it's.pth")
    with pytest.raises(UserError, match=r"object torch\.nn\.modules\.\w+\.\w+, which may run code\); save") as caught:
        read_state(tmp_path / "it's.pth")
    python, option, code = shlex.split(str(caught.value).rpartition("convert it: ")[2])
    assert (python, option) == ("python", "-c")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    model = nn.Linear(3, 2)
    custom(model, checkpoint=tmp_path / "weights.pth")
    assert torch.equal(model.weight, trained.weight)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_is_refused_with_the_line_that_converts_it(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3)).save(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"it is a TorchScript archive\); .*torch\.jit\.load\('.*a\.pt', 'cpu'\)"):
        read_state(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "a web page"),
        (b'{"metadata": {}}', "JSON"),
        (b"\x93NUMPY", "a NumPy file"),
        (b"PK\x03\x04cut off", "not a ZIP archive"),
        (b"", "empty or cut off"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError, match=rf"cannot be loaded safely.*{message}"):
        read_state(tmp_path / "a.pth")


def test_the_format_is_seen_in_the_content_and_not_in_the_name(tmp_path: Path) -> None:
    state = network().state_dict()
    save_file(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        assert torch.equal(read_state(tmp_path / name).tensors["fc.weight"], state["fc.weight"])
    np.savez(tmp_path / "a.npz", **{"fc.weight": np.zeros(3)})
    with pytest.raises(UserError, match=r"is a NumPy archive; load it with the model's own load_pretrained"):
        read_state(tmp_path / "a.npz")


def test_a_file_without_tensors_is_described(tmp_path: Path) -> None:
    torch.save({"state": {"fc.weight": np.zeros(3)}, "lr": 0.1}, tmp_path / "a.pth")
    message = r"holds no state dict of tensors \(it holds state\.fc\.weight: numpy\S*, lr: float\); save"
    with pytest.raises(UserError, match=message):
        read_state(tmp_path / "a.pth")
