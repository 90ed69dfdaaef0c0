"""What one explained image costs on the disk and at W&B, from short offline runs; larger runs are reckoned from them.

    python benchmarks/wandb_cost.py                                        the demo, whose images are 64 x 64
    python benchmarks/wandb_cost.py --few 4 --many 12 +experiment=imagenet_multi data.root=PATH

Three runs are done: of few and of many images without pictures at W&B, and of many with a picture of each. Each part of
the cost is fixed, or grows with the images, or with the pictures, of which W&B gets at most `logger.wandb.images`;
three runs tell these apart. What is sent is W&B's own file of the run, its media, and the files of its
artifacts, each once. The masks and tables are sent up to LARGE bytes; above that W&B gets their names and paths alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inr_xai.loggers.files import LARGE
from inr_xai.loggers.settings import IMAGES

COUNTS = (8, 500, 50_000)
SENT_FILES, SENT_REST = "sent to W&B: masks and tables", "sent to W&B: the rest"
PARTS = ("masks", "figures", "tables and log", "W&B's folder", SENT_FILES, SENT_REST)
STEPS = "steps=20"
"""Unless another number is given: masks of fewer steps are less smooth, and so larger."""


@dataclass(frozen=True)
class Cost:
    """Bytes of one part of the cost.

    Args:
        fixed: of a run without images.
        image: of each image.
        picture: of each image that has pictures at W&B, on top.
    """

    fixed: float
    image: float
    picture: float

    @classmethod
    def of(cls, few: int, many: int, values: Sequence[float]) -> "Cost":
        """Returns the cost that explains three runs.

        Args:
            values: of the run of few images, and of many, both without pictures, and of many with a picture of each.
        """
        image = (values[1] - values[0]) / (many - few)
        return cls(values[0] - few * image, image, (values[2] - values[1]) / many)

    def at(self, images: int, pictures: int = IMAGES) -> float:
        """Returns the bytes of a run."""
        return max(0.0, self.fixed + images * self.image + min(images, pictures) * self.picture)


def main(arguments: Sequence[str] | None = None) -> int:
    """Does the runs, and prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=4, help="images of the smaller run; default: %(default)s")
    parser.add_argument("--many", type=int, default=12, help="images of the larger runs; default: %(default)s")
    args, overrides = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        runs = [(args.few, 0), (args.many, 0), (args.many, args.many)]
        measured = [
            explain(Path(folder, str(place)), images, pictures, overrides)
            for place, (images, pictures) in enumerate(runs)
        ]
    costs = {part: Cost.of(args.few, args.many, [run[part] for run in measured]) for part in PARTS}
    print(table(costs))
    return 0


def explain(folder: Path, images: int, pictures: int, overrides: Sequence[str]) -> dict[str, float]:
    """Does a run offline, and returns part -> bytes."""
    options = ["callbacks.progress=null", "report=false", f"data.limit={images}", f"logger.wandb.images={pictures}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    command = [sys.executable, "-m", "inr_xai", STEPS, *overrides, *options, f"out={folder}"]
    subprocess.run(command, check=True, env=environment | {"WANDB_MODE": "offline"}, stdout=subprocess.DEVNULL)
    return sizes(folder)


def sizes(folder: Path) -> dict[str, float]:
    """Returns part -> bytes, of a finished run."""
    parts = dict.fromkeys(PARTS, 0.0)
    for file in folder.rglob("*"):
        if file.is_file():
            top = file.relative_to(folder).parts[0]
            names = {"masks": "masks", "figures": "figures", "wandb": "W&B's folder"}
            parts[names.get(top, "tables and log")] += file.stat().st_size
    for run in (folder / "wandb").glob("*run-*"):
        sent = [artifact_bytes(record) for record in artifacts(run)]
        parts[SENT_FILES] += sum(size for kind, size in sent if kind == "explanations")
        parts[SENT_REST] += sum(size for kind, size in sent if kind != "explanations")
        files = [*run.glob("*.wandb"), *(file for file in (run / "files").rglob("*") if file.is_file())]
        parts[SENT_REST] += sum(file.stat().st_size for file in files)
    return parts


def artifacts(run: Path) -> list[dict[str, Any]]:
    """Returns the records of the artifacts in W&B's folder of a run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    return [record["artifact"] for record in records if record["type"] == "artifact"]


def artifact_bytes(record: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the type of an artifact and the bytes of its files; a reference is no file."""
    contents = record["manifest"].get("contents", [])
    return record["type"], sum(int(entry["size"]) for entry in contents if entry.get("local_path"))


def table(costs: Mapping[str, Cost]) -> str:
    """Returns the bytes of runs of COUNTS images as Markdown, in kB for an image and MB for a run."""
    head = ["part", "kB an image", "kB a picture", *(f"MB of {count:,} images" for count in COUNTS)]
    rows = [
        [part, f"{cost.image / 1e3:.1f}", f"{cost.picture / 1e3:.1f}", *(f"{cost.at(n) / 1e6:.1f}" for n in COUNTS)]
        for part, cost in costs.items()
    ]
    sent = [sent_bytes(costs, count) for count in COUNTS]
    rows.append(["sent to W&B in all", "", "", *(f"{size / 1e6:.1f}" for size in sent)])
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sent_bytes(costs: Mapping[str, Cost], images: int) -> float:
    """Returns what an upload of a run sends: masks and tables only up to LARGE bytes."""
    files = costs[SENT_FILES].at(images)
    return costs[SENT_REST].at(images) + (files if files <= LARGE else 0.0)


if __name__ == "__main__":
    sys.exit(main())
