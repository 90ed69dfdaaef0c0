"""The tables of the audit on photos: what the swaps take, their floors, and which explanations agree with them.

    python benchmarks/audit_photos_table.py                                      RESULTS/table.md and .csv, and printed
    python benchmarks/audit_photos_table.py --run NAME=RUN --run NAME=RUN        with audited runs of our explanations

NAME is that of a classifier's CSV (benchmarks/audit_photos.py). Maps of other methods are compared if
benchmarks/audit_photos_maps.py has measured them. Intervals are over photos, not over crops of them.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from audit_photos import EVEN, EVERY, ODD, RESULTS, in_split
from photo_estimates import AREA, Values, estimates_of
from photo_intervals import correlation, correlation_within, mean_over_photos
from photo_swaps import BACK, KEEP_BLOB, KEEP_GROUND, KEEP_OBJECT, KEEP_REST
from photo_truth import GONE, SWAPPED, Kinds, MeasuredPhoto, read_truths

from inr_xai.config import exit_status
from inr_xai.errors import UserError
from inr_xai.metrics.statistics.bootstrap import interval_columns
from inr_xai.runs.files import all_columns, format_csv, markdown_table, write_bytes
from inr_xai.types import Row

SPLITS = {ODD: "odd photos", EVERY: "all photos", EVEN: "even photos"}
"""Which photos, and their name in the tables. Anything was chosen on the even ones alone."""
ALL, WITHIN = "all together", "mean within"
"""Two lines beside those of the classifiers: all samples in one correlation, and the mean of the classifiers'."""
AGREEMENTS = {
    "truth by swaps / by fills": (Kinds(("objects",), ("grounds",)), Kinds(GONE[:3], SWAPPED[:2])),
    "truth by swaps / by other swaps": tuple(Kinds(("objects",), ("grounds",), half) for half in (0, 1)),
    "truth / without grounds": (Kinds(), Kinds(GONE, SWAPPED[:2])),
    "truth / without objects": (Kinds(), Kinds(GONE[:3], SWAPPED)),
}
"""Pairs of truths of the same photo: how far its interventions agree with one another."""
NEARLY_ALL = 0.95
"""A truth above it says that all of what is lost is lost with the object."""
FEWEST = 5
"""Fewer samples have no correlation."""


def main() -> int:
    """Makes the tables, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", default=[], metavar="NAME=RUN", help="an audited run of a classifier")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSVs (%(default)s)")
    args = parser.parse_args()

    def work() -> int:
        write_tables(args.results, named_runs(args.run))
        return 0

    return exit_status(work)


def named_runs(texts: Sequence[str]) -> dict[str, Path]:
    """Returns the audited run of each classifier. Raises UserError for a text that is no NAME=RUN."""
    runs = {}
    for text in texts:
        name, _, run = text.partition("=")
        if not name or not Path(run, "audit").is_dir():
            raise UserError(f"--run={text!r} must be NAME=RUN, where RUN is a folder that inr-xai audit has audited")
        runs[name] = Path(run)
    return runs


def write_tables(folder: Path, runs: dict[str, Path]) -> None:
    """Prints the tables, and writes them beside the CSVs. Raises UserError if nothing is measured."""
    samples = read_truths(folder)
    if not samples:
        raise UserError(f"{folder} has no measured photo; run benchmarks/audit_photos.py")
    if unknown := sorted(set(runs) - {sample.classifier for sample in samples}):
        raise UserError(f"--run names {unknown[0]!r}, of which {folder} has no CSV; run benchmarks/audit_photos.py")
    estimates = estimates_of(samples, folder, runs)
    tables = {
        "What is lost": loss_rows(samples),
        "Rank correlation with the truth": rank_rows(samples, estimates),
        "How far the interventions agree": agreement_rows(samples),
    }
    texts = []
    for title, rows in tables.items():
        columns = [name for name in all_columns(rows) if not name.endswith(("_low", "_high"))]
        texts.append(
            f"## {title}\n\n{markdown_table(columns, ([cell(row, name) for name in columns] for row in rows))}"
        )
    text = "\n".join(texts)
    rows = [{"table": title} | row for title, part in tables.items() for row in part]
    write_bytes(folder / "table.csv", format_csv(rows, all_columns(rows)).encode())
    write_bytes(folder / "table.md", text.encode())
    print(text, end="")


def cell(row: Row, name: str) -> str:
    """Returns a value with its interval, if it has one, as text."""
    value = row.get(name)
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    if not math.isfinite(value):
        return "-"
    low, high = (row.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if math.isfinite(low) else f"{value:.3f}"


def loss_rows(samples: Sequence[MeasuredPhoto]) -> list[Row]:
    """Returns what every intervention takes, and the floors, of each classifier on odd photos and on all.

    The means are over samples whose class is seen; those of holes and blobs over samples that have as large a blob.
    """
    return [
        {"what": name, "classifier": classifier, "photos": SPLITS[split], "n": len(values)}
        | interval_columns("mean", mean_over_photos([sample.photo for sample in members], values))
        | {"mean of sizes": sum(map(abs, values)) / len(values)}
        for split in (ODD, EVERY)
        for classifier, chosen in by_classifier([sample for sample in samples if in_split(sample.sample_id, split)])
        for name, members, values in losses_of([sample for sample in chosen if sample.seen])
        if values
    ]


Losses = Iterator[tuple[str, list[MeasuredPhoto], list[float]]]


def losses_of(samples: list[MeasuredPhoto]) -> Losses:
    """Yields the name of a number, the samples that have it, and their values."""
    plain: dict[str, Callable[[MeasuredPhoto], float]] = {
        "p of the class": lambda sample: sample.probability,
        "loss of the object": lambda sample: sample.losses()[0],
        "loss of the ground": lambda sample: sample.losses()[1],
        "p of the grounds of others alone": lambda sample: sample.mean("grounds alone"),
    }
    plain |= {f"no object, {kind}": lambda sample, kind=kind: sample.loss(KEEP_GROUND, [kind]) for kind in GONE}
    plain |= {f"other ground, {kind}": lambda sample, kind=kind: sample.loss(KEEP_OBJECT, [kind]) for kind in SWAPPED}
    for name, value in plain.items():
        yield name, samples, [value(sample) for sample in samples]
    admitted = [sample for sample in samples if sample.has_truth]
    yield "truth", admitted, [sample.truth() for sample in admitted]
    yield f"share of truths above {NEARLY_ALL:g}", admitted, [float(sample.truth() > NEARLY_ALL) for sample in admitted]
    yield (
        "share of losses of the ground within the floor",
        admitted,
        [float(sample.within_floor) for sample in admitted],
    )
    floors = [sample.floors for sample in samples]
    names = {BACK: "floor: object back, ground", KEEP_REST: "floor: hole in the ground", KEEP_BLOB: "blob on"}
    for name in dict.fromkeys(name for values in floors for name in values):
        stays, kind = name.split("/")
        having = [place for place, values in enumerate(floors) if name in values]
        yield f"{names[stays]}, {kind}", [samples[place] for place in having], [floors[place][name] for place in having]


def rank_rows(samples: Sequence[MeasuredPhoto], estimates: Sequence[Values]) -> list[Row]:
    """Returns the rank correlation of every estimate with the truth, of samples that have both.

    A method that has not all samples has the object's area of its own samples beside it.
    """
    rows, known = [], [(sample, values) for sample, values in zip(samples, estimates, strict=True) if sample.has_truth]
    methods: set[str] = set()
    for name in dict.fromkeys(name for values in estimates for name in values):
        having = [(sample, values) for sample, values in known if math.isfinite(values.get(name, math.nan))]
        method, _, form = name.partition(": ")
        if form and method not in methods and len(having) < len(known):
            area = [(sample, sample.truth(), values[AREA]) for sample, values in having]
            rows += correlation_rows(f"{AREA}, of the samples of {method}", area)
            methods.add(method)
        rows += correlation_rows(name, [(sample, sample.truth(), values[name]) for sample, values in having])
    return rows


def agreement_rows(samples: Sequence[MeasuredPhoto]) -> list[Row]:
    """Returns the rank correlation between two truths of the same samples."""
    admitted = [sample for sample in samples if sample.has_truth]
    pairs = {
        name: [(sample, sample.truth(first), sample.truth(second)) for sample in admitted]
        for name, (first, second) in AGREEMENTS.items()
    }
    pairs["truth / with a floor as the ground's loss"] = [
        (sample, sample.truth(), sample.floor_part()) for sample in admitted
    ]
    return [row for name, chosen in pairs.items() for row in correlation_rows(name, chosen)]


Pair = tuple[MeasuredPhoto, float, float]


def correlation_rows(name: str, pairs: Sequence[Pair]) -> list[Row]:
    """Returns a row for each classifier and for all, with a correlation for each choice of photos."""
    classifiers = sorted({sample.classifier for sample, _, _ in pairs})
    choices = {one: [pair for pair in pairs if pair[0].classifier == one] for one in classifiers}
    rows = [correlations(chosen, name, one) for one, chosen in choices.items()]
    if len(classifiers) > 1:
        rows += [correlations(pairs, name, one) for one in (WITHIN, ALL)]
    return rows


def correlations(pairs: Sequence[Pair], name: str, classifier: str) -> Row:
    """Returns a row of correlations with their intervals and numbers of samples, for each choice of photos."""
    row: Row = {"what": name, "classifier": classifier}
    for split, title in SPLITS.items():
        chosen = [pair for pair in pairs if in_split(pair[0].sample_id, split)]
        row[f"n, {split}"] = len(chosen)
        if len(chosen) < FEWEST:
            continue
        samples, first, second = (list(column) for column in zip(*chosen, strict=True))
        photos = [sample.photo for sample in samples]
        if classifier == WITHIN:
            groups = [sample.classifier for sample in samples]
            row |= interval_columns(title, correlation_within(photos, first, second, groups))
        else:
            row |= interval_columns(title, correlation(photos, first, second))
    return row


def by_classifier(samples: Sequence[MeasuredPhoto]) -> Iterator[tuple[str, list[MeasuredPhoto]]]:
    """Yields each classifier with its samples."""
    for name in sorted({sample.classifier for sample in samples}):
        yield name, [sample for sample in samples if sample.classifier == name]


if __name__ == "__main__":
    raise SystemExit(main())
