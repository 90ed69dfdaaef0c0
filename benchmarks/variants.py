"""Our method with one thing changed, at several numbers of classifier passes: families, ablations, the former default.

    python benchmarks/variants.py --set demo --variants default,pyramid --passes 8,16 data.size=4   the demo
    python benchmarks/variants.py --set squeezenet --variants default,former --passes 50,100,200,400 \\
        data=image_folder data.root=PATH data.targets=predicted \\
        classifier=torchvision classifier.name=squeezenet1_0 classifier.checkpoint=FILE
    python benchmarks/variants.py --table                                   the tables again, from the CSVs

A variant is one of those named below or a file of conf/ablation; all other options are those of a run. The photos are
scored as `inr-xai compare` scores them. What is stored under the same settings is not computed again. The tables have
a row for each set, number of passes and variant: preservation and unseen as in a comparison, `more` the paired
difference of preservation to the first variant (default, if it is there), and the seconds of a step of all areas.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from inr_xai.columns import UNSEEN
from inr_xai.compare.__main__ import compare
from inr_xai.compare.__main__ import parse as parse_comparison
from inr_xai.compare.comparison import DEFAULTS
from inr_xai.compare.figures import draw_curve
from inr_xai.compare.report import format_markdown, write_table
from inr_xai.compare.store import RowStore
from inr_xai.compare.tables import ScoredPhotos, load_scores
from inr_xai.config import composed, exit_status
from inr_xai.errors import UserError
from inr_xai.metrics.statistics.bootstrap import Interval, interval_columns, paired_difference
from inr_xai.types import Row

FIRST = "default"
VARIANTS = {
    "default": "",
    "former": "+preset=pyramid",
    "fast": "+preset=fast",
    "hybrid": "objective=hybrid",
    "siren": "inr=siren",
    "wire": "inr=wire",
    "hash_grid": "inr=hash_grid",
    "dense_grid": "inr=dense_grid",
    "extremal": "+experiment=inr_extremal explanations=1",
    "large_steps": "optimizer.lr=0.02",
    "hard_from_the_start": "area_rule=projection_short",
    "large_start": "start.scale=0.8 decay=1",
    "windows": "start=windows",
    "windows_alone": "start=windows start.gradient=0",
    "smooth": "total_variation=0.3",
    "coarse": "inr.sides=[4,7,14]",
}
"""Variants and their options: what is compared with the default, and what was tried; others are of conf/ablation."""
NOTE = (
    "Preservation: the probability of the class where only the mask is kept, over that of the photo (ratio of means, "
    "95 % bootstrap interval over photos); unseen: under noise and photos that no fit uses; more: preservation less "
    "that of the default, paired; deletion: over that of the photo; a step has all areas, on the machine that measured."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="options of a run, such as data.root=PATH")
    parser.add_argument("--set", default="demo", help="name of the set of photos and the classifier")
    parser.add_argument("--variants", default="default,pyramid,fourier", help="some of those above, the first is first")
    parser.add_argument("--passes", default="100,400", help="classifier passes of a fit, without those of its start")
    parser.add_argument("--threads", type=int, help="threads of the processor")
    parser.add_argument("--table", action="store_true", help="compute nothing, make the tables of all sets")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/variants"), help="where the CSVs go")
    parser.add_argument("--cache", type=Path, default=Path("outputs/compare"), help="where the masks go")
    args = parser.parse_intermixed_args(arguments)

    def work() -> int:
        failures = 0 if args.table else measure(args)
        report(args.results)
        return failures

    return exit_status(work)


def measure(args: argparse.Namespace) -> int:
    """Scores the variants of one set, the cheapest first, and returns how many photos failed."""
    areas = len(composed(*DEFAULTS, *args.overrides).areas)
    command = ["--methods", "", "--set", args.set, "--results", str(args.results), "--cache", str(args.cache)]
    for passes in sorted(int(number) for number in args.passes.split(",")):
        for name in args.variants.split(","):
            options = VARIANTS.get(name, f"+ablation={name}")
            command += ["--variant", f"{name}@{passes}={options} steps={max(1, passes // areas)}"]
    if args.threads is not None:
        command += ["--threads", str(args.threads)]
    return compare(parse_comparison([*command, *args.overrides]))


def report(results: Path) -> None:
    """Writes and prints the table of all sets, and draws a curve for each set that has several numbers of passes."""
    folders = sorted(folder for folder in results.glob("*") if any(folder.glob("inr_*@*.csv")))
    if not folders:
        raise UserError(f"{results} holds no results; run this program without --table first")
    rows = []
    for folder in folders:
        scored = {split_name(name): photos for name, photos in load_scores(RowStore(folder)).items()}
        rows += rows_of_set(folder.name, scored)
        curves = {
            variant: [(float(of.column("passes").mean()), of.relative("preservation_hard_mean")) for of in curve]
            for variant in dict.fromkeys(name for name, _ in scored)
            if len(curve := [photos for (name, _), photos in scored.items() if name == variant and len(photos)]) > 1
        }
        if curves:
            draw_curve(curves, file=folder / "curve.png")
    print(write_table("variants", rows, results, parts=[format_markdown(rows)], note=NOTE))


def split_name(stored: str) -> tuple[str, int]:
    """Returns the variant and the passes of stored rows.

    >>> split_name("inr_no_start@100")
    ('no_start', 100)
    """
    name, _, passes = stored.removeprefix("inr_").rpartition("@")
    return name, int(passes)


def rows_of_set(name: str, scored: dict[tuple[str, int], ScoredPhotos]) -> list[Row]:
    """Returns the rows of a set, by passes, and the best preservation first."""
    rows: list[Row] = []
    for (variant, passes), photos in scored.items():
        if not len(photos):
            continue
        row: Row = {"set": name, "passes": passes, "variant": variant, "photos": len(photos), "failed": photos.failed}
        row |= interval_columns("preservation", photos.relative("preservation_hard_mean"))
        row |= interval_columns("unseen", photos.relative(*[f"preservation_hard_{baseline}" for baseline in UNSEEN]))
        row |= interval_columns("more", difference(photos, scored.get((FIRST, passes))))
        row["deletion"] = photos.relative("deletion_hard_mean").value
        row["nesting_violation"] = float(photos.column("nesting_violation").mean())
        steps = max(1, passes // len(photos.areas))
        rows.append(row | {"seconds_a_step": float(photos.column("seconds").mean()) / steps})
    return sorted(rows, key=lambda row: (row["passes"], -row["preservation"]))


def difference(photos: ScoredPhotos, first: ScoredPhotos | None) -> Interval:
    """Returns the paired difference of preservation to the first variant, in shares of the photos' mean p_full."""
    shared = photos.photos.keys() & first.photos.keys() if first is not None else set()
    if first is None or first is photos or len(shared) < 2:
        return Interval(float("nan"), float("nan"), float("nan"))
    ours, theirs = photos.only(shared), first.only(shared)
    whole = float(ours.column("p_full").mean())
    columns = [of.column("preservation_hard_mean") / whole for of in (ours, theirs)]
    return paired_difference(*columns)


if __name__ == "__main__":
    sys.exit(main())
