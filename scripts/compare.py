"""Compares our masks with other methods: the same photos, areas and baselines, a CSV per method, and tables.

    python scripts/compare.py --methods inr,gradcam,disc data.limit=2          the synthetic set and the demo classifier
    python scripts/compare.py --methods inr,torchray,gradcam --control 8 --set photos \\
        data=image_folder data.root=PATH data.targets=predicted data.limit=24 \\
        classifier=torchvision classifier.name=squeezenet1_0 classifier.checkpoint=FILE
    python scripts/compare.py --set photos --table --common torchray           the tables again, from the CSVs alone

Behind the flags stand options of train.py. What is stored under the same settings is not computed again.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from inr_xai.assembly import build, build_method, photo_pool, plain
from inr_xai.callbacks.comparison_table import log_comparison
from inr_xai.cli import conf_folder
from inr_xai.config import check, exit_status
from inr_xai.method import Method
from inr_xai.peers.comparison import Bench, Comparison, MapMaker
from inr_xai.peers.gallery import draw_sheet
from inr_xai.peers.methods import METHODS, Kit
from inr_xai.peers.methods import build as build_explainer
from inr_xai.peers.report import tables, write_curve, write_tables
from inr_xai.peers.store import MapCache, Rows
from inr_xai.peers.table import common_photos, load
from inr_xai.runner import sample_plan
from inr_xai.trainers import device_of

DEFAULTS = ("areas=[0.05,0.1,0.2,0.4]", "explanations=1")
LEFT_OUT = {"data": ("root", "limit", "every", "size", "targets"), "classifier": ()}
"""Options that change no map: which photos are taken. Their classes are stored with the maps."""
PATHS = ("checkpoint", "classes")


def main() -> None:
    """Runs the comparison and exits with the status of train.py."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = arguments()

    def work() -> int:
        failures = 0 if args.table else run(args)
        report(args)
        return failures

    sys.exit(exit_status(work))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="options of train.py, such as data.limit=2 steps=50")
    parser.add_argument("--methods", default="inr,gradcam,disc", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--set", default="demo", help="name of the set of photos; its results and maps go under it")
    parser.add_argument(
        "--control", type=int, default=0, metavar="N", help="wrong-target control on the first N photos"
    )
    parser.add_argument("--layer", help="module that class activation maps read (the last feature map)")
    parser.add_argument("--sheet", type=int, metavar="N", help="draw the first N photos, sheet.png beside the maps")
    parser.add_argument("--sheet-areas", default="0.1,0.2", help="areas that are drawn")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--table", action="store_true", help="compute nothing, make the tables")
    parser.add_argument("--common", metavar="METHOD", help="tables on the photos that this method has")
    parser.add_argument("--wandb", action="store_true", help="log the tables to W&B, as logger.wandb says")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="where the CSVs go")
    parser.add_argument("--cache", type=Path, default=Path("outputs/compare"), help="where the maps go")
    return parser.parse_intermixed_args()


def configured(*overrides: str) -> DictConfig:
    """The configuration of train.py with these options, checked."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=[*DEFAULTS, *overrides])
    check(cfg)
    return cfg


def run(args: argparse.Namespace) -> int:
    """Scores the methods on the photos, and returns how many failed."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    cfg = configured(*args.overrides)
    data, classifier = build(cfg.data), build(cfg.classifier)
    scoring, donors = (photo_pool(ids, data, classifier) for ids in (data.scoring_ids, data.donor_ids))
    device = device_of(plain(cfg.trainer))
    maker = MapMaker(MapCache(args.cache / args.set), facts(plain(cfg)))

    def method(options: Sequence[str]) -> Method:
        return build_method(configured(*args.overrides, *options))

    kit = Kit(
        classifier,
        device,
        tuple(cfg.areas),
        method,
        maker,
        seed=cfg.seed,
        layer=args.layer,
        donors=donors,
        trainer=plain(cfg.trainer),
    )
    explainers = {name: build_explainer(name, kit) for name in args.methods.split(",")}
    bench = Bench(data, classifier, scoring, kit.areas, cfg.seed, device, cfg.masks_per_forward)
    rows, photos = Rows(args.results / args.set), sample_plan(data, cfg.shard.index, cfg.shard.count)
    failures = Comparison(bench, explainers, maker=maker, rows=rows).run(photos, control=args.control)
    if args.sheet:
        file = args.cache / args.set / "sheet.png"
        areas = [float(area) for area in args.sheet_areas.split(",")]
        draw_sheet(bench, explainers, photos[: args.sheet], maker=maker, rows=rows, areas=areas, file=file)
    return failures


def facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What maps depend on beside the method; of a path only its last part, so that files may move."""
    kept = {group: {k: v for k, v in config[group].items() if k not in out} for group, out in LEFT_OUT.items()}
    for group, key in ((group, key) for group in kept for key in PATHS):
        if kept[group].get(key) is not None:
            kept[group][key] = Path(kept[group][key]).name
    return kept


def report(args: argparse.Namespace) -> None:
    """Makes the tables, prints them, and logs them where asked."""
    results = load(Rows(args.results / args.set))
    if args.common is not None:
        results = common_photos(results, args.common)
    made = tables(results)
    folder = args.results / args.set / "tables"
    print(write_tables(made, folder))
    figures = write_curve(results, folder)
    if args.wandb:
        settings = build(configured(*args.overrides, "logger=wandb").logger.wandb)
        log_comparison(made, settings, folder=args.cache / args.set, name=args.set, figures=figures)


if __name__ == "__main__":
    main()
