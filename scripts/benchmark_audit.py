"""How well explanations tell what a classifier of known reliance leans on: object or ground.

    python scripts/benchmark_audit.py --part tuning                       thresholds, on images of their own
    python scripts/benchmark_audit.py --part fresh                        the benchmark: 100 images of each classifier
    python scripts/benchmark_audit.py --part fresh --methods torchray --images 15
    python scripts/benchmark_audit.py --table                             the table, from the CSVs

The truth about an image of ShapesInContext is an intervention on that very image: how much of the class's probability
is lost where its object is swapped for each of the other seven shapes, and where its ground is. Its scalar is the
object's share of both losses. A method's map is made hard at an area, and the region is removed and kept alone under
four baselines; of ours, that of each explanation. What is computed already is not computed again.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from compare import configured
from jaxtyping import Bool
from scipy.stats import spearmanr
from torch import Tensor

from inr_xai.auditing.control import bound, control_configuration
from inr_xai.auditing.play import Play, play, players_of
from inr_xai.auditing.reading import Reading, Taken, grown, shares_on
from inr_xai.auditing.run import regions_of
from inr_xai.auditing.verdict import CONTEXT, OBJECT, UNCLEAR, Thresholds, judge
from inr_xai.classifier import FrozenClassifier, shapes_in_context
from inr_xai.config import exit_status
from inr_xai.data import ShapesInContext
from inr_xai.data.shapes_in_context import SETTINGS
from inr_xai.errors import UserError
from inr_xai.evaluation.rows import Results
from inr_xai.files import Row, format_csv, write_bytes
from inr_xai.metrics.baselines import scoring_baselines
from inr_xai.metrics.bootstrap import resamples
from inr_xai.metrics.intervention import intervene
from inr_xai.metrics.masks import hard_masks
from inr_xai.metrics.trial import Trial
from inr_xai.peers.methods import OTHERS, Conditions, build_other
from inr_xai.photos import PhotoPool
from inr_xai.render import Run, load
from inr_xai.runner import run as explain
from inr_xai.seeding import generator
from inr_xai.types import Sample

OURS = "inr"
AREAS = (0.1, 0.2)
OPTIONS = ("objective=hybrid", "explanations=2", "areas=[0.1,0.2]", "steps=50")
"""Of our fits."""
QUIET = ("callbacks.figures=null", "callbacks.curves=null", "callbacks.progress=null", "logger=none")
PARTS = {"tuning": (1000, 16), "fresh": (1, 100)}
"""Seed of the images, and how many of each setting."""
PURE = {"object_only": OBJECT, "context_only": CONTEXT}
CONTROL = 20
SEVERAL = 2
"""Explanations of ours."""
CPU = torch.device("cpu")
log = logging.getLogger("benchmark_audit")


def main() -> int:
    """Measures, or makes the table; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), default="fresh", help="which images (%(default)s)")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--methods", default=f"{OURS},gradcam,integrated_gradients,occlusion", help="names, by commas")
    parser.add_argument("--images", type=int, help="of each setting (those of the part)")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--table", action="store_true", help="compute nothing, make the table")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/audit"), help="where the CSVs go")
    parser.add_argument("--cache", type=Path, default=Path("outputs/audit_benchmark"), help="where our fits go")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)

    def work() -> int:
        if not args.table:
            measure(args)
        report(args.results)
        return 0

    return exit_status(work)


# Measuring ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A setting's images with its classifier."""

    setting: str
    data: ShapesInContext
    classifier: FrozenClassifier
    pool: PhotoPool
    _truths: dict[str, Row] = field(default_factory=dict)

    def truth(self, name: str) -> Row:
        """What the interventions on this image take of its class; found once, whatever the methods."""
        if name not in self._truths:
            found = intervene(self.classifier, self.data, [name], draws=7)
            effects = found.object_effect.item(), found.background_effect.item()
            self._truths[name] = dict(zip(("object_effect", "background_effect"), effects, strict=True))
        return self._truths[name]


def measure(args: argparse.Namespace) -> None:
    """A row for each image and method, in a CSV for each part, setting and method."""
    seed, count = PARTS[args.part]
    for setting in args.settings:
        data, classifier = ShapesInContext(setting, size=count, seed=seed), shapes_in_context(setting)
        pool = PhotoPool(data.scoring_ids, data, classifier.preprocessing)
        case = Case(setting, data, classifier, pool)
        for method in args.methods.split(","):
            folder = args.cache / args.part / setting
            regions = our_regions(case, folder, seed, count) if method == OURS else their_regions(case, method)
            results = Results(args.results / args.part / f"{setting}.{method}.csv")
            results.file.parent.mkdir(parents=True, exist_ok=True)
            for name in data.ids[: args.images]:
                if not results.has(name, "object_effect"):
                    results.add(
                        name, {"target": data.label(name), "difficult": 0, **row_of(case, name, regions), "failed": ""}
                    )
            if method == OURS:
                control(case, folder, seed, count, args.results / args.part)
            log.info("%s: %s, %d images", setting, method, len(results.rows))


class Regions:
    """The hard regions of an image at an area, and a map for the share of its mass."""

    def at(self, sample: Sample, area: float) -> Bool[Tensor, "k h w"]:
        raise NotImplementedError

    def mass(self, sample: Sample) -> Tensor | None:
        """The map, h x w; None where there are only masks."""
        raise NotImplementedError


@dataclass(frozen=True)
class OfRun(Regions):
    """Those of a finished run of ours."""

    run: Run

    def at(self, sample: Sample, area: float) -> Bool[Tensor, "k h w"]:
        return regions_of(self.run[sample.sample_id], area, seed=0)

    def mass(self, sample: Sample) -> Tensor | None:
        return None


class OfMaps(Regions):
    """The largest values of another method's map, or its mask of the area."""

    def __init__(self, case: Case, method: str):
        self._explainer = build_other(method, Conditions(case.classifier, CPU, AREAS))
        self._sample, self._maps = "", torch.empty(0)

    def at(self, sample: Sample, area: float) -> Bool[Tensor, "k h w"]:
        maps = self._of(sample)
        own = maps[AREAS.index(area)] if len(maps) == len(AREAS) else maps[0]
        draw = [generator(0, sample.sample_id, "ties")]
        return hard_masks(own[None, None], torch.tensor([area], dtype=torch.float64), generators=draw)[0]

    def mass(self, sample: Sample) -> Tensor | None:
        return self._of(sample).double().mean(0).clamp_min(0)

    def _of(self, sample: Sample) -> Tensor:
        if self._sample != sample.sample_id:
            assert sample.target is not None
            self._maps = self._explainer.explain(sample.image, sample.target, sample.sample_id).maps
            self._sample = sample.sample_id
        return self._maps


def our_regions(case: Case, folder: Path, seed: int, count: int) -> Regions:
    explain(our_configuration(case.setting, folder, seed, count))
    return OfRun(load(folder))


def our_configuration(setting: str, folder: Path, seed: int, count: int) -> Any:
    data = ("data=shapes_in_context", f"data.cues={setting}", f"data.seed={seed}", f"data.size={count}")
    own = ("classifier=shapes_in_context", f"classifier.name={setting}", "trainer.accelerator=cpu", f"out={folder}")
    return configured(*data, *own, *OPTIONS, *QUIET)


def their_regions(case: Case, method: str) -> Regions:
    if method not in OTHERS:
        raise UserError(f"--methods names {method!r}; choose some of {', '.join([OURS, *OTHERS])}")
    return OfMaps(case, method)


@torch.no_grad()
def row_of(case: Case, name: str, regions: Regions) -> Row:
    """The truth, and for each area what the regions do."""
    sample = case.data.load(name, case.classifier.preprocessing)
    row: Row = dict(case.truth(name))
    assert sample.segmentation is not None
    truth = grown(sample.segmentation)
    with torch.enable_grad():
        chosen = {area: regions.at(sample, area) for area in AREAS}
        mass = regions.mass(sample)
    row |= {"p_full": float("nan"), "object_size": truth.double().mean().item()}
    if mass is not None:
        row["mass"] = (mass[truth].sum() / mass.sum().clamp_min(1e-12)).item()
    for area, own in chosen.items():
        played = play(trial_of(case, sample), own)
        row["p_full"] = float(played.whole.mean())
        shares = shares_on(players_of(own), truth)
        row |= {f"values/{area:g}": packed(played.values.mean(0)), f"shares/{area:g}": packed(shares)}
        row[f"by_baseline/{area:g}"] = "; ".join(packed(values) for values in played.values)
    return row


def trial_of(case: Case, sample: Sample) -> Trial:
    """The image with its four baselines."""
    image = sample.image[None]
    baselines = scoring_baselines(
        image,
        [sample.sample_id],
        seed=0,
        colour_mean=torch.tensor(case.classifier.colour_mean),
        photos=case.pool.following(sample.sample_id)[None],
    )
    assert sample.target is not None
    target = torch.tensor([sample.target])
    return Trial(case.classifier, image, target, baselines=baselines, masks_per_forward=64)


@torch.no_grad()
def control(case: Case, folder: Path, seed: int, count: int, results: Path) -> None:
    """What explanations of absent classes carry, one number for each area."""
    file = results / f"{case.setting}.control.csv"
    if file.is_file():
        return
    cfg = control_configuration(
        our_configuration(case.setting, folder, seed, count), images=CONTROL, out=folder / "control"
    )
    with torch.enable_grad():
        explain(cfg)
    fitted = load(folder / "control")
    limits = {}
    for area in AREAS:
        taken = []
        for name in list(fitted)[:CONTROL]:
            sample = case.data.load(name, case.classifier.preprocessing)
            trial = trial_of(case, sample)
            trial.targets = torch.tensor([fitted[name].target])
            taken.append(Taken([play(trial, regions_of(fitted[name], area, seed=0))]))
        limits[f"bound/{area:g}"] = bound(taken)
    write_bytes(file, format_csv([limits]).encode())


def packed(values: Tensor) -> str:
    return " ".join(f"{value:.6f}" for value in values.tolist())


# Reading ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One image of a method, read back."""

    setting: str
    row: Mapping[str, str]

    @property
    def truth(self) -> float:
        """The object's share of what both interventions take away; effects below 0 count as none."""
        effects = [max(0.0, float(self.row[name])) for name in ("object_effect", "background_effect")]
        return effects[0] / max(sum(effects), 1e-9)

    def reading(self, area: float, explanations: int) -> Reading:
        """With the first so many explanations as players, all else being the rest."""
        parts = self.row[f"by_baseline/{area:g}"].split(";")
        values = torch.tensor([[float(value) for value in part.split()] for part in parts])
        shares = torch.tensor([float(value) for value in self.row[f"shares/{area:g}"].split()], dtype=torch.float64)
        played = Play(values, len(shares) - 1).coarser(explanations)
        size = float(self.row["object_size"])
        return Reading(Taken([played], [shares[: explanations + 1]], size), draws=200)


def removal(one: Measured, area: float, explanations: int) -> float:
    """Share of the region on the object times what is lost without it, of explanation 1: the plain removal test."""
    reading = one.reading(area, explanations)
    assert reading.taken.on_object is not None
    lost = 1 - float(reading.over("without", 1)[0] / reading.over("whole")[0])
    return float(reading.taken.on_object[0][0]) * lost


def evidence(one: Measured, area: float, explanations: int) -> float:
    """`Reading.object_evidence`."""
    return float(one.reading(area, explanations).object_evidence()[0])


def decomposition(one: Measured, area: float, explanations: int) -> float:
    """The Shapley shares of the regions, each times its excess on the object."""
    reading = one.reading(area, explanations)
    assert reading.taken.on_object is not None
    assert reading.taken.object_share is not None
    excess = reading.taken.on_object[0][:explanations] - reading.taken.object_share
    return float((reading.shapley()[0][:explanations] * excess).sum() / reading.over("whole")[0])


def on_object(one: Measured, area: float, explanations: int) -> float:
    """The share of a map's mass on the object; of region 1 where there is no map."""
    mass = one.row.get("mass")
    return float(mass) if mass else float(one.row[f"shares/{area:g}"].split()[0])


FORMS = {"on the object": on_object, "removal test": removal, "evidence": evidence, "decomposition": decomposition}


def report(folder: Path) -> None:
    """Prints the table and writes it beside the CSVs."""
    fresh, tuning = (read(folder / part) for part in ("fresh", "tuning"))
    lines = [line for method, own in fresh.items() for line in lines_of(method, own, tuning.get(method, []))]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    write_bytes(folder / "table.csv", format_csv(lines, columns).encode())
    rows = [columns, ["---"] * len(columns), *([str(line.get(key, "-")) for key in columns] for line in lines)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    if OURS in fresh:
        text += "\n\n" + verdicts(fresh[OURS], folder / "fresh")
    write_bytes(folder / "table.md", f"{text}\n".encode())
    print(text)


def read(folder: Path) -> dict[str, list[Measured]]:
    """Method -> its images."""
    found: dict[str, list[Measured]] = {}
    for file in sorted(folder.glob("*.*.csv")):
        setting, method, _ = file.name.split(".")
        if method != "control":
            found.setdefault(method, []).extend(Measured(setting, row) for row in Results(file).rows.values())
    return dict(sorted(found.items(), key=lambda item: item[0] != OURS))


def lines_of(method: str, images: Sequence[Measured], tuning: Sequence[Measured]) -> Iterator[Row]:
    """A line for each form, area and number of explanations."""
    for area in AREAS:
        for form, estimate in FORMS.items():
            several = range(1, SEVERAL + 1) if method == OURS and form in ("evidence", "decomposition") else [1]
            for explanations in several:
                values = torch.tensor([estimate(one, area, explanations) for one in images], dtype=torch.float64)
                known = [(one.setting, estimate(one, area, explanations)) for one in tuning if one.setting in PURE]
                yield {"method": method, "area": area, "form": form, "explanations": explanations} | figures(
                    images, values, known
                )


def figures(images: Sequence[Measured], values: Tensor, known: Sequence[tuple[str, float]]) -> Row:
    """Accuracy in the pure settings at a threshold from the tuning images, and rank correlations with intervals."""
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
    return row


def middle(known: Sequence[tuple[str, float]]) -> float | None:
    """Halfway between the means of the two pure settings."""
    means = [[value for setting, value in known if setting == one] for one in PURE]
    return sum(sum(own) / len(own) for own in means) / 2 if all(means) else None


def correlation(truth: Tensor, values: Tensor) -> str:
    """Spearman's, with its 95 % bootstrap interval over images."""
    exact = spearmanr(truth, values).statistic
    drawn = [
        spearmanr(truth[rows], values[rows]).statistic
        for part in resamples(len(truth), draws=300, seed=0)
        for rows in part
    ]
    low, high = (
        torch.tensor(drawn, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    )
    return f"{exact:.3f} [{low:.3f}, {high:.3f}]"


def verdicts(images: Sequence[Measured], folder: Path) -> str:
    """What the audit says of each setting's images, at each area."""
    lines = [
        "| setting | area | truth | evidence on the object | object | both | context | no claim | redundant |",
        "|" + "---|" * 9,
    ]
    for setting in SETTINGS:
        own = [one for one in images if one.setting == setting]
        file = folder / f"{setting}.control.csv"
        if not own or not file.is_file():
            continue
        heads, cells = (line.split(",") for line in file.read_text().splitlines())
        limits = dict(zip(heads, cells, strict=True))
        for area in AREAS:
            readings = [one.reading(area, SEVERAL) for one in own]
            said = [judge(one, control=float(limits[f"bound/{area:g}"]), thresholds=Thresholds()) for one in readings]
            truth = sum(one.truth for one in own) / len(own)
            counts = [sum(one.where == kind for one in said) for kind in (OBJECT, "both", CONTEXT, UNCLEAR)]
            mean = sum(one.object_evidence.value for one in said if one.object_evidence is not None) / len(said)
            cells = [
                setting,
                f"{area:g}",
                f"{truth:.2f}",
                f"{mean:.2f}",
                *map(str, counts),
                str(sum(one.admitted and one.redundant for one in said)),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
