"""The grid pointing game: how much of each method's map lies in the cell of a mosaic that shows the class.

    python benchmarks/gridpg.py --methods inr,gradcam,disc --count 3 data.size=64        the demo
    python benchmarks/gridpg.py --methods inr,gradcam,integrated_gradients,torchray \\
        data=image_folder data.root=PATH classifier=torchvision classifier.name=squeezenet1_0 classifier.checkpoint=FILE
    python benchmarks/gridpg.py --choose data=image_folder data.root=PATH classifier=...  only the list of photos
    python benchmarks/gridpg.py --table                                                  the table again, from the CSVs

All other options are those of a run (inr-xai --help); `data` is where the photos come from. The photos that the
classifier is sure of are chosen first. Their list is kept beside the results in photos.json, which a run takes too
(data=grid data.photos=FILE). --thresholds and --least belong to the choice; others than those of an earlier list are
refused. What is stored under the same settings is not computed again.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.comparison import DEFAULTS, MapMaker, map_facts
from inr_xai.compare.confident_photos import find_confident_photos
from inr_xai.compare.grid_pointing import (
    FitMaps,
    Participant,
    SingleMap,
    make_game_table,
    maps_of_fit,
    mosaic_rows,
    run_game,
)
from inr_xai.compare.methods.registry import METHODS, MethodFactory, MethodSetup, build_explainer
from inr_xai.compare.report import format_markdown, write_table
from inr_xai.compare.store import MapCache
from inr_xai.config import composed, exit_status
from inr_xai.config.environment import stored_form
from inr_xai.data.mosaic import Grid
from inr_xai.digests import digest
from inr_xai.errors import UserError
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_method, instantiate, make_photo_pool, plain
from inr_xai.loggers.tables import log_tables
from inr_xai.runs.files import read_json, write_json
from inr_xai.runs.folder import RunFolder, flatten
from inr_xai.types import ImageData

OPTIONS = (*DEFAULTS, "areas=[0.04,0.1,0.2]")
THRESHOLDS, LEAST = (0.99, 0.95, 0.9, 0.8), 40
FITS: dict[str, tuple[str, ...]] = {"inr": ()}
"""Methods whose fits give several maps -> options of the fit."""
NOTE = (
    "gridpg: the share of the positive part of a map in the cell that shows the class; mean over mosaics, in brackets "
    "the 95 % bootstrap interval. Chance is one over the number of cells. difference: less {first} on the same mosaics."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = parse(arguments)

    def work() -> int:
        failures = 0 if args.table else score(args)
        if not args.choose:
            report(args)
        return failures

    return exit_status(work)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="options of a run, such as data.root=PATH steps=50")
    parser.add_argument("--methods", default="inr,gradcam,disc", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--set", default="gridpg", help="name of the set of mosaics; its results and maps go under it")
    parser.add_argument("--side", type=int, default=2, help="cells of a row and of a column")
    parser.add_argument("--count", type=int, default=30, help="mosaics")
    parser.add_argument("--mosaic-seed", type=int, default=0, help="seed of the mosaics alone; seed=N is that of fits")
    parser.add_argument("--targets-per-mosaic", type=int, default=1, metavar="N", help="cells of each to explain")
    parser.add_argument("--thresholds", help=f"least probabilities, the highest that serves ({listed(THRESHOLDS)})")
    parser.add_argument("--least", type=int, metavar="N", help=f"photos that a threshold must leave ({LEAST})")
    parser.add_argument("--choose", action="store_true", help="write the list of photos, and explain nothing")
    parser.add_argument("--layer", help="module that class activation maps read (the last feature map)")
    parser.add_argument("--threads", type=int, help="threads of the processor")
    parser.add_argument("--table", action="store_true", help="compute nothing, make the table")
    parser.add_argument("--wandb", action="store_true", help="log the table to W&B, as logger.wandb says")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="where the CSVs go")
    parser.add_argument("--cache", type=Path, default=Path("outputs/compare"), help="where maps and fits go")
    return parser.parse_intermixed_args(arguments)


def score(args: argparse.Namespace) -> int:
    """Scores the methods on the mosaics, and returns how many failed."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    cfg = composed(*OPTIONS, *args.overrides)
    trainer = plain(cfg.trainer)
    source, classifier, device = instantiate(cfg.data), instantiate(cfg.classifier), device_of(trainer)
    facts = map_facts(stored_form(cfg)) | {"side": args.side, "seed": args.mosaic_seed}
    photos = choose_photos(args, source, classifier, facts=facts, device=device)
    if args.choose:
        return 0
    grid = Grid(
        source,
        photos,
        side=args.side,
        count=args.count,
        seed=args.mosaic_seed,
        targets_per_mosaic=args.targets_per_mosaic,
    )
    facts |= {"photos": digest(photos)}
    factory = MethodFactory(
        MethodSetup(classifier, device, tuple(cfg.areas), layer=args.layer, seed=cfg.seed),
        lambda options: build_method(composed(*OPTIONS, *args.overrides, *options)),
        MapMaker(MapCache(args.cache / args.set / "maps"), facts),
        donors=make_photo_pool(grid.donor_ids, grid, classifier),
        trainer=trainer,
    )
    fits = args.cache / args.set / "fits"
    participants = [build_participant(name, factory, folder=fits, facts=facts) for name in args.methods.split(",")]
    return run_game(grid, classifier, participants, rows=mosaic_rows(args.results / args.set))


def choose_photos(
    args: argparse.Namespace,
    source: ImageData,
    classifier: FrozenClassifier,
    *,
    facts: dict[str, Any],
    device: torch.device,
) -> dict[str, int]:
    """Returns the photos of an earlier session, else those that the classifier is sure of now.

    Args:
        facts: what the list depends on beside the choice: data, classifier and mosaics.
    """
    file = args.results / args.set / "photos.json"
    thresholds = None if args.thresholds is None else parse_thresholds(args.thresholds)
    if file.is_file():
        stored = read_photo_list(file)
        before, now = flatten(stored["asked"]), flatten(facts)
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        changed += changed_choices(stored, thresholds=thresholds, least=args.least)
        if changed:
            raise UserError(
                f"{file} was made with other {', '.join(changed)}; give --set another name, or the old ones"
            )
    else:
        classifier.require_mosaics(side=args.side, device=device)
        thresholds, least = thresholds or list(THRESHOLDS), LEAST if args.least is None else args.least
        confident = find_confident_photos(classifier, source, thresholds=thresholds, least=least, device=device)
        choice = {"thresholds": thresholds, "least": least}
        stored = {"asked": facts, "choice": choice, "threshold": confident.threshold, "photos": confident.photos}
        write_json(file, stored)
    logging.info("%d photos of a probability of at least %g (%s)", len(stored["photos"]), stored["threshold"], file)
    return stored["photos"]


def parse_thresholds(text: str) -> list[float]:
    """Returns the option --thresholds, the highest first. Raises UserError if it is no list of probabilities."""
    try:
        thresholds = sorted({float(part) for part in text.split(",")}, reverse=True)
    except ValueError:
        thresholds = []
    if not thresholds or not all(0 < value <= 1 for value in thresholds):
        raise UserError(f"--thresholds {text!r} is no list of probabilities above 0; give such as {listed(THRESHOLDS)}")
    return thresholds


def listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def read_photo_list(file: Path) -> dict[str, Any]:
    """Returns the list of an earlier session. Raises UserError for any other file: its classifier is not known."""
    stored = read_json(file)
    kinds = {"asked": dict, "threshold": float | int, "photos": dict}
    missing = [
        key for key, kind in kinds.items() if not isinstance(stored, dict) or not isinstance(stored.get(key), kind)
    ]
    if missing:
        raise UserError(
            f"{file} was not written by this script, as it says no {', '.join(missing)}; give --set another name (a "
            "list of your own is for data=grid data.photos=FILE of train.py)"
        )
    return stored


def changed_choices(stored: Mapping[str, Any], *, thresholds: list[float] | None, least: int | None) -> list[str]:
    """Returns the options that would have made another list.

    Args:
        stored: the list of an earlier session.
        thresholds, least: options of now; None if they are not given.
    """
    # Older files do not say how photos were chosen: then only what contradicts their list is another choice.
    choice = stored.get("choice")
    if choice is None:
        changed = {
            "--thresholds": thresholds is not None and stored["threshold"] not in thresholds,
            "--least": least is not None and len(stored["photos"]) < least,
        }
    else:
        changed = {
            "--thresholds": thresholds is not None and thresholds != choice["thresholds"],
            "--least": least is not None and least != choice["least"],
        }
    return [option for option, differs in changed.items() if differs]


def build_participant(name: str, factory: MethodFactory, *, folder: Path, facts: Mapping[str, Any]) -> Participant:
    """Returns the method of this name, with several maps if it is one of FITS.

    Args:
        folder: where fits are stored, each method in a folder of its own.
        facts: what maps depend on beside the method.
    """
    if name in FITS:
        fitter = factory.fitter(*FITS[name])
        maps = maps_of_fit(fitter.method.areas)
        return FitMaps(name, fitter, maps=maps, folder=RunFolder(folder / name), facts=facts)
    return SingleMap(name, build_explainer(name, factory), maker=factory.maker)


def report(args: argparse.Namespace) -> None:
    """Makes the table and prints it; with --wandb it logs it as well."""
    first, folder = args.methods.split(",")[0], args.results / args.set
    rows = make_game_table(mosaic_rows(folder), first=first)
    parts, note = [format_markdown(rows)], NOTE.format(first=first)
    print(write_table("gridpg", rows, folder / "tables", parts=parts, note=note))
    if args.wandb:
        settings = instantiate(composed(*DEFAULTS, *args.overrides, "logger=wandb").logger.wandb)
        log_tables({"gridpg": rows}, settings, folder=args.cache / args.set, name=args.set)


if __name__ == "__main__":
    sys.exit(main())
