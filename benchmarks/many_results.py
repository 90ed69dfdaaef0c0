"""How long a run with many results takes to be continued and to end, and how much memory: with an index, and without.

    python benchmarks/many_results.py                    50,000 made-up images, which need 600 MB of disk
    python benchmarks/many_results.py --images 2000 --folder made_up

Each part is done in a process of its own, which prints one JSON object: the seconds of the part by the clock and on the
processor, and by how many megabytes the process grew beyond what it held after its imports. The images have one
explanation at three areas, all columns of scores, and 20 steps. "continue" is what a run does before its first image,
"end" what it does after its last (and "continue" before that), "status" is a look of `inr-xai status`, and "rebuild"
reads all masks files, as a run does that has no index.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from inr_xai.classifier import demo
from inr_xai.columns import SCORES
from inr_xai.data import Synthetic
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.instantiate import Parts
from inr_xai.method import Method
from inr_xai.runner import Runner
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import INDEX, ResultIndex
from inr_xai.runs.load import describe_drawing
from inr_xai.runs.masks_file import SampleRecord, pack_record
from inr_xai.runs.progress import progress_of
from inr_xai.runs.work import batches
from inr_xai.types import Frame

AREAS, STEPS = (0.05, 0.1, 0.2), 20
FACTS: dict[str, Any] = {
    "config": {"shard": {"index": 0, "count": 1}, "data": {}, "classifier": {}, "sweep_metric": ""},
    "scoring_pool": [],
    "donor_pool": [],
    "wandb_id": "none",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, measures all parts or one, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000, help="how many (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where the run is made, and stays; default: a temporary folder")
    parser.add_argument("--part", choices=list(PARTS), help="measure this part alone, in a folder that has the run")
    args = parser.parse_args(arguments)
    if args.part is not None:
        print(json.dumps({"part": args.part, "images": args.images} | measured(PARTS[args.part], args)))
        return 0
    folder = args.folder or Path(tempfile.mkdtemp(prefix="many_results_"))
    try:
        for part in ("make", "end", "continue", "status", "rebuild"):
            options = ["--images", str(args.images), "--folder", str(folder), "--part", part]
            subprocess.run([sys.executable, __file__, *options], check=True)
    finally:
        if args.folder is None:
            shutil.rmtree(folder)
    return 0


def measured(part: Callable[[Path, int], object], args: argparse.Namespace) -> dict[str, float]:
    """Returns the seconds that a part takes, and the megabytes by which it raises the peak of the process's memory."""
    before, began, processor = peak(), time.perf_counter(), time.process_time()
    part(args.folder, args.images)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    return {"seconds": round(seconds, 2), "processor": round(processor, 2), "megabytes": round(peak() - before, 1)}


def peak() -> float:
    """Returns the most memory that the process has had, in megabytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 1024


def make(folder: Path, images: int) -> None:
    """Writes the masks files of made-up results, and their index, as a run does (but waits for no disk)."""
    run, draw = RunFolder(folder), random.Random(0)
    run.write_run(FACTS)
    index, drawing = ResultIndex(run), describe_drawing(Method(areas=AREAS))
    os.fsync = lambda fd: None
    for place in range(images):
        sample_id = f"class {place % 100:03d}/photo {place:06d}"
        row = {"sample_id": sample_id, "target": place % 100, "explanation": 1}
        record = SampleRecord(
            sample_id=sample_id,
            target=place % 100,
            frame=Frame((8, 8), (8, 8), 0, 0, (8, 8)),
            areas=list(AREAS),
            masks=torch.zeros(1, len(AREAS), 8, 8),
            inrs=[{"field": torch.zeros(8, 8)}],
            losses=torch.tensor([[draw.random() for _ in range(STEPS)]]),
            rows=[row | {"area": area} | {name: draw.random() for name in SCORES} for area in AREAS],
            drawing=drawing,
            steps_before=STEPS * place,
            steps_after=STEPS * (place + 1),
            seconds=draw.random(),
        )
        file = run.masks_file(sample_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pack_record(record))
        index.add(record)


def continue_run(folder: Path, images: int) -> Runner:
    """Does what a run does before its first image, and finds none left to explain."""
    run = RunFolder(folder)
    runner = Runner(
        run, parts(), FACTS, sorted(f"class {place % 100:03d}/photo {place:06d}" for place in range(images))
    )
    assert not list(batches(runner._plan, 1, run.done()))
    assert runner.state.steps_done == STEPS * images
    return runner


def end_run(folder: Path, images: int) -> None:
    """Continues a run, and does what it does after its last image."""
    explained = continue_run(folder, images).conclude()
    assert (explained.images, explained.summary["images"], len(explained.rows)) == (images, images, 3 * images)


def look(folder: Path, images: int) -> None:
    """Asks how far the run has come."""
    assert progress_of(folder).done == images


def rebuild(folder: Path, images: int) -> None:
    """Reads what is stored if there is no index."""
    shutil.rmtree(folder / INDEX)
    assert len(ResultIndex(RunFolder(folder)).read()) == images


def parts() -> Parts:
    """Returns parts of a run, of which none is used."""
    data, classifier = Synthetic(1, targets="label"), demo()
    pool = PhotoPool([], data, classifier.preprocessing)
    return Parts(data, classifier, Method(areas=AREAS), {}, torch.device("cpu"), [], pool, None, None, {})


PARTS = {"make": make, "continue": continue_run, "end": end_run, "status": look, "rebuild": rebuild}

if __name__ == "__main__":
    sys.exit(main())
