"""How long it takes until the first step of a fit, and where that time goes, each in a fresh process."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from inr_xai.types import Row

ROOT = Path(__file__).resolve().parents[1]
PHASES = """
import time
marks = [("Python", time.time())]
import torch
marks.append(("import torch", time.time()))
import lightning
marks.append(("import lightning", time.time()))
import inr_xai.cli, inr_xai.pipeline
marks.append(("import inr_xai", time.time()))
from inr_xai.classifier import demo
from inr_xai.data import Synthetic
from inr_xai.fitting.fit import fit_masks
from inr_xai.method import Method
data, classifier = Synthetic(1), demo()
image = data.load(data.ids[0], classifier.preprocessing).image[None].to("{device}")
marks.append(("classifier and image", time.time()))
for name in ("first fit of one step", "second fit of one step"):
    fit_masks(image, torch.zeros(1, dtype=torch.long), data.ids, classifier, Method(steps=1))
    marks.append((name, time.time()))
import json
print(json.dumps(marks))
"""
IMPORTS = "import inr_xai.cli, inr_xai.pipeline"
PACKAGES = 8
"""Packages that are named; the others are summed up."""


def measure_startup(device: str) -> dict[str, list[Row]]:
    """Returns the seconds of each phase up to a fit of the demo's classifier, and of the imports by package."""
    began = time.time()
    output = _run("-c", PHASES.format(device=device)).stdout
    phases: list[Row] = []
    for name, ended in json.loads(output.splitlines()[-1]):
        phases.append({"phase": name, "seconds": ended - began})
        began = ended
    return {"phases": phases, "packages": imports_by_package(_run("-X", "importtime", "-c", IMPORTS).stderr)}


def imports_by_package(report: str) -> list[Row]:
    """Returns the seconds of imports by package, the longest first, from what `python -X importtime` prints.

    Each module counts by itself, without those that it imports.
    """
    seconds: Counter[str] = Counter()
    for line in report.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(fields) == 3 and fields[0].strip().isdigit():
            seconds[fields[2].strip().partition(".")[0]] += int(fields[0]) / 1e6
    named = seconds.most_common(PACKAGES)
    others = seconds.total() - sum(value for _, value in named)
    return [{"package": name, "seconds": value} for name, value in [*named, ("others", others)]]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
