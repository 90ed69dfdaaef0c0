"""What a checkpoint within a fit costs: its bytes for each image, and the seconds to write it and to read it.

    python benchmarks/checkpoints.py            measures, writes benchmarks/results/checkpoints.json, prints the table
    python benchmarks/checkpoints.py --table    prints the table of docs/reliability.md from the stored results

The default method fits inputs of 224 x 224, two explanations of each image. The state is that of the last step of the
second explanation, which is the largest. It does not depend on the classifier, so a small network with random weights
stands for it. Small files fit into the memory of the system: a network file system takes longer.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.run_scorer import RunScorer
from inr_xai.method import Method
from inr_xai.runs.checkpoint import FitCheckpoint, read_fit_checkpoint
from inr_xai.runs.files import markdown_table, read_json, write_json
from inr_xai.runs.folder import RunFolder
from inr_xai.types import Batch, Preprocessing

RESULT = Path("benchmarks/results/checkpoints.json")
FACTS = {"config": {}, "versions": {"inr-xai": "", "torch": ""}}
HEAD = ("images of a batch", "MB an image", "seconds to write", "seconds to read")


class Measured:
    """A checkpoint after every step, whose file is measured each time."""

    def __init__(self, checkpoint: FitCheckpoint):
        self.checkpoint, self.size = checkpoint, 0
        self.write: list[float] = []
        self.read: list[float] = []

    def fitting(self) -> AbstractContextManager[dict[str, Any] | None]:
        return self.checkpoint.fitting()

    def at_boundary(self, state: Callable[[], dict[str, Any]]) -> None:
        began = time.perf_counter()
        self.checkpoint.at_boundary(state)
        written = time.perf_counter()
        read_fit_checkpoint(self.checkpoint.file)
        self.write.append(written - began)
        self.read.append(time.perf_counter() - written)
        self.size = max(self.size, self.checkpoint.file.stat().st_size)


def measure(count: int, *, side: int, steps: int) -> dict[str, float]:
    """Returns the figures of a batch of `count` images, which are fitted as one stack."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, side, side, generator=draw)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    model = nn.Sequential(network, nn.Linear(128, 10))
    preprocessing = Preprocessing((side, side), side, "bilinear", (0.5,) * 3, (0.25,) * 3)
    classifier = FrozenClassifier(model, preprocessing=preprocessing)
    method = Method(explanations=2, steps=steps, images_per_fit=count)
    batch = Batch(images, torch.zeros(count, dtype=torch.long), [str(number) for number in range(count)])
    photos = torch.rand(count, 3, 3, side, side, generator=draw)
    scorer = RunScorer(classifier, batch, method, photos=photos)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"facts": FACTS, "precision": "32-true", "device": torch.device("cpu")}
        measured = Measured(
            FitCheckpoint(RunFolder(folder), batch, scorer, every=0.0, began=time.monotonic(), **options)
        )
        fit_masks(images, batch.targets, batch.sample_ids, classifier, method, keep=scorer, checkpoint=measured)
    return {
        "images": count,
        "bytes": measured.size / count,
        "write": statistics.median(measured.write),
        "read": statistics.median(measured.read),
    }


def table(rows: Sequence[dict[str, float]]) -> str:
    """Returns the figures as Markdown."""
    lines = [
        (f"{row['images']}", f"{row['bytes'] / 1e6:.1f}", f"{row['write']:.2f}", f"{row['read']:.2f}") for row in rows
    ]
    return markdown_table(HEAD, lines, rules=["---:"] * len(HEAD))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 8, 32], help="images of a batch")
    parser.add_argument("--side", type=int, default=224, help="pixels of a side of the input")
    parser.add_argument("--steps", type=int, default=2, help="steps of a fit")
    parser.add_argument("--results", type=Path, default=RESULT, help="where the figures are written")
    parser.add_argument("--table", action="store_true", help="only print the table of the stored figures")
    args = parser.parse_args(arguments)
    if not args.table:
        rows = [measure(count, side=args.side, steps=args.steps) for count in args.images]
        write_json(args.results, {"side": args.side, "rows": rows})
    sys.stdout.write(table(read_json(args.results)["rows"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
