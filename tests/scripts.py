"""The scripts beside the package: as modules, and as programs with arguments."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "scripts"
Script = Callable[..., int]


def script_module(name: str) -> ModuleType:
    """A script as a module; it may import others beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module(name)


def script_status(patch: pytest.MonkeyPatch, name: str, *arguments: str | Path) -> int:
    """What a script's main returns for these arguments, in this process and folder."""
    patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    status = script_module(name).main()
    assert isinstance(status, int)
    return status


def script_program(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Script:
    """Runs a script with arguments in a folder, and returns its exit status."""
    main = script_module(name).main
    patch.chdir(folder)

    def run(*arguments: str) -> int:
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run
