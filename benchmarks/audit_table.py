"""The table of the audit's benchmark, from what benchmarks/audit.py has measured.

    python benchmarks/audit_table.py                      benchmarks/results/audit/table.csv and .md, and printed
    python benchmarks/audit_table.py --results FOLDER

A method's estimate of what an image's class leans on is compared with the interventions on that image. The thresholds
of the audit come from the tuning images, and are printed too.
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
from inr_xai.audit.verdict import BOTH, CONTEXT, NO_CLAIM, OBJECT, Thresholds, judge
from inr_xai.config import exit_status
from inr_xai.data.scenes.shapes_in_context import SETTINGS
from inr_xai.errors import UserError
from inr_xai.evaluate.results import Results
from inr_xai.metrics.robustness.similarity import spearman
from inr_xai.metrics.statistics.bootstrap import resamples
from inr_xai.runs.files import all_columns, format_csv, markdown_table, write_bytes
from inr_xai.types import Row

OURS = "inr"
AREAS = (0.1, 0.2)
"""Both as benchmarks/audit.py has them: the name of our method in the files, and the areas of its columns."""
EXPLANATIONS = 3
"""How many explanations ours has."""
DRAWS = 200
"""Resamples behind a verdict."""
PURE = {"object_only": OBJECT, "context_only": CONTEXT}
"""Settings with one cue alone -> the right verdict."""
MIXED = "both"
"""The setting between them, for the thresholds of the audit."""


def main() -> int:
    """Makes the table, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", type=Path, default=Path("benchmarks/results/audit"), help="where the CSVs are (%(default)s)"
    )
    folder = parser.parse_args().results

    def work() -> int:
        write_table(folder)
        return 0

    return exit_status(work)


@dataclass(frozen=True, eq=False)
class MeasuredImage:
    """One image as one method measured it, read back. It equals itself alone, so that `cache` can store its values."""

    setting: str
    row: Mapping[str, str]

    @property
    def truth(self) -> float:
        """See `object_part`."""
        return object_part(float(self.row["object_effect"]), float(self.row["background_effect"]))

    def estimates(self, area: float, explanations: int, *, draws: int = 1) -> Estimates:
        """Returns the estimates for the first explanations; all later regions belong to the rest.

        Args:
            draws: resamples of the intervals.
        """
        values, random_values = (unpacked(self.row[f"{name}/{area:g}"]) for name in ("by_baseline", "chance"))
        shares = torch.tensor([float(value) for value in self.row[f"shares/{area:g}"].split()], dtype=torch.float64)
        game = CoalitionGame(values, len(shares) - 1).merge_after(explanations)
        size = float(self.row["object_size"])
        image = AuditedImage([game], [shares[: explanations + 1]], size, [random_values], area)
        return Estimates(image, draws=draws)


def object_part(object_effect: float, background_effect: float) -> float:
    """Returns the object's part of what both interventions take away, in [0, 1]; effects below 0 count as 0."""
    effects = [max(0.0, effect) for effect in (object_effect, background_effect)]
    return effects[0] / max(sum(effects), 1e-9)


def unpacked(text: str) -> Tensor:
    """Returns the matrix of a cell, whose rows are parted by semicolons."""
    return torch.tensor([[float(value) for value in part.split()] for part in text.split(";")])


@cache
def removal(image: MeasuredImage, area: float, explanations: int) -> float:
    """Returns the removal test: each region's share on the object times the part of p_t lost without it, summed."""
    estimates = image.estimates(area, explanations)
    assert estimates.image.on_object is not None
    shares, whole = estimates.image.on_object[0].tolist(), float(estimates.mean("whole")[0])
    return sum(shares[k - 1] * (1 - float(estimates.mean("without", k)[0]) / whole) for k in range(1, explanations + 1))


@cache
def evidence(image: MeasuredImage, area: float, explanations: int) -> float:
    """Returns `Estimates.object_evidence`."""
    return float(image.estimates(area, explanations).object_evidence()[0])


@cache
def decomposition(image: MeasuredImage, area: float, explanations: int) -> float:
    """Returns the sum of the regions' Shapley shares, each times the region's excess on the object."""
    estimates = image.estimates(area, explanations)
    excess = estimates.excess_on_object()[0][:explanations]
    return float((estimates.shapley()[0][:explanations] * excess).sum() / estimates.mean("whole")[0])


def on_object(image: MeasuredImage, area: float, explanations: int) -> float:
    """Returns the share of a map's mass on the object, or that of region 1 if the method has no map."""
    mass = image.row.get("mass")
    return float(mass) if mass else float(image.row[f"shares/{area:g}"].split()[0])


FORMS = {"on the object": on_object, "removal test": removal, "evidence": evidence, "decomposition": decomposition}
"""Form of an estimate -> its function."""
SUMS = ("removal test", "evidence", "decomposition")
"""Forms that sum over explanations."""


def write_table(folder: Path) -> None:
    """Prints the table, and writes it beside the CSVs. Raises UserError if there are no results."""
    fresh, tuning = (read_images(folder / part) for part in ("fresh", "tuning"))
    if OURS in tuning:
        print(thresholds(tuning[OURS]))
    if not fresh:
        raise UserError(f"{folder / 'fresh'} has no results; run benchmarks/audit.py --part fresh")
    rows = [row for method, images in fresh.items() for row in method_rows(method, images, tuning.get(method, []))]
    for method, images in fresh.items():
        if OURS in fresh and len(images) < len(fresh[OURS]):
            keys = {(image.setting, image.row["sample_id"]) for image in images}
            ours = [image for image in fresh[OURS] if (image.setting, image.row["sample_id"]) in keys]
            rows += method_rows(f"{OURS} on those of {method}", ours, tuning.get(OURS, []))
    for method, images in read_images(folder / "confirmation").items():
        rows += method_rows(f"{method} on other images", images, tuning.get(method, []))
    if OURS in fresh:
        rows.append(classifier_row(fresh[OURS]))
    columns = all_columns(rows)
    write_bytes(folder / "table.csv", format_csv(rows, columns).encode())
    text = markdown_table(columns, ([str(row.get(name, "-")) for name in columns] for row in rows))
    if OURS in fresh:
        text += "\n" + verdict_table(fresh[OURS], folder / "fresh")
    write_bytes(folder / "table.md", text.encode())
    print(text, end="")


def read_images(folder: Path) -> dict[str, list[MeasuredImage]]:
    """Returns the images of each method, ours first."""
    by_method: dict[str, list[MeasuredImage]] = {}
    for file in sorted(folder.glob("*.*.csv")):
        setting, method, _ = file.name.split(".")
        if method != "control":
            images = [MeasuredImage(setting, row) for row in Results(file).rows.values()]
            by_method.setdefault(method, []).extend(images)
    return dict(sorted(by_method.items(), key=lambda item: item[0] != OURS))


def thresholds(images: Sequence[MeasuredImage]) -> str:
    """Returns the thresholds of the audit as text: halfway between the mean evidence of each pure setting and of both.

    The means are over the images of a setting and over both areas.
    """
    means = {}
    for setting in (*PURE, MIXED):
        values = [evidence(image, area, EXPLANATIONS) for image in images if image.setting == setting for area in AREAS]
        if not values:
            return f"the thresholds need --part tuning of {setting}"
        means[setting] = sum(values) / len(values)
    high, low = ((means[setting] + means[MIXED]) / 2 for setting in PURE)
    listed = ", ".join(f"{setting} {value:.3f}" for setting, value in means.items())
    return f"evidence on the tuning images: {listed}; thresholds: object {high:.2f}, context {low:.2f}"


def method_rows(method: str, images: Sequence[MeasuredImage], tuning: Sequence[MeasuredImage]) -> Iterator[Row]:
    """Returns a row for each choice of areas (the mean over both comes last), form and number of explanations."""
    for areas in (*((area,) for area in AREAS), AREAS):
        for form, estimate in FORMS.items():
            counts = range(1, EXPLANATIONS + 1) if method.startswith(OURS) and form in SUMS else [1]
            for explanations in counts:

                def value(image: MeasuredImage) -> float:
                    return sum(estimate(image, area, explanations) for area in areas) / len(areas)  # noqa: B023

                values = torch.tensor([value(image) for image in images], dtype=torch.float64)
                pure = [(image.setting, value(image)) for image in tuning if image.setting in PURE]
                row: Row = {"method": method, "area": " and ".join(f"{area:g}" for area in areas)}
                yield row | {"form": form, "explanations": explanations} | figures(images, values, pure)


def classifier_row(images: Sequence[MeasuredImage]) -> Row:
    """Returns the row of each classifier's mean truth, an estimate that says nothing of a single image."""
    truths = {setting: [image.truth for image in images if image.setting == setting] for setting in SETTINGS}
    means = {setting: sum(values) / len(values) for setting, values in truths.items() if values}
    values = torch.tensor([means[image.setting] for image in images], dtype=torch.float64)
    return {"method": "mean truth of the classifier"} | figures(images, values, [])


def figures(images: Sequence[MeasuredImage], values: Tensor, pure: Sequence[tuple[str, float]]) -> Row:
    """Returns the accuracies in the pure settings at a threshold from the tuning images, and the rank correlations.

    Args:
        values: the estimate of each image.
        pure: setting and estimate of the tuning images of the pure settings.
    """
    truth = torch.tensor([image.truth for image in images], dtype=torch.float64)
    row: Row = {"images": len(images)}
    threshold = middle(pure)
    if threshold is not None:
        correct = {
            setting: [
                float((value >= threshold) == (place == OBJECT))
                for image, value in zip(images, values, strict=True)
                if image.setting == setting
            ]
            for setting, place in PURE.items()
        }
        row |= {setting: f"{sum(hits) / len(hits):.3f}" for setting, hits in correct.items() if hits}
        if together := [hit for hits in correct.values() for hit in hits]:
            row["pure"] = f"{sum(together) / len(together):.3f}"
    mixed = torch.tensor([image.setting not in PURE for image in images])
    row["rank correlation"] = correlation(truth, values)
    if int(mixed.sum()) > 2:
        row["not pure"] = correlation(truth[mixed], values[mixed])
    if (mean := within(images, truth, values)) is not None:
        row["within"] = f"{mean:.3f}"
    return row


def within(images: Sequence[MeasuredImage], truth: Tensor, values: Tensor) -> float | None:
    """Returns the mean, over the classifiers that are not pure, of the rank correlation among the images of each.

    The truths of different classifiers lie apart, so most of a correlation over all images is between classifiers. The
    mean is None if there is no such classifier, or if one of the correlations is not defined.
    """
    correlations = []
    for setting in SETTINGS:
        chosen = torch.tensor([image.setting == setting for image in images])
        if setting not in PURE and int(chosen.sum()) > 2:
            correlations.append(float(spearman(truth[chosen][None, None], values[chosen][None, None])))
    return sum(correlations) / len(correlations) if correlations and all(map(math.isfinite, correlations)) else None


def middle(pure: Sequence[tuple[str, float]]) -> float | None:
    """Returns the number halfway between the means of the two pure settings; None if one of them has no image."""
    values = [[value for setting, value in pure if setting == name] for name in PURE]
    return sum(sum(group) / len(group) for group in values) / 2 if all(values) else None


def correlation(truth: Tensor, values: Tensor) -> str:
    """Returns Spearman's correlation with its 95 % bootstrap interval over images; a dash if it is not defined."""
    everything = torch.arange(len(truth))[None]
    rows = torch.cat([everything, *resamples(len(truth), draws=300, seed=0)])
    coefficients = spearman(truth[rows][:, None], values[rows][:, None])
    if not bool(coefficients[0].isfinite()):
        return "-"
    resampled = coefficients[1:][coefficients[1:].isfinite()]  # a resample of one value has NaN
    low, high = resampled.quantile(coefficients.new_tensor([0.025, 0.975])).tolist()
    return f"{float(coefficients[0]):.3f} [{low:.3f}, {high:.3f}]"


def verdict_table(images: Sequence[MeasuredImage], folder: Path) -> str:
    """Returns a Markdown table of the verdicts on the images of each setting, at each area.

    Args:
        folder: the folder of the control's limits; settings without a limit are left out.
    """
    head = ["setting", "area", "truth", "evidence on the object", "object", "both", "context", "no claim", "redundant"]
    rows = []
    for setting in SETTINGS:
        members = [image for image in images if image.setting == setting]
        file = folder / f"{setting}.control.csv"
        if not members or not file.is_file():
            continue
        limits = next(csv.DictReader(file.read_text().splitlines()))
        truth = sum(image.truth for image in members) / len(members)
        for area in AREAS:
            verdicts = [
                judge(
                    image.estimates(area, EXPLANATIONS, draws=DRAWS),
                    control=float(limits[f"bound/{area:g}"]),
                    thresholds=Thresholds(),
                )
                for image in members
            ]
            values = [verdict.object_evidence.value for verdict in verdicts if verdict.object_evidence is not None]
            places = [verdict.where for verdict in verdicts]
            rows.append(
                [
                    setting,
                    f"{area:g}",
                    f"{truth:.2f}",
                    f"{sum(values) / len(verdicts):.2f}",
                    *(str(places.count(place)) for place in (OBJECT, BOTH, CONTEXT, NO_CLAIM)),
                    str(sum(verdict.redundant for verdict in verdicts)),
                ]
            )
    return markdown_table(head, rows)


if __name__ == "__main__":
    raise SystemExit(main())
