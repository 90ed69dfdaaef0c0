"""The wheel carries all it needs, versions are pinned, and the Makefile says what a machine lacks."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    marker = r' ; python_version == "3\.1[123]"'
    assert [pin for pin in pins() if not re.fullmatch(rf"[a-z0-9-]+==[0-9][0-9a-z.]*(?:{marker})?", pin)] == []


def test_every_dependency_is_pinned() -> None:
    extras = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
    wanted = {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in PROJECT["dependencies"] + extras}
    assert wanted - {pin.split("==")[0] for pin in pins()} == set()


def test_train_is_the_installed_program() -> None:
    text = (ROOT / "train.py").read_text()
    assert len(text.splitlines()) < 10
    assert PROJECT["scripts"] == {"inr-xai": "inr_xai.cli:main"}
    assert "from inr_xai.cli import main" in text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is made from."""
    pytest.importorskip("hatchling", reason="hatchling (of the extra dev) builds the wheel")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("inr_xai", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(out), str(source)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options], check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_carries_the_configuration_the_types_and_the_weights(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in ((ROOT / "conf", "inr_xai/conf"), (ROOT / "inr_xai", "inr_xai")):
        files = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        assert {f"{inside}/{file.relative_to(folder)}" for file in files} <= names
    assert {"inr_xai/py.typed", "inr_xai/conf/config.yaml", "inr_xai/weights/demo.safetensors"} <= names
    assert not [name for name in names if name.startswith(("tests/", "conf/", "scripts/"))]


@pytest.mark.slow
def test_the_installed_program_finds_its_configuration(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options], check=True)
    program = "import inr_xai.cli as cli; print(cli.__file__); print(cli.conf_folder())"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout
    assert found.split() == [str(site / "inr_xai" / "cli.py"), str(site / "inr_xai" / "conf")]


def make(folder: Path, *arguments: str, **interpreters: str) -> subprocess.CompletedProcess[str]:
    """Run `make` in `folder`, where the interpreters are shell scripts with these bodies."""
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    for name, body in interpreters.items():
        script = folder / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    names = " ".join(f"./{name}" for name in interpreters)
    command = ["make", "--silent", f"PYTHON={names}", *arguments]
    ours = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "VENV")  # these tests may run below `make` themselves
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
OLD = "exit 1"
WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1;; *) echo 3.12;; esac'


@needs_make
@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_make_names_the_package_that_is_missing(tmp_path: Path, target: str) -> None:
    done = make(tmp_path, target, old=OLD, bare=WITHOUT_VENV)
    assert done.returncode != 0
    assert "Python 3.12 lacks its venv module; install it with: sudo apt install python3.12-venv" in done.stderr


@needs_make
def test_make_says_that_every_python_is_too_old(tmp_path: Path) -> None:
    done = make(tmp_path, "demo", old=OLD, older=OLD)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed, and none of these is one: ./old ./older" in done.stderr


# Stands for an interpreter, and puts itself into the environment that it makes; what is installed is written down.
WORKING = """
case "$*" in
  *version_info*) echo 3.12;;
  *ensurepip*) ;;
  *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  *"pip install"*) echo "$*" >> installed; test ! -e broken;;
esac
"""


@needs_make
def test_make_installs_once_and_again_after_an_interruption(tmp_path: Path) -> None:
    def installed() -> list[str]:
        done.append(make(tmp_path, "test", working=WORKING).returncode)
        return [line.split()[-1] for line in (tmp_path / "installed").read_text().splitlines()]

    done: list[int] = []
    (tmp_path / "broken").touch()
    assert installed() == [".[dev]"]
    assert done.pop() != 0
    (tmp_path / "broken").unlink()
    assert installed() == [".[dev]", ".[dev]"]
    assert done.pop() == 0


@needs_make
def test_make_installs_nothing_the_second_time(tmp_path: Path) -> None:
    assert make(tmp_path, "test", working=WORKING).returncode == 0
    for stamp in (tmp_path / ".venv" / ".dev-installed", tmp_path / ".venv" / ".package-installed"):
        os.utime(stamp, (2**31, 2**31))  # `make` above touched its sources anew
    assert make(tmp_path, "test", working=WORKING).returncode == 0
    assert make(tmp_path, "demo", working=WORKING).returncode == 0
    assert len((tmp_path / "installed").read_text().splitlines()) == 1
