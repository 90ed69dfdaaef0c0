"""Reckons what all of ImageNet's validation set takes, and writes the table of docs/scale.md anew.

    python benchmarks/scale_plan.py

The rates are those of the reports of `benchmarks/step.py` in benchmarks/results/step, one for each kind of device (a
report of a GPU, from `make bench-gpu`, adds its rows). Steps and areas are those of the report: the default fit.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from inr_xai.runs.files import markdown_table

REPORTS = Path(__file__).resolve().parent / "results" / "step"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
PHOTOS, EXPLANATIONS = 50_000, 3
DEVICES = (1, 8, 64)
START = 15.0
"""Seconds of a process before its first fit: imports, classifier and data, with room for a slow disk."""
CLASSIFIERS = {
    "squeezenet": "SqueezeNet",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "vit_tiny": "ViT-Tiny",
    "resnet50": "ResNet-50",
}


def main() -> int:
    """Rewrites the page and returns 0."""
    PAGE.write_text(with_table(PAGE.read_text()))
    return 0


def with_table(page: str) -> str:
    """Returns the page with its table made anew."""
    table = f"<!-- table plan -->\n{plan()}\n<!-- end -->"
    return re.sub(r"<!-- table plan -->\n.*?<!-- end -->", lambda _: table, page, flags=re.DOTALL)


def plan() -> str:
    """Returns the hours that each classifier takes on each kind of device and each number of them."""
    reports = [json.loads(file.read_text()) for file in sorted(REPORTS.glob("*.json"))]
    rows = [row for report in reports for name in CLASSIFIERS if (row := hours(report, name)) is not None]
    heads = ["classifier", "a device is", "s a photo", *(f"h on {count}" for count in DEVICES)]
    return markdown_table(heads, rows, rules=["---", "---", *["---:"] * (1 + len(DEVICES))], tight_rules=True).rstrip()


def hours(report: dict[str, Any], name: str) -> list[str] | None:
    """Returns a row of the table: by the best rate of all sizes of a stack; None if the report has none."""
    rates = [cell["photos_per_second"] for cell in report["cells"] if cell["model"] == name]
    if not rates:
        return None
    on_gpu = report["device"].startswith(("NVIDIA", "Tesla", "AMD Instinct"))
    device = report["device"] + (f", {report['precision']}" if on_gpu else f", {report['threads']} cores")
    seconds = EXPLANATIONS / max(rates)
    cells = [f"{(START + PHOTOS * seconds / count) / 3600:,.0f}" for count in DEVICES]
    return [CLASSIFIERS[name], device, f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}", *cells]


if __name__ == "__main__":
    sys.exit(main())
