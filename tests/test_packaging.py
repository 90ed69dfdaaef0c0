"""The wheel has everything that the program needs, versions are pinned, and the Makefile says what a machine lacks."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalised(name: str) -> str:
    """Returns a package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> list[str]:
    """Returns the lines of constraints.txt that pin a version."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    marker = r' ; python_version == "3\.1[123]"'
    assert [pin for pin in pins() if not re.fullmatch(rf"[a-z0-9-]+==[0-9][0-9a-z.]*(?:{marker})?", pin)] == []


def test_every_dependency_is_pinned() -> None:
    """But for the extra lxt, whose older transformers cannot be installed beside that of the others."""
    extras = [line for name, extra in PROJECT["optional-dependencies"].items() for line in extra if name != "lxt"]
    names = {normalised(re.match(r"[\w.-]+", requirement)[0]) for requirement in PROJECT["dependencies"] + extras}
    assert names - {pin.split("==")[0] for pin in pins()} == set()


def test_train_is_the_installed_program() -> None:
    text = (ROOT / "train.py").read_text()
    assert len(text.splitlines()) < 10
    assert PROJECT["scripts"] == {"inr-xai": "inr_xai.cli:main"}
    assert "from inr_xai.cli import main" in text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of its sources."""
    pytest.importorskip("hatchling", reason="hatchling (of the extra dev) builds the wheel")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "scripts/wheel_readme.py"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for name in ("inr_xai", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(out), str(source)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options], check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel is installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(folder), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options], check=True)
    return folder


def installed(site: Path, *arguments: str, folder: Path) -> str:
    """Runs Python with the installed wheel, in a folder that is no checkout, and returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_the_wheel_has_the_configuration_the_types_the_weights_and_the_groups(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in ((ROOT / "conf", "inr_xai/conf"), (ROOT / "inr_xai", "inr_xai")):
        files = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        assert {f"{inside}/{file.relative_to(folder)}" for file in files} <= names
    assert {"inr_xai/py.typed", "inr_xai/conf/config.yaml", "inr_xai/weights/demo.safetensors"} <= names
    assert "inr_xai/audit/wordnet_groups.csv" in names
    assert not [name for name in names if name.startswith(("tests/", "conf/", "scripts/", "benchmarks/"))]


@pytest.mark.slow
def test_the_long_description_is_the_readme_without_its_pictures(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(opened.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    described, readme = metadata.get_payload().splitlines(), (ROOT / "README.md").read_text().splitlines()
    missing = [line for line in readme if line not in described]
    assert [line for line in described if line not in readme] == []
    assert [line[:2] for line in missing if line.startswith("![")] == ["![", "!["]
    assert [line for line in missing if not line.startswith("![") and not re.fullmatch(r"\*[^*].*\*", line)] == []


def test_the_version_is_that_of_the_citation() -> None:
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.slow
def test_the_source_distribution_has_the_programs_but_no_results(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling (of the extra dev) builds the source distribution")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    for folder in ("scripts", "benchmarks"):
        assert {f"{folder}/{file.name}" for file in (ROOT / folder).glob("*.py")} <= names
    assert {f"examples/{file.name}" for file in (ROOT / "examples").glob("*.ipynb")} <= names
    assert {"train.py", "conf/config.yaml", "inr_xai/cli.py", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith(("benchmarks/results", "docs", "outputs"))]


@pytest.mark.slow
def test_the_installed_program_finds_its_configuration(site: Path, tmp_path: Path) -> None:
    program = "import inr_xai.cli as cli; print(cli.__file__); print(cli.conf_folder())"
    paths = installed(site, "-c", program, folder=tmp_path).split()
    assert paths == [str(site / "inr_xai" / "cli.py"), str(site / "inr_xai" / "conf")]


@pytest.mark.slow
def test_the_installed_program_has_its_verbs_and_its_configuration(site: Path, tmp_path: Path) -> None:
    program = str(site / "bin" / "inr-xai")
    for verb in ("evaluate", "compare"):
        assert installed(site, program, verb, "--help", folder=tmp_path).startswith(f"usage: inr-xai {verb} ")
    assert installed(site, program, "--version", folder=tmp_path) == f"inr-xai {PROJECT['version']}\n"
    shown = yaml.safe_load(installed(site, program, "dry_run=true", "steps=7", folder=tmp_path))
    assert (shown["steps"], shown["classifier"]["_target_"]) == (7, "inr_xai.classifier.demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_installed_package_has_the_groups_of_wordnet(site: Path, tmp_path: Path) -> None:
    program = (
        "from importlib.resources import files\n"
        "file = files('inr_xai.audit').joinpath('wordnet_groups.csv')\n"
        "print(file, len(file.read_text().splitlines()))"
    )
    heading, classes = 1, 1000
    assert installed(site, "-c", program, folder=tmp_path).split() == [
        str(site / "inr_xai" / "audit" / "wordnet_groups.csv"),
        str(heading + classes),
    ]


def make(folder: Path, *arguments: str, **interpreters: str) -> subprocess.CompletedProcess[str]:
    """Runs `make` in a folder in which the interpreters are shell scripts with these bodies."""
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    for name, body in interpreters.items():
        script = folder / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    names = " ".join(f"./{name}" for name in interpreters)
    command = ["make", "--silent", f"PYTHON={names}", *arguments]
    hidden = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "VENV")  # these tests may run in a `make` themselves
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
OLD = "exit 1"
WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1;; *) echo 3.12;; esac'


@needs_make
@pytest.mark.parametrize("target", ["demo", "test", "check", "docs"])
def test_make_names_the_package_that_is_missing(tmp_path: Path, target: str) -> None:
    done = make(tmp_path, target, old=OLD, bare=WITHOUT_VENV)
    assert done.returncode != 0
    assert "Python 3.12 lacks its venv module; install it with: sudo apt install python3.12-venv" in done.stderr


@needs_make
def test_make_says_that_every_python_is_too_old(tmp_path: Path) -> None:
    done = make(tmp_path, "demo", old=OLD, older=OLD)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed, and none of these is one: ./old ./older" in done.stderr


# Stands for an interpreter: it copies itself into the environment that it makes, and notes what it installs.
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
