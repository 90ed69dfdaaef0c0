"""The jobs of a multirun side by side, read from their folders: one table, as sweep.csv and sweep.md beside them.

A job leaves job.json in its run folder: which values it was given, and how it ended. Jobs that share a folder
(`shards=n`) leave a note each, `jobs/<i>-of-<n>.json`, and are one row. All else is in the folder's run.json and
summary.json. `python -m inr_xai.sweeps FOLDER` makes the table again.

Start reading at `conclude_multirun`: `read_jobs`, then `sweep_table`, then the files and W&B.
"""

import argparse
import logging
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inr_xai.columns import BASELINES, less_is_better
from inr_xai.config import exit_status
from inr_xai.errors import UserError, error_text
from inr_xai.instantiate import instantiate
from inr_xai.limits import AUTO
from inr_xai.runs.files import format_csv, markdown_table, read_json, write_bytes, write_json
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.processes import is_running, machine, start_time
from inr_xai.types import Cell

log = logging.getLogger(__name__)

JOB_FILE, SHARDS_FOLDER = "job.json", "jobs"
RUNNING, DONE, FAILED, INTERRUPTED, UNFINISHED = "running", "done", "failed", "interrupted", "unfinished"
PRESERVATION = "preservation_hard_mean_rel"
FIGURES = {
    f"{PRESERVATION}/k1": ("preservation", ".3f"),
    "deletion_hard_mean_rel/k1": ("deletion", ".3f"),
    **{f"preservation_hard_{baseline}_rel/k1": (baseline, ".3f") for baseline in BASELINES},
    "grayness/k1": ("grayness", ".3f"),
    "area_error/k1": ("area error", ".4f"),
    "nesting_violation/k1": ("nesting violation", ".4f"),
}
"""Key of summary.json -> the heading of its column in sweep.md, and how its numbers are written there."""
COUNTS = {
    "explanations/mean": ("mean explanations", ".2f"),
    "seconds_per_image": ("s/image", ".1f"),
    "passes_per_image": ("passes/image", ".0f"),
    "images": ("images", ".0f"),
    "failures": ("failures", ".0f"),
}
WIDEST = 24
"""A longer cell, such as the reason of a failure, does not widen its column in sweep.md."""


@dataclass(frozen=True)
class Job:
    """One job of a multirun, or the jobs that share a folder as its shards.

    Args:
        number: its number; of shards, that of their folder.
        values: option -> the value that the job was given on its command line.
        status: "done", "unfinished" (it runs, as far as this machine knows, or has not begun), "interrupted" (by a
            signal, or its process was killed) or "failed: " with the reason.
        summary: the content of its summary.json; empty unless the job is done.
        facts: the content of its run.json; empty if it has none.
    """

    folder: Path
    number: int
    values: dict[str, str]
    status: str
    summary: dict[str, Any]
    facts: dict[str, Any]


@dataclass(frozen=True)
class SweepTable:
    """The table of a multirun: a row per run folder, in their order.

    Args:
        columns: the names of the columns in sweep.csv: keys of summary.json and names of options.
        headings: the headings of the columns in sweep.md.
        formats: how the numbers of each column are written in sweep.md.
        metric: the key by which jobs are ranked; None if no job has a run.json that says it.
        best: the place of the row that is best by it, from 0; None if fewer than two rows have a value.
    """

    columns: list[str]
    headings: list[str]
    formats: list[str]
    rows: list[list[Cell]]
    metric: str | None
    best: int | None

    def csv(self) -> str:
        """Returns the table with all digits, one line per job; a cell is empty if the job has no value."""
        return format_csv([dict(zip(self.columns, row, strict=True)) for row in self.rows], self.columns)

    def markdown(self) -> str:
        """Returns the table in columns of even width, so that it reads well as plain text, too."""
        values = zip(*self.rows, strict=True)
        columns = [_text_column(*column) for column in zip(self.headings, values, self.formats, strict=True)]
        head, rules, *rows = zip(*columns, strict=True)
        return markdown_table(head, rows, rules=rules, bar="|")  # bars in the cells are escaped already


def note_job(
    folder: str | Path,
    number: int,
    overrides: Sequence[str],
    status: str,
    reason: str = "",
    *,
    shard: tuple[int, int] | None = None,
) -> None:
    """Writes the job's note; `status` is running, done, failed or interrupted, and `reason` says why it failed.

    Args:
        number: the number of the job; of a shard, that of its folder.
        overrides: the job's options as KEY=VALUE, as on the command line.
        shard: index and count if the job shares its folder with others.
    """
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    values = {key: value for key, _, value in pairs if shard is None or key != "shard.index"}
    file = JOB_FILE if shard is None else f"{SHARDS_FOLDER}/{shard[0]}-of-{shard[1]}.json"
    pid = os.getpid()
    note = {
        "job": number,
        "values": values,
        "status": status,
        "reason": " ".join(reason.split()),
        "process": [machine(), pid, start_time(pid)],
    }
    write_json(Path(folder) / file, note)


def read_jobs(folder: str | Path) -> list[Job]:
    """Returns the jobs whose folders lie below `folder`, in their order; none if it is no multirun's folder.

    Jobs that share a folder are one.
    """
    jobs = [_read_job(path, notes) for path, notes in _noted_folders(Path(folder))]
    return sorted(jobs, key=lambda job: (job.number, str(job.folder)))


def sweep_table(jobs: Sequence[Job]) -> SweepTable:
    """Puts jobs side by side: the options that differ between them, then their scores, then how they ended.

    The scores are those of explanation 1, means over areas, and the preservation of each later explanation.
    """
    swept = _swept_options(jobs)
    metric = next((job.facts["config"]["sweep_metric"] for job in jobs if job.facts), None)
    figures = _figures(jobs, metric)
    best = _best_row(jobs, metric)
    rows: list[list[Cell]] = []
    for place, job in enumerate(jobs):
        row: list[Cell] = [job.number, "best" if place == best else None]
        row += [column[place] for column in swept.values()]
        rows.append([*row, *(job.summary.get(key) for key in figures), job.status])
    options = list(swept)
    return SweepTable(
        columns=["job", "best", *options, *figures, "status"],
        headings=["job", "", *options, *(heading for heading, _ in figures.values()), "status"],
        formats=["", "", *(".4g" for _ in options), *(form for _, form in figures.values()), ""],
        rows=rows,
        metric=metric,
        best=best,
    )


def write_sweep_table(folder: str | Path, table: SweepTable) -> None:
    """Writes sweep.csv and sweep.md into the multirun's folder."""
    folder = Path(folder)
    write_bytes(folder / "sweep.csv", table.csv().encode())
    text = f"# {folder.resolve().name}\n\n{table.markdown()}\n{_legend(table)}\n"
    write_bytes(folder / "sweep.md", text.encode())


def conclude_multirun(folder: Path) -> str | None:
    """Writes the table of a multirun that has ended, and logs it to W&B if the jobs' logger is on.

    Returns:
        The table as Markdown; None if no job has begun.
    """
    jobs = read_jobs(folder)
    if not jobs:
        return None
    table = sweep_table(jobs)
    write_sweep_table(folder, table)
    try:
        _log_to_wandb(folder, jobs, table)
    except Exception as error:  # the table is there, and how the jobs ended is the status of the program
        log.warning("W&B does not get the table of the jobs: %s", error_text(error), exc_info=True)
    return table.markdown()


def _log_to_wandb(folder: Path, jobs: Sequence[Job], table: SweepTable) -> None:
    """Logs the table of a multirun to W&B if the jobs' logger is on."""
    logged = [job.facts for job in jobs if (job.facts.get("config", {}).get("logger") or {}).get("wandb")]
    if not logged:
        return
    from inr_xai.loggers.sweep import log_sweep  # late: many multiruns have no W&B

    cells = list(zip(*table.rows, strict=True))
    log_sweep(
        dict(zip(table.columns, cells, strict=True)),
        instantiate(logged[0]["config"]["logger"]["wandb"]),
        options=list(_swept_options(jobs)),
        folders=[job.folder for job in jobs],
        metric=table.metric,
        best=table.best,
        folder=folder,
        run_id=f"sweep-{logged[0]['wandb_id']}",
    )


def _noted_folders(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yields the run folders below a folder, each with the notes of its jobs; it looks no deeper than these."""
    for path, folders, _ in os.walk(folder):
        if notes := _newest_notes(Path(path)):
            yield Path(path), notes
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]


def _newest_notes(folder: Path) -> list[Path]:
    """Returns the notes of the jobs of a run folder: one, or those of all shards.

    If the folder was continued with another number of shards, the notes of the last one that wrote are returned.
    """
    groups: dict[str, list[Path]] = {}
    for file in [folder / JOB_FILE, *(folder / SHARDS_FOLDER).glob("*-of-*.json")]:
        if file.is_file():
            groups.setdefault(file.stem.partition("-of-")[2], []).append(file)
    newest = {count: max(file.stat().st_mtime_ns for file in files) for count, files in groups.items()}
    return sorted(groups[max(newest, key=lambda count: newest[count])]) if groups else []


def _read_job(path: Path, files: Sequence[Path]) -> Job:
    """Reads a run folder, and the notes of its jobs.

    Damaged or missing files become its status, and cost no other folder its row.
    """
    notes, folder = [read_json(file) for file in files], RunFolder(path)
    states, summary, facts = [_state(note) for note in notes], {}, {}
    states += [""] * (int(files[0].stem.partition("-of-")[2] or 1) - len(states))  # shards that have not begun
    status = next((state for state in states if state.startswith(FAILED)), DONE)
    if status == DONE and set(states) != {DONE}:
        status = INTERRUPTED if INTERRUPTED in states and UNFINISHED not in states else UNFINISHED
    try:
        facts = folder.read_run() if folder.exists() else {}
        if status != DONE and UNFINISHED not in states and _covers_plan(folder, facts):
            status = DONE  # other shards have done what the dead one left
        summary = folder.read_summary() if status == DONE else {}
    except UserError as error:
        status = f"{FAILED}: {error}"
    return Job(path, int(notes[0]["job"]), notes[0]["values"], status, summary, facts)


def _state(note: Mapping[str, Any]) -> str:
    """Returns how the job stands of which this is the note; see `Job.status`."""
    running = INTERRUPTED if _is_killed(note) else UNFINISHED
    status = str(note["status"])
    return {RUNNING: running, FAILED: f"{FAILED}: {note['reason']}"}.get(status, status)


def _covers_plan(folder: RunFolder, facts: Mapping[str, Any]) -> bool:
    """Returns whether every image of all shards is explained, or noted as failed."""
    if not isinstance(facts.get("planned"), int) or not (folder.path / "summary.json").exists():
        return False
    summary = folder.read_summary()
    return int(summary.get("images", 0)) + int(summary.get("failures", 0)) >= facts["planned"]


def _is_killed(note: Mapping[str, Any]) -> bool:
    """Returns whether the process that wrote a job's note is one of this machine and has ended."""
    where, *process = note.get("process", [""])  # older versions did not write it
    return where == machine() and not is_running(*process)


def _swept_options(jobs: Sequence[Job]) -> dict[str, list[Cell]]:
    """Returns option -> its value in each job, for the options that differ; numbers if all its values are numbers."""
    keys = dict.fromkeys(key for job in jobs for key in job.values)
    columns = {key: [job.values.get(key) for job in jobs] for key in keys}
    return {key: _typed(values) for key, values in columns.items() if len(set(values)) > 1}


def _typed(values: Sequence[str | None]) -> list[Cell]:
    """Returns the values as numbers if all of them are numbers, else as they are.

    >>> _typed(["1", None, "2"]), _typed(["0.5", "1"]), _typed(["1", "none"])
    ([1, None, 2], [0.5, 1.0], ['1', 'none'])
    """
    for kind in (int, float):
        try:
            return [None if value is None else kind(value) for value in values]
        except ValueError:
            continue
    return list(values)


def _figures(jobs: Sequence[Job], metric: str | None) -> dict[str, tuple[str, str]]:
    """Returns the summary's keys to show, with headings and formats: keys that at least one job has.

    The key that ranks the jobs is among them. How many explanations an image has is shown if the images decide it.
    """
    known = {key for job in jobs for key in job.summary}
    if not any(job.facts["config"].get("explanations") == AUTO for job in jobs if job.facts):
        known.discard("explanations/mean")
    explanations = sorted(int(match[1]) for key in known if (match := re.fullmatch(rf"{PRESERVATION}/k(\d+)", key)))
    figures = FIGURES | {f"{PRESERVATION}/k{k}": (f"preservation k{k}", ".3f") for k in explanations if k > 1}
    if metric is not None:
        figures = figures | {metric: figures.get(metric, (metric, ".4g"))}
    return {key: style for key, style in (figures | COUNTS).items() if key in known}


def _best_row(jobs: Sequence[Job], metric: str | None) -> int | None:
    """Returns the place of the job with the best finite value; None if fewer than two jobs have one."""
    values = {place: job.summary.get(metric) for place, job in enumerate(jobs)} if metric is not None else {}
    finite = {place: value for place, value in values.items() if value is not None and math.isfinite(value)}
    if metric is None or len(finite) < 2:
        return None
    return (min if less_is_better(metric) else max)(finite, key=lambda place: finite[place])


def _legend(table: SweepTable) -> str:
    """Says what the columns are, and by what a row is the best."""
    text = (
        "Explanation 1, means over areas and images. Preservation, under each baseline too, and deletion are of hard "
        "masks, relative to p_full."
    )
    if table.metric is None:
        return text
    which = "lowest" if less_is_better(table.metric) else "highest"
    return f"{text} Best: the {which} {table.metric}."


def _text_column(heading: str, values: Sequence[Cell], form: str) -> list[str]:
    """Returns heading, rule and cells of a column of sweep.md, padded to one width; numbers stand to the right."""
    cells = [_text_cell(value, form) for value in values]
    width = max(3, len(heading), *(len(cell) for cell in cells if len(cell) <= WIDEST))
    if any(isinstance(value, int | float) for value in values):
        return [text.rjust(width) for text in (heading, "-" * (width - 1) + ":", *cells)]
    return [text.ljust(width) for text in (heading, "-" * width, *cells)]


def _text_cell(cell: Cell, form: str) -> str:
    """Returns a cell of sweep.md, on one line and with its bars escaped."""
    if isinstance(cell, float):
        return f"{cell:{form}}"
    return "" if cell is None else " ".join(str(cell).split()).replace("|", r"\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, makes the table of a multirun again, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m inr_xai.sweeps",
        description="Writes the table of a multirun's jobs again, as sweep.csv and sweep.md, and prints it.",
    )
    parser.add_argument("folder", help="the folder of a multirun")
    args = parser.parse_args(arguments)
    return exit_status(lambda: print_sweep_table(args.folder))


def print_sweep_table(folder: str | Path) -> int:
    """Writes and prints the table of a multirun, and returns the number of failures, which is 0.

    Raises UserError if the folder holds no job.
    """
    jobs = read_jobs(folder)
    if not jobs:
        raise UserError(f"{folder} holds no {JOB_FILE} of a job; give the folder of a multirun")
    table = sweep_table(jobs)
    write_sweep_table(folder, table)
    sys.stdout.write(table.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
