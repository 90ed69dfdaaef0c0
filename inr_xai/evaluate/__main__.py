"""Measures a finished run, or another tool's maps of its images, without fitting again.

    inr-xai evaluate RUN                                    every metric that the data set allows
    inr-xai evaluate RUN --metrics pointing_game,road       these metrics only
    inr-xai evaluate RUN --maps FOLDER --name gradcam       maps in <image_id>.npy or .safetensors files
    inr-xai evaluate RUN data.root=PATH                     a run whose images have moved

Values per image go to RUN/evaluation/<name>.csv, and tables beside it. A value that is there is not measured again,
unless the maps or the options of data and classifier have changed.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from inr_xai.config import exit_status
from inr_xai.config.environment import stored_form
from inr_xai.evaluate.evaluation import evaluate_run
from inr_xai.evaluate.loop import EvaluationContext
from inr_xai.evaluate.registry import choose
from inr_xai.evaluate.results import OWN
from inr_xai.instantiate import stored_configuration, threads_of
from inr_xai.runs.load import load
from inr_xai.runs.lock import lock_of_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="inr-xai evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("overrides", nargs="*", help="options of the run to change, such as data.root=PATH")
    parser.add_argument("--metrics", help="names with commas between; default: all that fit nothing anew")
    parser.add_argument("--maps", type=Path, help="folder of another tool's maps, <image_id>.npy or .safetensors")
    parser.add_argument("--name", help="name of the results; default: that of the maps' folder, or masks")
    args = parser.parse_intermixed_args(arguments)

    def work() -> int:
        run = load(args.run)
        cfg = stored_configuration(run.config, args.overrides)
        run.allow_targets = tuple(cfg.allow_targets)
        metrics = args.metrics.split(",") if args.metrics else None
        own = args.maps is None
        choose(
            metrics, masks=own, fits=own, head=cfg.classifier.get("head", "softmax")
        )  # refuses before anything is built
        name = args.name or (OWN if args.maps is None else args.maps.resolve().name)
        with threads_of(cfg), lock_of_results(args.run, name):
            return evaluate_run(
                run,
                EvaluationContext.of_run(run, cfg),
                args.run / "evaluation",
                metrics=metrics,
                maps=args.maps,
                name=name,
                config=stored_form(cfg),
            )

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
