"""Joins runs of one configuration, whose images were explained in folders of their own, to one run folder.

    inr-xai merge RUN RUN... --out FOLDER [logger=none] [data.root=PATH]

It is for shards that were computed on machines without a common disk; shards that share a folder need no joining. The
runs must not differ in anything that changes results. Masks and figures are joined (as hard links where that can be),
and tables, summary and index are made of all images. Values of `inr-xai evaluate` are joined where all runs have the
same ones. The folder is a run like any other, and the same command with out=FOLDER continues it.

An image that is in several runs counts once, as the first of them has it. If anything fails, there is no FOLDER.

If the runs were logged to W&B, so is the whole, as a W&B run of its own, with the options of the first one; logger=none
leaves it out. Its pictures need the data and the classifier.
"""

import argparse
import logging
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from omegaconf import DictConfig

from inr_xai.config import exit_status
from inr_xai.config.programs import runs_and_options
from inr_xai.errors import UserError, listing
from inr_xai.evaluate.evaluation import write_results_tables
from inr_xai.evaluate.results import OWN, Results
from inr_xai.instantiate import build_method, log_measured, stored_configuration, update_run
from inr_xai.method import Method
from inr_xai.runs.csv_store import TextRow
from inr_xai.runs.files import whole_folder
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.load import load
from inr_xai.runs.merge import join_runs, require_joinable
from inr_xai.runs.tables import conclude_run

EVALUATION, AUDIT = "evaluation", "audit"
FOR_WANDB = ("logger", "data", "classifier")
"""The nodes of a configuration that say whether and how the whole is logged, and whence its pictures come."""
log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="inr-xai merge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folders of runs of one configuration; then options for W&B, KEY=VALUE"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    parser.add_argument(
        "--allow-targets", nargs="+", default=[], metavar="NAME", help="packages of the runs' own parts that you trust"
    )
    args = parser.parse_intermixed_args(arguments)

    def work() -> int:
        runs, options = runs_and_options(args.runs)
        return merge_runs(runs, args.out, args.allow_targets, options=options)

    return exit_status(work)


def merge_runs(
    runs: Sequence[Path], out: Path, allow_targets: Sequence[str] = (), *, options: Sequence[str] = ()
) -> int:
    """Joins runs to a new run folder, logs it to W&B if the first of them was, and returns 0.

    Args:
        options: those of the first run that W&B's run is to have otherwise, KEY=VALUE; see FOR_WANDB.

    Raises:
        UserError: an option is none of these, the runs do not belong together, somebody works on one of them, or `out`
            is no empty folder.
        RunFault: a fault of the machine.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is no empty folder; give another --out FOLDER")
    folders = [RunFolder(run) for run in runs]
    require_joinable(folders)
    cfg = _configuration(runs[0], allow_targets, options)
    method = None if cfg is None else _method(cfg)
    with whole_folder(out) as path:
        into = RunFolder(path)
        stored, failures = join_runs(folders, into, out)
        summary, facts = conclude_run(into, stored, failures=len(failures), method=method)
        update_run(into, **facts)
        if unmeasured := join_evaluations(folders, into, stored):
            into.write_summary(summary | {"unmeasured": unmeasured})
    planned = RunFolder(out).read_run().get("planned")
    left = "" if planned is None else f" of {planned}"
    log.info("%d%s images explained, %d failed; everything is in %s", len(stored), left, len(failures), out)
    if any((run / EVALUATION).is_dir() for run in runs):
        log.info("inr-xai evaluate %s measures what is missing", out)
    if any((run / AUDIT).is_dir() for run in runs):
        log.info("audits are not joined; inr-xai audit %s makes one of all images", out)
    if cfg is not None:
        measured = [EVALUATION] if (out / EVALUATION / f"{OWN}.csv").is_file() else []
        log_measured(["explanations", *measured], load(out, allow_targets), cfg, shard=(0, 1))
    return 0


def join_evaluations(folders: Sequence[RunFolder], into: RunFolder, ids: Collection[str]) -> int:
    """Joins the measured values that all runs with images have, and returns how many images lack some of the run's own.

    What is not joined is logged.

    Args:
        ids: the images of the joined run.
    """
    places = {folder.path / EVALUATION: folder.done() for folder in folders if folder.done()}
    unmeasured = 0
    for name in sorted({file.name for place in places for file in place.glob("*.csv")}):
        parts = [Results(place / name) for place in places]
        if len({frozenset(part.columns) for part in parts}) > 1:
            log.warning("%s/%s is not joined, because the runs do not have the same metrics", EVALUATION, name)
            continue
        rows: dict[str, TextRow] = {}
        taken: set[str] = set()
        for part, done in zip(parts, places.values(), strict=True):
            own = (done & set(ids)) - taken  # an image in several runs has the masks of the first
            rows |= {sample_id: part.rows[sample_id] for sample_id in sorted(own & part.rows.keys())}
            taken |= own
        joined = Results(into.path / EVALUATION / name)
        for sample_id in sorted(rows):
            joined.add(sample_id, rows[sample_id])
        if joined.columns:
            write_results_tables(joined)
        if name == f"{OWN}.csv":
            unmeasured = sum(sample_id not in rows or bool(joined.failed(sample_id)) for sample_id in ids)
    return unmeasured


def _configuration(run: Path, allow_targets: Sequence[str], options: Sequence[str]) -> DictConfig | None:
    """Returns the configuration of a run with other options for W&B; None if it is of an earlier version, and refused.

    Raises UserError for options of anything else.
    """
    for option in options:
        if re.split(r"[.=]", option)[0] not in FOR_WANDB:
            raise UserError(
                f"{option} says nothing of the W&B run of the whole, and all else stays as it is; leave it out, or "
                f"give options of {listing(FOR_WANDB)}"
            )
    try:
        return stored_configuration(load(run).config, [f"allow_targets=[{','.join(allow_targets)}]", *options])
    except UserError as error:
        if options:
            raise
        log.warning("classifier passes are not counted, and W&B gets no run: %s", error)
        return None


def _method(cfg: DictConfig) -> Method | None:
    """Returns the method of a run, by which classifier passes are counted; None if a part of it may not be imported."""
    try:
        return build_method(cfg)
    except UserError as error:
        log.warning("classifier passes are not counted: %s", error)
        return None


if __name__ == "__main__":
    sys.exit(main())
