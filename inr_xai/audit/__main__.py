"""What a classifier leans on: the audit of a finished run with several disjoint explanations of each image.

    inr-xai audit RUN                             the report, printed and written to RUN/audit
    inr-xai audit RUN RUN2 --area 0.1             of two runs that differ in their seed, at one area
    inr-xai audit RUN --groups FILE.csv           with the user's own groups of classes (columns class, group)
    inr-xai audit RUN data.root=PATH              a run whose images have moved

Nothing is claimed without the wrong-target control. It is fitted once, into RUN/audit/control.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from inr_xai.audit.auditor import AREA, CONTROL_IMAGES, FOLDER, AuditOptions, audit_runs
from inr_xai.config import exit_status
from inr_xai.config.environment import stored_form
from inr_xai.config.programs import runs_and_options
from inr_xai.errors import UserError
from inr_xai.instantiate import log_measured, stored_configuration, threads_of
from inr_xai.runs.folder import differences
from inr_xai.runs.load import load
from inr_xai.runs.lock import lock_of_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="inr-xai audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", help="folders of finished runs; then options to change, such as data.root=PATH"
    )
    parser.add_argument(
        "--area", type=float, default=AREA, help="area of the regions, one of those fitted (%(default)s)"
    )
    parser.add_argument(
        "--control", type=int, default=CONTROL_IMAGES, metavar="N", help="number of images of the control (%(default)s)"
    )
    parser.add_argument("--groups", type=Path, help="CSV of your own groups of classes, with the columns class, group")
    parser.add_argument("--no-figures", action="store_true", help="write the report without a figure of each image")
    args = parser.parse_intermixed_args(arguments)
    options = AuditOptions(args.area, args.control, not args.no_figures, args.groups)

    def work() -> int:
        paths, overrides = runs_and_options(args.runs)
        runs = [load(path) for path in paths]
        cfg = stored_configuration(runs[0].config, overrides)
        for run in runs:
            run.allow_targets = tuple(cfg.allow_targets)
        if changed := differences(runs[0].config, stored_form(cfg)):
            raise UserError(f"an audit is of the run as it was; leave out what changes {', '.join(changed)}")
        with threads_of(cfg), lock_of_results(paths[0], FOLDER):
            failures = audit_runs(runs, cfg, paths[0] / FOLDER, options)
            log_measured(["audit"], runs[0], cfg, other=None if len(runs) == 1 else f"of-{len(runs)}-runs")
            return failures

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
