"""A campaign of faults: whatever happens to a run, nothing is damaged, and the same command continues to the same end.

    python benchmarks/faults.py                          every part, about half an hour on two cores
    python benchmarks/faults.py kill shards images       these parts
    python benchmarks/faults.py --quick                  a sample of every part, under a minute
    python benchmarks/faults.py --table                  the table of docs/reliability.md, from the stored results

Each part prints a line of figures and writes <part>.json below --results (and configurations.csv); a quick one writes
nothing unless --results is given. Exit status: 0 if everything held, 1 if not. Linux, one thread per process; the part
`disk` mounts a small file system if it may, and limits the size of files otherwise.
"""

import argparse
import contextlib
import json
import logging
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a process with threads cannot be forked safely

import numpy as np
import torch
from fault_configurations import configurations, outcomes
from fault_decoding import decode_broken, decode_large
from fault_part import DONE, Part
from fault_runs import Process, differences, finish, make_network, names_below, start
from fault_workers import kill_workers, stop_workers
from PIL import Image

from inr_xai.errors import UserError
from inr_xai.runs.files import format_csv, markdown_table, write_bytes, write_json
from inr_xai.runs.shards import shard_of

RESULTS = Path("benchmarks/results/faults")
CONTINUES = "same command"
"""What the one line says that an interrupted process prints."""
FAULT, REFUSED, IMAGES_FAILED = 1, 2, 3
TRIES = 8
EVALUATE = ("sparseness", "pointing_game")


def photos(folder: Path, count: int, *, broken: bool) -> list[str]:
    """Writes photos, and two files that are none, one for each of two shards; returns the options that use them."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(draw.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        small.resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    names = ("0b", "1b", "2b", "3b", "4b", "5b")
    for name in [next(name for name in names if shard_of(name, 2) == index) for index in (0, 1)] if broken else ():
        (folder / f"{name}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return ["data=image_folder", f"data.root={folder}", "data.targets=3"]


def kill(part: Part) -> None:
    """SIGKILL at random moments of a run; what is left is continued until it is done."""
    plain, length = part.undisturbed()
    kinds: list[tuple[Path, float, Sequence[str]]] = [(plain, length, ())]
    if not part.quick:
        kinds += [(*part.undisturbed(*more), more) for more in (WITH_METRICS, WITH_AUDIT)]
    kills, ends = part.count(50, 2), 0
    while part.cases < kills:
        expected, length, more = kinds[ends % len(kinds)]
        name = part.new_name()
        command = [*part.options, *more, f"out={name}"]
        for _ in range(min(KILLS, kills - part.cases)):
            process = start(*command, folder=part.folder)
            if not process.send(signal.SIGKILL, after=part.draw.uniform(0, length)):
                break
            ended = process.wait()
            if ended.status is not None and ended.status < 0:
                part.cases += 1
                part.require_equal(expected, part.folder / name, f"kill {part.cases}", partial=True)
        process.wait()
        ended = finish(*command, folder=part.folder)
        what = f"run {name} after kill {part.cases}"
        part.require(ended.status == DONE and ended.is_clean, f"{what} does not end well", ended)
        part.require_equal(expected, part.folder / name, what)
        part.require_verified(part.folder / name, what)
        ends += 1
    part.figures = {"equal_ends": ends}


KILLS = 3  # the most of one run
WITH_METRICS = ("callbacks.figures={_target_: inr_xai.callbacks.Figures}", f"evaluate=[{','.join(EVALUATE)}]")
WITH_AUDIT = ("audit={area: 0.1, control: 2}",)


def stop_by(number: signal.Signals, status: int) -> Callable[[Part], None]:
    """Returns the part of one signal: sent at random moments of a run, of `evaluate` and of `audit`."""

    def stop(part: Part) -> None:
        for verb, tries in VERBS.items():
            verb(part, number, status, part.count(*tries))

    stop.__doc__ = f"{number.name} at random moments of a run, of evaluate and of audit."
    return stop


def stop_run(part: Part, number: signal.Signals, status: int, tries: int) -> None:
    """Stops runs, each of which is a new interpreter, as a user starts it, unless the part is quick."""
    expected, length = part.undisturbed()
    cold = not part.quick
    if cold:
        length = finish(*part.options, f"out={part.new_name()}", folder=part.folder, cold=True).seconds

    def command() -> tuple[list[str], Path]:
        name = part.new_name()
        return [*part.options, f"out={name}"], part.folder / name

    _stop_each(part, number, status, tries, make=command, expected=expected, length=length, cold=cold)


def stop_evaluate(part: Part, number: signal.Signals, status: int, tries: int) -> None:
    """Stops `evaluate` of a finished run."""
    run, _ = part.undisturbed()
    _stop_verb(part, number, status, tries, run, ["evaluate", "--metrics", ",".join(EVALUATE)])


def stop_audit(part: Part, number: signal.Signals, status: int, tries: int) -> None:
    """Stops `audit` of a finished run, which fits a control."""
    run, _ = part.undisturbed()
    _stop_verb(part, number, status, tries, run, ["audit", "--area", "0.1", "--control", "2", "--no-figures"])


VERBS = {stop_run: (5, 1), stop_evaluate: (2, 0), stop_audit: (2, 0)}
"""What is stopped -> how often, in full and in a sample."""


def _stop_verb(part: Part, number: signal.Signals, status: int, tries: int, run: Path, verb: Sequence[str]) -> None:
    if not tries:
        return

    def command() -> tuple[list[str], Path]:
        copy = part.folder / part.new_name()
        shutil.copytree(run, copy)
        return [verb[0], copy.name, *verb[1:]], copy

    arguments, expected = command()
    ended = finish(*arguments, folder=part.folder)
    if ended.status != DONE:
        raise UserError(f"an undisturbed {verb[0]} ended with {ended.shown()}")
    _stop_each(part, number, status, tries, make=command, expected=expected, length=ended.seconds, cold=False)


def _stop_each(
    part: Part,
    number: signal.Signals,
    status: int,
    tries: int,
    *,
    make: Callable[[], tuple[list[str], Path]],
    expected: Path,
    length: float,
    cold: bool,
) -> None:
    """Stops a command once at each of some moments, looks at how it ends, and continues it to its end."""
    for offset in part.offsets(tries, length):
        for earlier in (offset * 0.7**k for k in range(TRIES)):
            command, folder = make()
            process = start(*command, folder=part.folder, cold=cold)
            sent = process.send(number, after=earlier)
            ended = process.wait()
            if sent and (ended.status not in (DONE, -number) or differences(expected, folder)):
                break  # otherwise all was done before, and the next try is stopped earlier
        part.cases += 1
        what = f"{number.name} after {earlier:.2f} s of {command[0] if command[0].isalpha() else 'a run'}"
        part.require(ended.status == status, f"{what}: not status {status}", ended)
        lines = [line for line in ended.text.splitlines() if CONTINUES in line]
        part.require(len(lines) == 1, f"{what}: {len(lines)} lines say how to continue", ended)
        part.require(ended.is_clean, f"{what}: a traceback", ended)
        ended = finish(*command, folder=part.folder)
        part.require(ended.status == DONE and ended.is_clean, f"{what}: continued, it does not end well", ended)
        part.require_equal(expected, folder, f"{what}, continued")


def shards(part: Part) -> None:
    """Two shards that start at the same time, or a moment apart, in a folder that is not there yet."""
    whole = photos(part.folder / "photos", part.count(6, 3), broken=False)
    with_failures = photos(part.folder / "broken", part.count(6, 3), broken=True)
    part.options = [option for option in part.options if not option.startswith("data.size")]
    kinds = []
    for data, status in ((whole, DONE), (with_failures, IMAGES_FAILED)):
        expected, length = part.undisturbed(*data, status=status)
        kinds.append((data, status, expected, length))
    for position, share in enumerate(part.offsets(part.count(20, 2), 1.0)):
        data, status, expected, length = kinds[position % 2]
        name = part.new_name()
        command = [*part.options, *data, f"out={name}", "shard.count=2"]
        first = start(*command, "shard.index=0", folder=part.folder)
        time.sleep(share * length * 0.7 if position % 4 else 0.0)
        second = start(*command, "shard.index=1", folder=part.folder)
        part.cases += 1
        what = f"shards of {name}, {share * length:.2f} s apart"
        for ended in (first.wait(), second.wait()):
            part.require(ended.status == status and ended.is_clean, f"{what}: not status {status}", ended)
        part.require_equal(expected, part.folder / name, what, shards=True)
        part.require_verified(part.folder / name, what)


def twice(part: Part) -> None:
    """Two processes start on one shard: one works, the other is refused with who works, or waits if it is asked to."""
    expected, length = part.undisturbed()
    for waits, tries in ((False, part.count(20, 1)), (True, part.count(10, 1))):
        for position, offset in enumerate(part.offsets(tries, 0.6 * length)):
            name = part.new_name()
            command = [*part.options, f"out={name}", *(["lock.wait=120"] if waits else [])]
            processes: list[Process] = [start(*command, folder=part.folder)]
            time.sleep(offset if position % 3 else 0.0)
            processes.append(start(*command, folder=part.folder))
            ended = sorted((process.wait() for process in processes), key=lambda end: end.status or 0)
            part.cases += 1
            what = f"twice, {offset:.2f} s apart, {'waiting' if waits else 'not waiting'}"
            part.require(all(end.is_clean for end in ended), f"{what}: a traceback", ended[-1])
            statuses = [end.status for end in ended]
            if waits:
                part.require(statuses == [DONE, DONE], f"{what}: {statuses}", ended[-1])
                skipped = [re.findall(r"(\d+) of (\d+) images are done and skipped", end.text) for end in ended]
                part.require(sum(bool(s) and s[0][0] == s[0][1] for s in skipped) == 1, f"{what}: work is done twice")
            else:
                part.require(statuses == [DONE, REFUSED], f"{what}: {statuses}", ended[-1])
                named = len(ended[-1].errors) == 1 and any(str(p.pid) in ended[-1].errors[0] for p in processes)
                part.require(named, f"{what}: the refusal does not name the holder's pid", ended[-1])
            part.require_equal(expected, part.folder / name, what)


def disk(part: Part) -> None:
    """A full disk at several moments in a row; after space is made, the same command continues."""
    expected, _ = part.undisturbed()
    tries = part.count(5, 2)
    with small_disk(part.folder / "disk") as place:
        part.figures["by"] = "a full tmpfs" if place is not None else "RLIMIT_FSIZE, as mounting is not allowed"
        run = (place or part.folder) / "run"
        command = [*part.options, f"out={run}"]
        for share in part.offsets(tries, 0.5):
            there = set(names_below(run))
            files = [expected / name for name in names_below(expected) if name not in there]
            room = int(share * sum(file.stat().st_size for file in files))  # of what is not there yet
            if place is not None:
                fill(place, leave=room)
                ended = finish(*command, folder=part.folder)
            else:
                largest = max(file.stat().st_size for file in files)
                ended = start(*command, folder=part.folder, file_limit=int(largest * share)).wait()
            part.cases += 1
            what = f"disk with room for {room} bytes"
            part.require(ended.status == FAULT, f"{what}: not status {FAULT}", ended)
            part.require(ended.is_clean and len(ended.errors) == 1, f"{what}: not one sentence", ended)
            if run.exists():
                part.require_equal(expected, run, what, partial=True)
        if place is not None:
            (place / "filling").unlink(missing_ok=True)
        ended = finish(*command, folder=part.folder)
        part.require(ended.status == DONE and ended.is_clean, "with space again, the run does not end well", ended)
        part.require_equal(expected, run, "with space again")
        part.require_verified(run, "with space again")


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path | None]:
    """A file system of 4 MB for the length of a context; None if this process may not mount one."""
    path.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True, check=False
    ).returncode
    try:
        yield path if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(path)], check=False)


def fill(place: Path, *, leave: int) -> None:
    """Fills a file system until so many bytes are free."""
    filling = place / "filling"
    filling.unlink(missing_ok=True)
    facts = os.statvfs(place)
    filling.write_bytes(bytes(max(0, facts.f_bavail * facts.f_frsize - leave)))


def gone(part: Part) -> None:
    """The run folder is moved away at random moments of a run; when it is back, the same command continues."""
    expected, length = part.undisturbed()
    for offset in part.offsets(part.count(5, 1), length):
        for earlier in (offset * 0.7**k for k in range(TRIES)):
            run = part.folder / part.new_name()
            aside = run.with_suffix(".aside")
            process = start(*part.options, f"out={run.name}", folder=part.folder)
            while not (run / "run.json").exists() and not process.has_ended():
                time.sleep(0.005)
            time.sleep(max(0.0, process.began + earlier - time.monotonic()))
            run.rename(aside)
            ended = process.wait()
            if ended.status != DONE:
                break  # otherwise all was done before, and the next try is earlier
        part.cases += 1
        what = f"folder moved away after {earlier:.2f} s"
        part.require(ended.status == FAULT, f"{what}: not status {FAULT}", ended)
        part.require(ended.is_clean and len(ended.errors) == 1, f"{what}: not one sentence", ended)
        part.require(not run.exists(), f"{what}: another folder is made in its place")
        shutil.rmtree(run, ignore_errors=True)
        aside.rename(run)
        ended = finish(*part.options, f"out={run.name}", folder=part.folder)
        part.require(ended.status == DONE and ended.is_clean, f"{what}: continued, it does not end well", ended)
        part.require_equal(expected, run, f"{what}, continued")


def images(part: Part) -> None:
    """Broken image files, and whole ones of unusual sizes, loaded as a run loads them."""
    decoding = decode_broken(part.folder, part.count(10_000, 300), part.draw.randrange(1000))
    part.figures = decoding.figures()
    if not part.quick:
        large = decode_large(part.folder)
        decoding.files += large.files
        part.figures |= {f"{key}_of_large_files": value for key, value in large.figures().items() if "est_" in key}
    part.cases = len(decoding.files)
    part.faults = decoding.faults


def configure(part: Part) -> None:
    """Unusual configurations: all are refused in one sentence, or run to the end."""
    os.environ["FAULTS_NUMBER"] = "2"
    every = configurations()
    chosen = part.draw.sample(every, 12) if part.quick else every
    rows = list(outcomes(part.folder, chosen))
    part.cases = len(rows)
    part.faults = [row.fault for row in rows if row.fault is not None]
    part.figures = {outcome: sum(row.outcome == outcome for row in rows) for outcome in ("refused", "ends")}
    slow = [row for row in rows if row.outcome == "refused" and row.cpu_seconds > 3]
    part.figures["refusals_over_3_seconds"] = len(slow)
    part.figures["rows"] = [asdict(row) for row in rows]


PARTS: Mapping[str, Callable[[Part], None]] = {
    "kill": kill,
    "term": stop_by(signal.SIGTERM, 143),
    "int": stop_by(signal.SIGINT, 130),
    "hup": stop_by(signal.SIGHUP, 129),
    "shards": shards,
    "workers": kill_workers,
    "stopped": stop_workers,
    "twice": twice,
    "disk": disk,
    "gone": gone,
    "images": images,
    "configurations": configure,
}
TITLES = {
    "kill": "SIGKILL at a random moment of a run, and continued",
    "term": "SIGTERM (a run, `evaluate`, `audit`), and continued",
    "int": "SIGINT, the same",
    "hup": "SIGHUP, the same",
    "shards": "two shards started at once in a new folder",
    "workers": "SIGKILL of random workers, of four that share a folder",
    "stopped": "SIGSTOP of random workers, which wake after their claims were taken",
    "twice": "the same shard started twice, refused or waiting",
    "disk": "disk full, and continued when there is space",
    "gone": "run folder moved away, and continued when it is back",
    "images": "broken image files, loaded",
    "configurations": "unusual configurations",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the parts asked for, or prints the table, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a sample of each part")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and the broken files (%(default)s)")
    parser.add_argument("--results", type=Path, help=f"where the results go (default: {RESULTS})")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of stored results")
    args = parser.parse_args(arguments)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))} is no part; choose some of {', '.join(PARTS)}")
    results: Path | None = args.results or (None if args.quick and not args.table else RESULTS)
    if args.table:
        assert results is not None
        sys.stdout.write(table(results))
        return 0
    preload()
    faults = 0
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        for name in args.parts or PARTS:
            faults += len(run_part(name, Path(folder), seed=args.seed, quick=args.quick, results=results))
    return 1 if faults else 0


def run_part(name: str, folder: Path, *, seed: int, quick: bool, results: Path | None) -> list[str]:
    """Runs a part, prints its line, stores what was found, and returns the faults."""
    began = time.monotonic()
    options = [*make_network(folder), f"data.size={3 if quick else 6}"]
    part = Part(folder / name, random.Random(f"{seed} {name}"), quick, options)
    part.folder.mkdir()
    try:
        PARTS[name](part)
    except UserError as error:  # a part that cannot be done is no success
        part.faults.append(str(error))
    seconds = time.monotonic() - began
    rows = part.figures.pop("rows", None)
    numbers = "".join(f", {key.replace('_', ' ')}: {value}" for key, value in part.figures.items())
    print(f"{name}: {part.cases} cases, {len(part.faults)} faults{numbers} ({seconds:.0f} s)", flush=True)
    for fault in part.faults:
        print(f"  {fault}", flush=True)
    if results is not None:
        facts = {
            "part": name,
            "cases": part.cases,
            "faults": part.faults,
            "figures": part.figures,
            "seconds": round(seconds),
            "seed": seed,
            "quick": quick,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "pillow": Image.__version__},
            "system": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores",
        }
        write_json(results / f"{name}.json", facts)
        if rows is not None:
            write_bytes(results / f"{name}.csv", format_csv(rows).encode())
    return part.faults


def preload() -> None:
    """Imports what the program imports late, so that a fork begins its work at once."""
    import matplotlib.figure  # noqa: F401

    import inr_xai.audit.__main__
    import inr_xai.callbacks
    import inr_xai.cli
    import inr_xai.evaluate.__main__
    import inr_xai.pipeline
    import inr_xai.runs.verify  # noqa: F401

    logging.getLogger().handlers.clear()


def table(results: Path) -> str:
    """Returns the Markdown table of the stored results."""
    rows = []
    for name, title in TITLES.items():
        file = results / f"{name}.json"
        if file.is_file():
            facts = json.loads(file.read_text())
            figures = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts["figures"].items())
            rows.append([title, str(facts["cases"]), str(len(facts["faults"])), figures or "-", str(facts["seconds"])])
    return markdown_table(["fault", "cases", "not held", "figures", "seconds"], rows)


if __name__ == "__main__":
    raise SystemExit(main())
