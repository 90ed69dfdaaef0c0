"""The grid pointing game: how much of each method's map lies in the cell of a mosaic that shows the class.

    python scripts/gridpg.py --methods inr,gradcam,disc --count 3 data.size=64        the demo
    python scripts/gridpg.py --methods inr,gradcam,integrated_gradients,torchray \\
        data=image_folder data.root=PATH classifier=torchvision classifier.name=squeezenet1_0 classifier.checkpoint=FILE
    python scripts/gridpg.py --choose data=image_folder data.root=PATH classifier=...  the list of photos alone
    python scripts/gridpg.py --table                                                  the table again, from the CSVs

Behind the flags stand options of train.py; `data` is what the photos come from. The photos that the classifier is sure
of are chosen first, and their list is kept beside the results in photos.json, which `data=grid data.photos=FILE` of
train.py takes too; --thresholds and --least are of the choice, and refused where the list was made by others. What is
stored under the same settings is not computed again.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from compare import configured, facts
from inr_xai.loggers.comparison_table import log_comparison

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.comparison import MapMaker
from inr_xai.compare.confident import confident, require_mosaics
from inr_xai.compare.grid_pointing import Player, Readings, Single, play, readings, table
from inr_xai.compare.methods.registry import METHODS, Kit
from inr_xai.compare.methods.registry import build as build_explainer
from inr_xai.compare.report import markdown
from inr_xai.compare.store import MapCache, Rows, cell
from inr_xai.config import exit_status
from inr_xai.data.mosaic import Grid
from inr_xai.digests import digest
from inr_xai.errors import UserError
from inr_xai.fitting.mask_module import device_of
from inr_xai.instantiate import build_method, instantiate, photo_pool, plain
from inr_xai.runs.files import format_csv, read_json, write_bytes, write_json
from inr_xai.runs.folder import RunFolder, flatten
from inr_xai.types import ImageData

AREAS = "areas=[0.04,0.1,0.2]"
THRESHOLDS, LEAST = (0.99, 0.95, 0.9, 0.8), 40
FITS: dict[str, tuple[str, ...]] = {"inr": ()}
"""Methods of which several maps are read, and the options of their fits."""
NOTE = (
    "gridpg: the share of the positive part of a map in the cell that shows the class; mean over mosaics, in brackets "
    "the 95 % bootstrap interval. Chance is one over the number of cells. difference: less {first} on the same mosaics."
)


def main() -> None:
    """Plays the game and exits with the status of train.py."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = arguments()

    def work() -> int:
        failures = 0 if args.table else run(args)
        if not args.choose:
            report(args)
        return failures

    sys.exit(exit_status(work))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="options of train.py, such as data.root=PATH steps=50")
    parser.add_argument("--methods", default="inr,gradcam,disc", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--set", default="gridpg", help="name of the set of mosaics; its results and maps go under it")
    parser.add_argument("--side", type=int, default=2, help="cells of a row and of a column")
    parser.add_argument("--count", type=int, default=30, help="mosaics")
    parser.add_argument("--mosaic-seed", type=int, default=0, help="of the mosaics alone; seed=N is that of fits")
    parser.add_argument("--targets-per-mosaic", type=int, default=1, metavar="N", help="cells of each to explain")
    parser.add_argument("--thresholds", help=f"least probabilities, the highest that serves ({listed(THRESHOLDS)})")
    parser.add_argument("--least", type=int, metavar="N", help=f"photos that a threshold must leave ({LEAST})")
    parser.add_argument("--choose", action="store_true", help="write the list of photos, and explain nothing")
    parser.add_argument("--layer", help="module that class activation maps read (the last feature map)")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--table", action="store_true", help="compute nothing, make the table")
    parser.add_argument("--wandb", action="store_true", help="log the table to W&B, as logger.wandb says")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="where the CSVs go")
    parser.add_argument("--cache", type=Path, default=Path("outputs/compare"), help="where maps and fits go")
    return parser.parse_intermixed_args()


def run(args: argparse.Namespace) -> int:
    """Plays the methods on the mosaics, and returns how many failed."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    cfg = configured(AREAS, *args.overrides)
    source, classifier, device = instantiate(cfg.data), instantiate(cfg.classifier), device_of(plain(cfg.trainer))
    asked = facts(plain(cfg)) | {"side": args.side, "seed": args.mosaic_seed}
    photos = chosen_photos(args, source, classifier, asked=asked, device=device)
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
    asked |= {"photos": digest(photos)}
    kit = Kit(
        classifier,
        device,
        tuple(cfg.areas),
        lambda options: build_method(configured(AREAS, *args.overrides, *options)),
        MapMaker(MapCache(args.cache / args.set / "maps"), asked),
        seed=cfg.seed,
        layer=args.layer,
        donors=photo_pool(grid.donor_ids, grid, classifier),
        trainer=plain(cfg.trainer),
    )
    players = [player(name, kit, folder=args.cache / args.set / "fits", asked=asked) for name in methods_of(args)]
    return play(grid, classifier, players, rows=Rows(args.results / args.set))


def chosen_photos(
    args: argparse.Namespace,
    source: ImageData,
    classifier: FrozenClassifier,
    *,
    asked: dict[str, Any],
    device: torch.device,
) -> dict[str, int]:
    """The photos of an earlier sitting, else those that the classifier is sure of now, before any method runs."""
    file = args.results / args.set / "photos.json"
    thresholds = None if args.thresholds is None else probabilities(args.thresholds)
    if file.is_file():
        told = told_photos(file)
        old, new = flatten(told["asked"]), flatten(asked)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        changed += other_choice(told, thresholds=thresholds, least=args.least)
        if changed:
            raise UserError(
                f"{file} was made with other {', '.join(changed)}; give --set another name, or the old ones"
            )
    else:
        require_mosaics(classifier, side=args.side, device=device)
        thresholds, least = thresholds or list(THRESHOLDS), LEAST if args.least is None else args.least
        found = confident(classifier, source, thresholds=thresholds, least=least, device=device)
        choice = {"thresholds": thresholds, "least": least}
        told = {"asked": asked, "choice": choice, "threshold": found.threshold, "photos": found.photos}
        write_json(file, told)
    logging.info("%d photos of a probability of at least %g (%s)", len(told["photos"]), told["threshold"], file)
    return told["photos"]


def probabilities(text: str) -> list[float]:
    """The option --thresholds, the highest first. Raises UserError where it is no list of probabilities."""
    try:
        found = sorted({float(part) for part in text.split(",")}, reverse=True)
    except ValueError:
        found = []
    if not found or not all(0 < value <= 1 for value in found):
        raise UserError(f"--thresholds {text!r} is no list of probabilities above 0; give such as {listed(THRESHOLDS)}")
    return found


def listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def told_photos(file: Path) -> dict[str, Any]:
    """What an earlier sitting wrote. Raises UserError for any other file, which may be of another classifier."""
    told = read_json(file)
    kinds = {"asked": dict, "threshold": float | int, "photos": dict}
    lacking = [key for key, kind in kinds.items() if not isinstance(told, dict) or not isinstance(told.get(key), kind)]
    if lacking:
        raise UserError(
            f"{file} was not written by this script, as it says no {', '.join(lacking)}; give --set another name (a "
            "list of your own is for data=grid data.photos=FILE of train.py)"
        )
    return told


def other_choice(told: Mapping[str, Any], *, thresholds: list[float] | None, least: int | None) -> list[str]:
    """The options of the choice that would have made another list; what is None was not given."""
    # Older files do not say how photos were chosen: then only what contradicts their list is another choice.
    choice = told.get("choice")
    if choice is None:
        other = {
            "--thresholds": thresholds is not None and told["threshold"] not in thresholds,
            "--least": least is not None and len(told["photos"]) < least,
        }
    else:
        other = {
            "--thresholds": thresholds is not None and thresholds != choice["thresholds"],
            "--least": least is not None and least != choice["least"],
        }
    return [option for option, differs in other.items() if differs]


def player(name: str, kit: Kit, *, folder: Path, asked: dict[str, Any]) -> Player:
    """The method of this name: a fit to read several maps from, or one map."""
    if name in FITS:
        fit = kit.fit(*FITS[name])
        return Readings(name, fit, read=readings(fit.method.areas), folder=RunFolder(folder / name), facts=asked)
    return Single(name, build_explainer(name, kit), maker=kit.maker)


def methods_of(args: argparse.Namespace) -> list[str]:
    """The methods in the order given."""
    return args.methods.split(",")


def report(args: argparse.Namespace) -> None:
    """Makes the table, prints it, and logs it where asked."""
    first, folder = methods_of(args)[0], args.results / args.set / "tables"
    lines = table(Rows(args.results / args.set), first=first)
    text = "\n\n".join(["## gridpg", markdown(lines), NOTE.format(first=first)]) + "\n"
    columns = list(dict.fromkeys(key for line in lines for key in line))
    values = [{key: cell(line.get(key)) for key in columns} for line in lines]
    write_bytes(folder / "gridpg.csv", format_csv(values, columns).encode())
    write_bytes(folder / "gridpg.md", text.encode())
    print(text)
    if args.wandb:
        settings = instantiate(configured(*args.overrides, "logger=wandb").logger.wandb)
        log_comparison({"gridpg": lines}, settings, folder=args.cache / args.set, name=args.set)


if __name__ == "__main__":
    main()
