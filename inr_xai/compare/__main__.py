"""Compares our masks with other methods: the same photos, areas and baselines; a CSV for each method, and tables.

    inr-xai compare --methods inr,gradcam,disc data.limit=2          the synthetic set and the demo classifier
    inr-xai compare --methods inr,torchray,gradcam --control 8 --set photos \\
        data=image_folder data.root=PATH data.targets=predicted data.limit=24 \\
        classifier=torchvision classifier.name=squeezenet1_0 classifier.checkpoint=FILE
    inr-xai compare --set photos --table --common torchray           the tables again, from the CSVs alone
    inr-xai compare --methods inr --variant short='steps=25' --variant blur='perturbation=blur'

All other options are those of a run (inr-xai --help). What is stored under the same settings is not computed again.
"""

import argparse
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from inr_xai.classifier.probe import examine_alone
from inr_xai.compare.comparison import DEFAULTS, Comparison, ComparisonContext, MapMaker, map_facts
from inr_xai.compare.methods.registry import METHODS, MethodFactory, MethodSetup, build_explainer
from inr_xai.compare.report import make_tables, write_curve, write_tables
from inr_xai.compare.store import MapCache, RowStore
from inr_xai.compare.stored_sheet import draw_stored_sheet
from inr_xai.compare.tables import common_photos, load_scores
from inr_xai.config import composed, exit_status
from inr_xai.config.environment import stored_form
from inr_xai.errors import UserError
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_data_and_classifier, build_method, instantiate, make_photo_pool, plain
from inr_xai.limits import require_probabilities
from inr_xai.loggers.tables import log_tables
from inr_xai.runner import sample_plan
from inr_xai.runs.shards import split_ids


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = parse(arguments)

    def work() -> int:
        failures = 0 if args.table else compare(args)
        report(args)
        return failures

    return exit_status(work)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="inr-xai compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="options of a run, such as data.limit=2 steps=50")
    parser.add_argument("--methods", default="inr,gradcam,disc", help=f"some of {', '.join(METHODS)}")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME=OPTIONS",
        help="a method of the name inr_NAME: ours with other options of a run; may be given several times",
    )
    parser.add_argument("--set", default="demo", help="name of the set of photos; its results and maps go under it")
    parser.add_argument(
        "--control", type=int, default=0, metavar="N", help="wrong-target control on the first N photos"
    )
    parser.add_argument("--layer", help="module that class activation maps read (the last feature map)")
    parser.add_argument("--sheet", type=int, metavar="N", help="draw the first N photos, sheet.png beside the maps")
    parser.add_argument("--sheet-areas", default="0.1,0.2", help="areas that are drawn")
    parser.add_argument("--threads", type=int, help="threads of the processor")
    parser.add_argument("--table", action="store_true", help="compute nothing, make the tables")
    parser.add_argument("--common", metavar="METHOD", help="tables on the photos that this method has")
    parser.add_argument("--wandb", action="store_true", help="log the tables to W&B, as logger.wandb says")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="where the CSVs go")
    parser.add_argument("--cache", type=Path, default=Path("outputs/compare"), help="where the maps go")
    return parser.parse_intermixed_args(arguments)


def read_variants(texts: Sequence[str]) -> dict[str, list[str]]:
    """Returns the options of each variant by its name.

    Raises:
        UserError: a text has no name or no options, or two variants or a variant and a method have one name.

    >>> read_variants(["short=steps=25 decay=1", "blur=perturbation=blur"])
    {'short': ['steps=25', 'decay=1'], 'blur': ['perturbation=blur']}
    """
    variants: dict[str, list[str]] = {}
    for text in texts:
        name, _, options = text.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_.@-]+", name) or not options.strip():
            raise UserError(f"--variant={text!r} must be a name and options, such as short='steps=25 decay=1'")
        if name in variants or f"inr_{name}" in METHODS:
            raise UserError(f"--variant names {name!r}, which another method has already; choose another name")
        variants[name] = shlex.split(options)
    return variants


def compare(args: argparse.Namespace) -> int:
    """Scores the methods on the photos, and returns how many failed."""
    variants = read_variants(args.variant)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    cfg = composed(*DEFAULTS, *args.overrides)
    require_probabilities(cfg.classifier.get("head"), "a comparison, whose tables are shares of p_full,")
    data, classifier = build_data_and_classifier(cfg)
    scoring, donors = (make_photo_pool(ids, data, classifier) for ids in (data.scoring_ids, data.donor_ids))
    trainer = plain(cfg.trainer)
    examine_alone(classifier, device_of(trainer), at_once=cfg.masks_per_forward)
    setup = MethodSetup(classifier, device_of(trainer), tuple(cfg.areas), layer=args.layer, seed=cfg.seed)
    maker = MapMaker(MapCache(args.cache / args.set), map_facts(stored_form(cfg)))
    factory = MethodFactory(
        setup,
        lambda options: build_method(composed(*DEFAULTS, *args.overrides, *options)),
        maker,
        donors=donors,
        trainer=trainer,
    )
    explainers = {name: build_explainer(name, factory) for name in args.methods.split(",") if name}
    explainers |= {f"inr_{name}": factory.variant(*options) for name, options in variants.items()}
    context = ComparisonContext(
        *(data, classifier, scoring, setup.areas, cfg.seed, setup.device),
        masks_per_forward=cfg.masks_per_forward,
        crops=cfg.data.get("photo"),
    )
    rows = RowStore(args.results / args.set)
    photos = split_ids(sample_plan(data), cfg.shard.count)[cfg.shard.index]
    failures = Comparison(context, explainers, maker=maker, rows=rows).run(photos, control=args.control)
    if args.sheet:
        file = args.cache / args.set / "sheet.png"
        areas = [float(area) for area in args.sheet_areas.split(",")]
        draw_stored_sheet(context, explainers, photos[: args.sheet], maker=maker, rows=rows, areas=areas, file=file)
    return failures


def report(args: argparse.Namespace) -> None:
    """Makes the tables and prints them; with --wandb it logs them as well."""
    methods = load_scores(RowStore(args.results / args.set))
    if args.common is not None:
        methods = common_photos(methods, args.common)
    tables = make_tables(methods)
    folder = args.results / args.set / "tables"
    print(write_tables(tables, folder))
    figures = write_curve(methods, folder)
    if args.wandb:
        settings = instantiate(composed(*DEFAULTS, *args.overrides, "logger=wandb").logger.wandb)
        log_tables(tables, settings, folder=args.cache / args.set, name=args.set, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
