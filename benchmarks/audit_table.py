"""The table of the audit's benchmark, from what `scripts/benchmark_audit.py` has measured.

    python scripts/audit_table.py                              benchmarks/results/audit/table.csv and .md, and printed
    python scripts/audit_table.py --results FOLDER

A method's estimate of what an image's class leans on is compared with the interventions on that image; the thresholds
of the audit come from the tuning images.
"""

import argparse
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from inr_xai.audit.coalition_game import CoalitionGame
from inr_xai.audit.estimates import AuditedImage, Estimates
from inr_xai.audit.report import markdown_table
from inr_xai.audit.verdict import BOTH, CONTEXT, OBJECT, UNCLEAR, Thresholds, judge
from inr_xai.config import exit_status
from inr_xai.data.scenes.shapes_in_context import SETTINGS
from inr_xai.errors import UserError
from inr_xai.evaluate.results import Results
from inr_xai.metrics.robustness.similarity import spearman
from inr_xai.metrics.statistics.bootstrap import resamples
from inr_xai.runs.files import format_csv, write_bytes
from inr_xai.types import Row

OURS = "inr"
AREAS = (0.1, 0.2)
SEVERAL = 3
"""Explanations of ours."""
DRAWS = 200
"""Resamples behind a verdict."""
PURE = {"object_only": OBJECT, "context_only": CONTEXT}
MIXED = "both"
"""The setting between them, for the thresholds of the audit."""


def main() -> int:
    """Makes the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/audit"), help="where the CSVs are")
    folder = parser.parse_args().results

    def work() -> int:
        report(folder)
        return 0

    return exit_status(work)


def unpacked(text: str) -> Tensor:
    return torch.tensor([[float(value) for value in part.split()] for part in text.split(";")])


@dataclass(frozen=True, eq=False)
class Measured:
    """One image of a method, read back. It is itself alone, so that what is found of it can be kept."""

    setting: str
    row: Mapping[str, str]

    @property
    def truth(self) -> float:
        """The object's share of what both interventions take away; effects below 0 count as none."""
        effects = [max(0.0, float(self.row[name])) for name in ("object_effect", "background_effect")]
        return effects[0] / max(sum(effects), 1e-9)

    def reading(self, area: float, explanations: int, *, draws: int = 1) -> Estimates:
        """With the first so many explanations as players, all else being the rest; draws: for its intervals."""
        values, chance = unpacked(self.row[f"by_baseline/{area:g}"]), unpacked(self.row[f"chance/{area:g}"])
        shares = torch.tensor([float(value) for value in self.row[f"shares/{area:g}"].split()], dtype=torch.float64)
        played = CoalitionGame(values, len(shares) - 1).coarser(explanations)
        size = float(self.row["object_size"])
        return Estimates(AuditedImage([played], [shares[: explanations + 1]], size, [chance], area), draws=draws)


@cache
def removal(one: Measured, area: float, explanations: int) -> float:
    """Share of the region on the object times what is lost without it, summed over explanations: the removal test."""
    reading = one.reading(area, explanations)
    assert reading.taken.on_object is not None
    shares, whole = reading.taken.on_object[0].tolist(), float(reading.over("whole")[0])
    return sum(shares[k - 1] * (1 - float(reading.over("without", k)[0]) / whole) for k in range(1, explanations + 1))


@cache
def evidence(one: Measured, area: float, explanations: int) -> float:
    """`Estimates.object_evidence`."""
    return float(one.reading(area, explanations).object_evidence()[0])


@cache
def decomposition(one: Measured, area: float, explanations: int) -> float:
    """The Shapley shares of the regions, each times its excess on the object."""
    reading = one.reading(area, explanations)
    excess = reading.excess()[0][:explanations]
    return float((reading.shapley()[0][:explanations] * excess).sum() / reading.over("whole")[0])


def on_object(one: Measured, area: float, explanations: int) -> float:
    """The share of a map's mass on the object; of region 1 where there is no map."""
    mass = one.row.get("mass")
    return float(mass) if mass else float(one.row[f"shares/{area:g}"].split()[0])


GRADED = ("removal test", "evidence", "decomposition")
"""What grows with the explanations."""
FORMS = {"on the object": on_object, "removal test": removal, "evidence": evidence, "decomposition": decomposition}


def report(folder: Path) -> None:
    """Prints the table and writes it beside the CSVs."""
    fresh, tuning = (read(folder / part) for part in ("fresh", "tuning"))
    if OURS in tuning:
        print(thresholds(tuning[OURS]))
    if not fresh:
        raise UserError(f"{folder / 'fresh'} has no results; run scripts/benchmark_audit.py --part fresh")
    lines = [line for method, own in fresh.items() for line in lines_of(method, own, tuning.get(method, []))]
    for method, own in fresh.items():
        if OURS in fresh and len(own) < len(fresh[OURS]):
            among = {(one.setting, one.row["sample_id"]) for one in own}
            ours = [one for one in fresh[OURS] if (one.setting, one.row["sample_id"]) in among]
            lines += lines_of(f"{OURS} on those of {method}", ours, tuning.get(OURS, []))
    for method, own in read(folder / "confirmation").items():
        lines += lines_of(f"{method} on other images", own, tuning.get(method, []))
    if OURS in fresh:
        lines.append(classifier_alone(fresh[OURS]))
    columns = list(dict.fromkeys(key for line in lines for key in line))
    write_bytes(folder / "table.csv", format_csv(lines, columns).encode())
    text = markdown_table([columns, *([str(line.get(key, "-")) for key in columns] for line in lines)])
    if OURS in fresh:
        text += "\n" + verdicts(fresh[OURS], folder / "fresh")
    write_bytes(folder / "table.md", text.encode())
    print(text, end="")


def thresholds(images: Sequence[Measured]) -> str:
    """Those of the audit: halfway between the evidence of either pure setting and that of both, over both areas."""
    means = {}
    for setting in (*PURE, MIXED):
        values = [evidence(one, area, SEVERAL) for one in images if one.setting == setting for area in AREAS]
        if not values:
            return f"the thresholds need --part tuning of {setting}"
        means[setting] = sum(values) / len(values)
    high, low = ((means[setting] + means[MIXED]) / 2 for setting in PURE)
    told = ", ".join(f"{setting} {value:.3f}" for setting, value in means.items())
    return f"evidence on the tuning images: {told}; thresholds: object {high:.2f}, context {low:.2f}"


def read(folder: Path) -> dict[str, list[Measured]]:
    """Method -> its images."""
    found: dict[str, list[Measured]] = {}
    for file in sorted(folder.glob("*.*.csv")):
        setting, method, _ = file.name.split(".")
        if method != "control":
            found.setdefault(method, []).extend(Measured(setting, row) for row in Results(file).rows.values())
    return dict(sorted(found.items(), key=lambda item: item[0] != OURS))


def lines_of(method: str, images: Sequence[Measured], tuning: Sequence[Measured]) -> Iterator[Row]:
    """A line for each form, choice of areas (the mean over both at last) and number of explanations."""
    for areas in (*((area,) for area in AREAS), AREAS):
        for form, estimate in FORMS.items():
            several = range(1, SEVERAL + 1) if method.startswith(OURS) and form in GRADED else [1]
            for explanations in several:

                def value(one: Measured) -> float:
                    return sum(estimate(one, area, explanations) for area in areas) / len(areas)  # noqa: B023

                values = torch.tensor([value(one) for one in images], dtype=torch.float64)
                known = [(one.setting, value(one)) for one in tuning if one.setting in PURE]
                line: Row = {"method": method, "area": " and ".join(f"{area:g}" for area in areas)}
                yield line | {"form": form, "explanations": explanations} | figures(images, values, known)


def classifier_alone(images: Sequence[Measured]) -> Row:
    """What an estimate reaches that is each classifier's mean truth, and says nothing of an image."""
    means = {
        setting: sum(own) / len(own)
        for setting in SETTINGS
        if (own := [one.truth for one in images if one.setting == setting])
    }
    values = torch.tensor([means[one.setting] for one in images], dtype=torch.float64)
    return {"method": "mean truth of the classifier"} | figures(images, values, [])


def figures(images: Sequence[Measured], values: Tensor, known: Sequence[tuple[str, float]]) -> Row:
    """Accuracy in the pure settings at a threshold from the tuning images, and rank correlations."""
    truth = torch.tensor([one.truth for one in images], dtype=torch.float64)
    row: Row = {"images": len(images)}
    threshold = middle(known)
    if threshold is not None:
        right = {
            setting: [
                float((value >= threshold) == (said == OBJECT))
                for one, value in zip(images, values, strict=True)
                if one.setting == setting
            ]
            for setting, said in PURE.items()
        }
        row |= {setting: f"{sum(own) / len(own):.3f}" for setting, own in right.items() if own}
        every = [one for own in right.values() for one in own]
        if every:
            row["pure"] = f"{sum(every) / len(every):.3f}"
    mixed = torch.tensor([one.setting not in PURE for one in images])
    row["rank correlation"] = correlation(truth, values)
    if int(mixed.sum()) > 2:
        row["not pure"] = correlation(truth[mixed], values[mixed])
    if (inside := within(images, truth, values)) is not None:
        row["within"] = f"{inside:.3f}"
    return row


def within(images: Sequence[Measured], truth: Tensor, values: Tensor) -> float | None:
    """Mean over the classifiers that are not pure of the rank correlation among the images of each; None without.

    The truths of different classifiers lie apart, so most of a correlation over all images is between classifiers.
    """
    found = []
    for setting in SETTINGS:
        own = torch.tensor([one.setting == setting for one in images])
        if setting not in PURE and int(own.sum()) > 2:
            found.append(float(spearman(truth[own][None, None], values[own][None, None])))
    return sum(found) / len(found) if found and all(map(math.isfinite, found)) else None


def middle(known: Sequence[tuple[str, float]]) -> float | None:
    """Halfway between the means of the two pure settings."""
    means = [[value for setting, value in known if setting == one] for one in PURE]
    return sum(sum(own) / len(own) for own in means) / 2 if all(means) else None


def correlation(truth: Tensor, values: Tensor) -> str:
    """Spearman's, with its 95 % bootstrap interval over images; a dash where all values are one."""
    every = torch.arange(len(truth))[None]
    rows = torch.cat([every, *resamples(len(truth), draws=300, seed=0)])
    found = spearman(truth[rows][:, None], values[rows][:, None])
    if not bool(found[0].isfinite()):
        return "-"
    ends = found[1:][found[1:].isfinite()].quantile(found.new_tensor([0.025, 0.975])).tolist()  # NaN: of one value
    return f"{float(found[0]):.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def verdicts(images: Sequence[Measured], folder: Path) -> str:
    """What the audit says of each setting's images, at each area."""
    lines = [
        ["setting", "area", "truth", "evidence on the object", "object", "both", "context", "no claim", "redundant"]
    ]
    for setting in SETTINGS:
        own = [one for one in images if one.setting == setting]
        file = folder / f"{setting}.control.csv"
        if not own or not file.is_file():
            continue
        limits = next(csv.DictReader(file.read_text().splitlines()))
        for area in AREAS:
            readings = [one.reading(area, SEVERAL, draws=DRAWS) for one in own]
            said = [judge(one, control=float(limits[f"bound/{area:g}"]), thresholds=Thresholds()) for one in readings]
            truth = sum(one.truth for one in own) / len(own)
            counts = [sum(one.where == kind for one in said) for kind in (OBJECT, BOTH, CONTEXT, UNCLEAR)]
            mean = sum(one.object_evidence.value for one in said if one.object_evidence is not None) / len(said)
            cells = [
                setting,
                f"{area:g}",
                f"{truth:.2f}",
                f"{mean:.2f}",
                *map(str, counts),
                str(sum(one.redundant for one in said)),
            ]
            lines.append(cells)
    return markdown_table(lines)


if __name__ == "__main__":
    raise SystemExit(main())
