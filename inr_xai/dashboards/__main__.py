"""Builds a workspace at W&B that shows a project's runs in a few sections, and a report of a sweep.

    inr-xai dashboard --project P                                   the workspace
    inr-xai dashboard --project P --report SWEEP                    and a report of the runs of one group
    inr-xai dashboard --project P --out dashboard.json              and its JSON

Where W&B cannot be reached, the JSON alone is written. Calling again replaces the workspace; a report is a new one each
time.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inr_xai.columns import SUMMARY_COLUMNS
from inr_xai.config import exit_status
from inr_xai.dashboards.build import METRIC, OPTIONS, Dashboard, Place, build
from inr_xai.errors import RunFault, UserError, did_you_mean
from inr_xai.runs.files import write_json
from inr_xai.runs.folder import flatten

FILE = Path("dashboard.json")
TARGET = "_target_"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="inr-xai dashboard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT") or "inr_xai", help="default: %(default)s")
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY") or "", help="default: that of the API key")
    parser.add_argument(
        "--report", nargs="?", const="", metavar="GROUP", help="also a report, of the runs of a group (default: of all)"
    )
    parser.add_argument("--metric", default=METRIC, help="the sweep_metric of the runs; default: %(default)s")
    parser.add_argument("--options", metavar="KEYS", help=f"what a sweep varies; default: {','.join(OPTIONS)}")
    parser.add_argument("--out", type=Path, help=f"writes the JSON; default: {FILE}, only without a network")
    args = parser.parse_args(arguments)
    return exit_status(lambda: make_dashboard(args))


def make_dashboard(args: argparse.Namespace) -> int:
    """Saves the dashboard, or writes it as JSON, and returns 0.

    Raises:
        UserError: wandb-workspaces is not installed, or an argument is wrong.
        RunFault: W&B can be reached and refuses the dashboard; the JSON is written.
    """
    options = OPTIONS if args.options is None else configuration_keys(args.options.split(","))

    def built(entity: str) -> Dashboard:
        place = Place(require_project(args.project), entity, args.report or "")
        return build(place, report=args.report is not None, metric=require_metric(args.metric), options=options)

    dashboard = built(args.entity)  # what cannot be built is refused before W&B is asked
    from inr_xai.dashboards.saving import asking_wandb, default_entity, offline_reason, save

    with asking_wandb():
        reason = offline_reason()
        if reason is not None:
            file = write_content(dashboard, args.out or FILE)
            sys.stdout.write(f"W&B {reason}; the dashboard is in {file}, and the same command saves it at W&B later.\n")
            return 0
        try:
            if not args.entity:
                dashboard = built(default_entity())
            saved = save(dashboard)
        except RunFault as error:
            raise RunFault(f"{error}; the dashboard is in {write_content(dashboard, args.out or FILE)}") from error
    if args.out is not None:
        write_content(dashboard, args.out)
    sys.stdout.write("".join(f"{url}\n" for url in saved.urls))
    rest = "" if saved.unlinked is None else f"; the others are not ({saved.unlinked}), the same command links them"
    sys.stdout.write(f"{len(saved.linked)} runs are linked with their classifier and data{rest}.\n")
    return 0


def write_content(dashboard: Dashboard, file: Path) -> Path:
    """Writes the JSON of a dashboard, and returns the file."""
    write_json(file, dashboard.content())
    return file


def require_project(project: str) -> str:
    """Returns the name of a project. Raises UserError if W&B takes no such name."""
    if not project or any(sign in project for sign in "/\\#?%:"):
        raise UserError(rf"--project {project!r} is no name of a project at W&B; it must not hold any of / \ # ? % :")
    return project


def require_metric(metric: str) -> str:
    """Returns a key of the summary. Raises UserError if its column is none of the summary's."""
    column = metric.partition("/")[0]
    if column not in SUMMARY_COLUMNS:
        hint = did_you_mean(column, SUMMARY_COLUMNS) or f"; give the sweep_metric of the runs, such as {METRIC}"
        raise UserError(f"--metric {metric} asks for {column}, which is not a column of the summary{hint}")
    return metric


def configuration_keys(options: Sequence[str]) -> list[str]:
    """Returns the keys of a run's configuration that hold the options of a sweep; of a group such as inr, its class.

    Raises UserError if one is not an option.
    """
    from omegaconf import OmegaConf

    from inr_xai.config import composed

    config: Any = OmegaConf.to_container(composed("out=here"), resolve=True)
    known = flatten(config)
    for option in options:
        if option not in known and f"{option}.{TARGET}" not in known:
            hint = did_you_mean(option, known) or "; give keys of the configuration with commas between"
            raise UserError(f"--options names {option!r}, which is not an option of a run{hint}")
    return [option if option in known else f"{option}.{TARGET}" for option in options]


if __name__ == "__main__":
    sys.exit(main())
