"""Writes the tables of docs/default.md anew, from the stored rows.

    python benchmarks/variants_page.py

A table stands in the page between `<!-- table NAME -->` and `<!-- end -->`. The rows are those of variants.csv, which
`benchmarks/variants.py --table` makes, and of the sweep of drawn scenes, whose sweep.csv is kept as ablation.csv:
`python train.py -m sweep=fitting data.size=16 explanations=1 logger=none`.
"""

import csv
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from inr_xai.columns import UNSEEN

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "default.md"
CLASSIFIERS = {"squeezenet": "SqueezeNet", "efficientnet_lite0": "EfficientNet-Lite0", "vit_tiny": "ViT-Tiny"}
FAMILIES = {
    "default": "`feature_grid`, conditioned on the area",
    "pyramid": "`pyramid`: grids alone",
    "fourier": "`fourier`",
    "dense_grid": "`dense_grid`",
    "hash_grid": "`hash_grid`",
    "siren": "`siren`",
    "wire": "`wire`",
    "extremal": "`+experiment=inr_extremal`",
}
ABLATIONS = {
    "default": "nothing",
    "no_area": "the network does not know the area",
    "pyramid": "no network: the grids alone",
    "fourier": "a Fourier network in place of the grids",
    "fast_network": "the network's layers move as fast as the grids",
    "no_start": "it starts as it was drawn",
    "no_decay": "the learning rate does not fall",
    "jitter": "the input is shifted by up to 3 %",
    "reveal": "hidden pixels shine through at first",
    "even_mixture": "each part of the mixture equally often",
    "no_photos": "no pixels of other photos in the mixture",
    "blur_only": "one baseline in place of the mixture",
    "no_grayness_weight": "no weight on grayness",
    "no_total_variation": "no weight on contours",
    "slow_hardening": "masks stay soft for longer",
    "soft_end": "T stays high to the end",
}
PASSES = (50, 100, 200, 400)
KEPT = "preservation_hard_mean_rel/k1"
"""The column of a sweep's table."""
Row = Mapping[str, str]


def main() -> int:
    """Rewrites the page and returns 0."""
    PAGE.write_text(with_tables(PAGE.read_text()))
    return 0


def with_tables(page: str) -> str:
    """Returns the page with each table made anew."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- table {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def curve() -> str:
    """The default beside the one before it, at four numbers of passes and for three classifiers."""
    lines = []
    for name, classifier in CLASSIFIERS.items():
        for passes in PASSES:
            now, before = row(name, passes, "default"), row(name, passes, "former")
            if now is None or before is None:
                continue
            low, high = (-float(before[f"more_{end}"]) for end in ("high", "low"))
            gain = f"{-float(before['more']):+.3f} [{low:+.3f}, {high:+.3f}]"
            pairs = [f"{share(before[score])}, {share(now[score])}" for score in ("unseen", "deletion")]
            cells = [classifier, str(passes), now["photos"], share(before["preservation"]), interval(now), gain, *pairs]
            lines.append(cells)
    heads = [
        "classifier",
        "passes",
        "photos",
        "before",
        "now",
        "difference",
        "unseen: before, now",
        "deletion: before, now",
    ]
    return markdown(heads, lines)


def families() -> str:
    """What each family keeps beside the default, on the same photos."""
    lines = []
    for passes in (100, 400):
        for name, words in FAMILIES.items():
            cells = [str(passes), words]
            for classifier in CLASSIFIERS:
                found = row(classifier, passes, name)
                cells.append(
                    "-" if found is None else beside(found) if name != "default" else share(found["preservation"])
                )
            if set(cells[2:]) != {"-"}:
                lines.append(cells)
    return markdown(["passes", "`inr`", *CLASSIFIERS.values()], lines)


def ablations() -> str:
    """One thing of the default changed at a time: photos at 100 passes, and drawn scenes at 300."""
    with (RESULTS / "drawn_scenes" / "ablation.csv").open() as file:
        drawn = {line["ablation"]: line for line in csv.DictReader(file)}
    lines = []
    for name, words in ABLATIONS.items():
        found, scenes = row("imagenet_more", 100, name), drawn[name]
        if found is None:
            continue
        unseen = sum(float(scenes[f"preservation_hard_{of}_rel/k1"]) for of in UNSEEN) / len(UNSEEN)
        gain = "-" if not found["more"] else difference(found)
        of_scenes = [share(scenes[KEPT]), share(str(unseen)), share(scenes["grayness/k1"])]
        lines.append([f"{words} (`{name}`)", share(found["preservation"]), gain, share(found["unseen"]), *of_scenes])
    heads = ["changed", "photos", "difference", "unseen", "drawn scenes", "unseen", "grayness"]
    return markdown(heads, lines)


def row(classifier: str, passes: int, variant: str) -> Row | None:
    """The stored row of a set; None if there is none."""
    with (RESULTS / "variants" / "variants.csv").open() as file:
        for line in csv.DictReader(file):
            if (line["set"], int(float(line["passes"])), line["variant"]) == (classifier, passes, variant):
                return line
    return None


def share(value: str) -> str:
    """A share of p, or nothing.

    >>> share("0.5014"), share("1.0504"), share("")
    ('.501', '1.050', '')
    """
    return f"{float(value):.3f}".removeprefix("0") if value else ""


def interval(of: Row, column: str = "preservation") -> str:
    """A value with its interval."""
    return f"{share(of[column])} [{share(of[f'{column}_low'])}, {share(of[f'{column}_high'])}]"


def difference(of: Row) -> str:
    """The paired difference to the default, with its interval."""
    return f"{float(of['more']):+.3f} [{float(of['more_low']):+.3f}, {float(of['more_high']):+.3f}]"


def beside(of: Row) -> str:
    """The paired difference to the default on the photos of a row, and how many these are."""
    return f"{difference(of)} ({of['photos']})"


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


TABLES: dict[str, Callable[[], str]] = {"curve": curve, "families": families, "ablations": ablations}

if __name__ == "__main__":
    sys.exit(main())
