"""What the integrations import, and what they say if a package is missing."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import inr_xai.integrations
from inr_xai.errors import UserError
from tests.test_imports import imported

FOLDER = Path(inr_xai.integrations.__file__).parent


@pytest.mark.parametrize(("file", "packages"), [("__init__", set()), ("captum", {"captum"}), ("grad_cam", set())])
def test_only_the_module_of_a_package_imports_it(file: str, packages: set[str]) -> None:
    names = imported(ast.parse((FOLDER / f"{file}.py").read_text()), f"inr_xai.integrations.{file}")
    assert {name.split(".")[0] for name in names} & {"captum", "pytorch_grad_cam"} == packages


def test_without_captum_the_import_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("captum", "captum.attr", "captum.log"):
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "inr_xai.integrations.captum", raising=False)
    with pytest.raises(UserError, match=r"needs the package captum.* pip install 'inr-xai\[captum\]'"):
        importlib.import_module("inr_xai.integrations.captum")
