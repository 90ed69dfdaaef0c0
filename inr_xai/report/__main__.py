"""One HTML page of finished runs: a summary in sentences, a gallery, and each image with its masks at every area.

    inr-xai report RUN                                  writes RUN/report.html
    inr-xai report RUN RUN2 --out FILE                  the same images in two runs, side by side
    inr-xai report RUN --maps RUN/maps/gradcam          beside another method's maps, as `inr-xai maps` writes them
    inr-xai report RUN data.root=PATH                   a run whose photos have moved

The page needs no other file and no network.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from inr_xai.config import exit_status
from inr_xai.config.programs import runs_and_options
from inr_xai.errors import UserError
from inr_xai.report.finished import MOST, PAGE, open_runs, report_of
from inr_xai.runs.files import write_bytes

COMPARISON = "comparison.html"
"""The page of several runs, or of a run beside other methods' maps, in the first run's folder."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="inr-xai report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", help="folders of finished runs; then options to change, such as data.root=PATH"
    )
    parser.add_argument(
        "--maps",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="another method's maps of RUN's images; again for each method",
    )
    parser.add_argument("--out", type=Path, help=f"the file to write; default: {PAGE}, or {COMPARISON}, in RUN")
    parser.add_argument("--limit", type=int, default=MOST, help="show so many images, the worst ones (%(default)s)")
    args = parser.parse_intermixed_args(arguments)

    def work() -> int:
        paths, overrides = runs_and_options(args.runs)
        if args.limit < 1:
            raise UserError(f"--limit {args.limit} shows no image; give at least 1")
        start = time.monotonic()
        page = report_of(open_runs(paths, overrides), maps=args.maps, most=args.limit).encode(errors="backslashreplace")
        out = args.out or paths[0] / (PAGE if len(paths) == 1 and not args.maps else COMPARISON)
        write_bytes(out, page)
        sys.stdout.write(f"{out} ({len(page) / 2**20:.1f} MB, made in {time.monotonic() - start:.0f} s)\n")
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
