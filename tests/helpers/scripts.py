"""The programs beside the package, imported as modules or run with arguments."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "scripts", ROOT / "benchmarks")


def script_module(name: str) -> ModuleType:
    """Imports a program of scripts/ or benchmarks/ as a module."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in FOLDERS:
            patch.syspath_prepend(folder)
        return importlib.import_module(name)


def script_status(patch: pytest.MonkeyPatch, name: str, *arguments: str | Path) -> int:
    """Runs a program's main with these arguments, in this process and folder, and returns its status."""
    patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    status = script_module(name).main()
    assert isinstance(status, int)
    return status
