"""Rewrites constraints.txt: the versions to which the package with its extras resolves today, on each supported Python.

Nothing is installed: pip only resolves (`--dry-run --report`). A version that differs between Pythons gets a marker.
"""

import argparse
import json
import logging
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = "dev,sweep,peers,coco,hf,docs,app,dashboards"
HEADER = f"""\
# Exact versions of everything that `pip install .[{EXTRAS}]` brings, tried on Python {", ".join(PYTHONS)} (Linux).
# Remake with `make constraints`, which asks each of these Pythons found on the PATH to resolve anew.
"""

log = logging.getLogger("constraints")


def main() -> None:
    """Resolves on each Python on the PATH and writes the file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "constraints.txt", help="the file to write")
    out = parser.parse_args().out
    pythons = {version: path for version in PYTHONS if (path := shutil.which(f"python{version}")) and runs(path)}
    if not pythons:
        parser.error(f"found none of {', '.join(f'python{version}' for version in PYTHONS)} on the PATH")
    resolved = {}
    for version, python in pythons.items():
        log.info("resolving on Python %s", version)
        resolved[version] = resolve(python)
    out.write_text(HEADER + "".join(f"{line}\n" for line in merge(resolved)))
    log.info("wrote %s", out)


def runs(python: str) -> bool:
    """Returns whether an interpreter starts; a pyenv shim of a version that is not chosen does not."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def resolve(python: str) -> dict[str, str]:
    """Returns name -> version of the packages that pip would install into an empty environment of this Python."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        pip = [str(Path(folder, "bin", "python")), "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        report = Path(folder, "report.json")
        arguments = [f"{ROOT}[{EXTRAS}]", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report)]
        subprocess.run([*pip, "install", *arguments], check=True)
        packages = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    names = {re.sub(r"[-_.]+", "-", package["name"]).lower(): package["version"] for package in packages}
    del names["inr-xai"]
    return names


def merge(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Returns one line per package, or one per Python if versions differ; build tags such as +cpu are left out.

    >>> merge({"3.11": {"a": "1", "b": "1"}, "3.12": {"a": "1", "b": "2"}})
    ['a==1', 'b==1 ; python_version == "3.11"', 'b==2 ; python_version == "3.12"']
    """
    lines = []
    for name in sorted({name for versions in resolved.values() for name in versions}):
        chosen = {python: versions[name].split("+")[0] for python, versions in resolved.items() if name in versions}
        if len(set(chosen.values())) == 1:
            lines.append(f"{name}=={next(iter(chosen.values()))}")
        else:
            lines += [f'{name}=={chosen[python]} ; python_version == "{python}"' for python in chosen]
    return lines


if __name__ == "__main__":
    main()
