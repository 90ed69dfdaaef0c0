"""How long a run with many results takes to be opened, continued and ended, and how much memory, for each store.

    python benchmarks/many_results.py                    50,000 made-up images, which need 2 GB of disk for each store
    python benchmarks/many_results.py --images 2000 --folder made_up --store shard

Each part is done in a process of its own, which prints one JSON object: the seconds of the part by the clock and on the
processor, and by how many megabytes the process grew beyond what it held after its imports. The images have three
explanations at four areas, all columns of scores, and 20 steps each. "load" is `inr_xai.load` with the ids of all
images and one record, "continue" what a run does before its first image, "end" what it does after its last (and
"continue" before that), "status" a look of `inr-xai status`, "rows" a walk over `Run.rows`, "merge" joins the run with
one of a single further image, without the tables that "end" makes, and "rebuild" reads all masks files, as a run does
that has no index.
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
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.index_lines import INDEX
from inr_xai.runs.load import describe_drawing, load
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.runs.merge import join_runs
from inr_xai.runs.progress import progress_of
from inr_xai.runs.store import ImageStore, ShardStore, Store
from inr_xai.runs.work import batches
from inr_xai.types import Frame

AREAS, STEPS = (0.05, 0.1, 0.2, 0.3), 20
STORES: dict[str, type[Store]] = {"image": ImageStore, "shard": ShardStore}
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
    parser.add_argument("--explanations", type=int, default=3, help="of each image (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where the run is made, and stays; default: a temporary folder")
    parser.add_argument("--store", choices=list(STORES), nargs="+", default=list(STORES), help="how it is stored")
    parser.add_argument("--part", choices=list(PARTS), help="measure this part alone, in a folder that has the run")
    args = parser.parse_args(arguments)
    if args.part is not None:
        facts = {"store": args.store[0], "part": args.part, "images": args.images, "explanations": args.explanations}
        print(json.dumps(facts | measured(PARTS[args.part], args)))
        return 0
    folder = args.folder or Path(tempfile.mkdtemp(prefix="many_results_"))
    try:
        for store in args.store:
            for part in PARTS:
                size = ["--images", str(args.images), "--explanations", str(args.explanations)]
                options = [*size, "--folder", str(folder / store), "--part", part, "--store", store]
                subprocess.run([sys.executable, __file__, *options], check=True)
            if args.folder is None:
                shutil.rmtree(folder / store)
    finally:
        if args.folder is None:
            shutil.rmtree(folder)
    return 0


def measured(part: Callable[[Path, argparse.Namespace], object], args: argparse.Namespace) -> dict[str, float]:
    """Returns the seconds that a part takes, and the megabytes by which it raises the peak of the process's memory."""
    before, began, processor = peak(), time.perf_counter(), time.process_time()
    part(args.folder, args)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    return {"seconds": round(seconds, 2), "processor": round(processor, 2), "megabytes": round(peak() - before, 1)}


def peak() -> float:
    """Returns the most memory that the process has had, in megabytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 1024


def make(folder: Path, args: argparse.Namespace) -> None:
    """Writes the masks files of made-up results, and their index, as a run does (but waits for no disk)."""
    run, draw = RunFolder(folder, STORES[args.store[0]]()), random.Random(0)
    run.write_run(FACTS)
    index, drawing = ResultIndex(run), describe_drawing(Method(areas=AREAS))
    os.fsync = lambda fd: None
    for place in range(args.images):
        record = made_up(place, args.explanations, drawing, draw)
        run.commit(record)
        index.add(record)


def sample_id_of(place: int) -> str:
    """Returns the id of a made-up image."""
    return f"class {place % 100:03d}/photo {place:06d}"


def made_up(place: int, explanations: int, drawing: dict[str, Any], draw: random.Random) -> SampleRecord:
    """Returns a record of random scores and empty masks."""
    sample_id, steps = sample_id_of(place), STEPS * explanations
    rows = [
        {"sample_id": sample_id, "target": place % 100, "explanation": k, "area": area}
        | {name: draw.random() for name in SCORES}
        for k in range(1, explanations + 1)
        for area in AREAS
    ]
    return SampleRecord(
        sample_id=sample_id,
        target=place % 100,
        frame=Frame((8, 8), (8, 8), 0, 0, (8, 8)),
        areas=list(AREAS),
        masks=torch.zeros(explanations, len(AREAS), 8, 8),
        inrs=[{"field": torch.zeros(8, 8)} for _ in range(explanations)],
        losses=torch.tensor([[draw.random() for _ in range(STEPS)] for _ in range(explanations)]),
        rows=rows,
        drawing=drawing,
        steps_before=steps * place,
        steps_after=steps * (place + 1),
        seconds=draw.random(),
    )


def load_run(folder: Path, args: argparse.Namespace) -> None:
    """Opens a run, and reads its ids and one record."""
    run = load(folder)
    assert len(list(run)) == args.images
    assert run[sample_id_of(args.images // 2)].target == (args.images // 2) % 100


def read_rows(folder: Path, args: argparse.Namespace) -> None:
    """Walks over all scores."""
    assert sum(1 for _ in load(folder).rows) == args.explanations * len(AREAS) * args.images


def continue_run(folder: Path, args: argparse.Namespace) -> Runner:
    """Does what a run does before its first image, and finds none left to explain."""
    run = RunFolder(folder, STORES[args.store[0]]())
    runner = Runner(run, parts(), FACTS, sorted(map(sample_id_of, range(args.images))))
    assert not list(batches(runner._plan, 1, run.done()))
    assert runner.state.steps_done == STEPS * args.explanations * args.images
    return runner


def end_run(folder: Path, args: argparse.Namespace) -> None:
    """Continues a run, and does what it does after its last image."""
    explained = continue_run(folder, args).conclude()
    rows = args.explanations * len(AREAS) * args.images
    assert (explained.images, explained.summary["images"], len(explained.rows)) == (args.images, args.images, rows)


def look(folder: Path, args: argparse.Namespace) -> None:
    """Asks how far the run has come."""
    assert progress_of(folder).done == args.images


def merge(folder: Path, args: argparse.Namespace) -> None:
    """Joins the run with one of a single image that it does not have."""
    other, joined = (RunFolder(folder.with_name(f"{folder.name}-{name}")) for name in ("other", "joined"))
    record = made_up(args.images, args.explanations, describe_drawing(Method(areas=AREAS)), random.Random(1))
    other.write_run(FACTS)
    other.commit(record)
    ResultIndex(other).add(record)
    joined.path.mkdir()
    stored, failures = join_runs([RunFolder(folder), other], joined, joined.path)
    assert (len(stored), failures) == (args.images + 1, {})
    for made in (other, joined):
        shutil.rmtree(made.path)


def rebuild(folder: Path, args: argparse.Namespace) -> None:
    """Reads what is stored if there is no index."""
    shutil.rmtree(folder / INDEX)
    assert len(ResultIndex(RunFolder(folder)).read()) == args.images


def parts() -> Parts:
    """Returns parts of a run, of which none is used."""
    data, classifier = Synthetic(1, targets="label"), demo()
    pool = PhotoPool([], data, classifier.preprocessing)
    return Parts(data, classifier, Method(areas=AREAS), {}, torch.device("cpu"), [], pool, None, None, {})


PARTS: dict[str, Callable[[Path, argparse.Namespace], object]] = {
    "make": make,
    "end": end_run,
    "load": load_run,
    "rows": read_rows,
    "continue": continue_run,
    "status": look,
    "merge": merge,
    "rebuild": rebuild,
}

if __name__ == "__main__":
    sys.exit(main())
