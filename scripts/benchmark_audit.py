"""How well explanations tell what a classifier of known reliance leans on: object or ground.

    python scripts/benchmark_audit.py --part tuning --settings object_only context_only both       thresholds
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

import torch
from compare import configured
from jaxtyping import Bool
from omegaconf import DictConfig
from scipy.stats import spearmanr
from torch import Tensor

from inr_xai.auditing.control import bound, control_configuration
from inr_xai.auditing.play import Play
from inr_xai.auditing.reading import Reading, Taken
from inr_xai.auditing.run import Bench, measure, object_of, regions_of
from inr_xai.auditing.verdict import CONTEXT, OBJECT, UNCLEAR, Thresholds, judge
from inr_xai.classifier import FrozenClassifier, shapes_in_context
from inr_xai.config import exit_status
from inr_xai.data import ShapesInContext
from inr_xai.data.shapes_in_context import SETTINGS
from inr_xai.errors import UserError
from inr_xai.evaluation.rows import Results
from inr_xai.files import Row, format_csv, write_bytes
from inr_xai.metrics.bootstrap import resamples
from inr_xai.metrics.intervention import intervene
from inr_xai.metrics.masks import hard_masks
from inr_xai.peers.methods import OTHERS, Conditions, build_other
from inr_xai.photos import PhotoPool
from inr_xai.render import Run, load
from inr_xai.runner import run as explain
from inr_xai.seeding import generator
from inr_xai.types import Sample

OURS = "inr"
AREAS = (0.1, 0.2)
OPTIONS = ("objective=hybrid", "explanations=3", "areas=[0.1,0.2]", "steps=60")
"""Of our fits."""
QUIET = ("callbacks.figures=null", "callbacks.curves=null", "callbacks.progress=null", "logger=none")
PARTS = {"tuning": (1000, 16), "fresh": (1, 100)}
"""Seed of the images, and how many of each setting."""
PURE = {"object_only": OBJECT, "context_only": CONTEXT}
MIXED = "both"
"""The setting between them, for the thresholds of the audit."""
CONTROL = 20
SEVERAL = 3
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
            measure_all(args)
        report(args.results)
        return 0

    return exit_status(work)


# Measuring ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A setting's images with its classifier."""

    setting: str
    data: ShapesInContext
    bench: Bench
    _truths: dict[str, Row] = field(default_factory=dict)

    @property
    def classifier(self) -> FrozenClassifier:
        return self.bench.classifier

    def truth(self, name: str) -> Row:
        """What the interventions on this image take of its class; found once, whatever the methods."""
        if name not in self._truths:
            found = intervene(self.classifier, self.data, [name], draws=7)
            effects = found.object_effect.item(), found.background_effect.item()
            self._truths[name] = dict(zip(("object_effect", "background_effect"), effects, strict=True))
        return self._truths[name]


def measure_all(args: argparse.Namespace) -> None:
    """A row for each image and method, in a CSV for each part, setting and method."""
    seed, count = PARTS[args.part]
    for setting in args.settings:
        data, classifier = ShapesInContext(setting, size=count, seed=seed), shapes_in_context(setting)
        pool = PhotoPool(data.scoring_ids, data, classifier.preprocessing)
        case = Case(setting, data, Bench(data, classifier, pool, CPU, masks_per_forward=64))
        chosen = data.ids[: args.images]
        for method in args.methods.split(","):
            folder = args.cache / args.part / setting
            cfg = our_configuration(setting, folder, seed, count, len(chosen))
            regions = our_regions(cfg, folder) if method == OURS else their_regions(case, method)
            results = Results(args.results / args.part / f"{setting}.{method}.csv")
            results.file.parent.mkdir(parents=True, exist_ok=True)
            for name in chosen:
                if not results.has(name, "object_effect"):
                    results.add(
                        name, {"target": data.label(name), "difficult": 0, **row_of(case, name, regions), "failed": ""}
                    )
            if method == OURS:
                control(case, cfg, folder, args.results / args.part)
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


def our_regions(cfg: DictConfig, folder: Path) -> Regions:
    explain(cfg)
    return OfRun(load(folder))


def our_configuration(setting: str, folder: Path, seed: int, size: int, limit: int) -> DictConfig:
    data = ("data=shapes_in_context", f"data.cues={setting}", f"data.seed={seed}", f"data.size={size}")
    own = ("classifier=shapes_in_context", f"classifier.name={setting}", "trainer.accelerator=cpu", f"out={folder}")
    return configured(*data, f"data.limit={limit}", *own, *OPTIONS, *QUIET)


def their_regions(case: Case, method: str) -> Regions:
    if method not in OTHERS:
        raise UserError(f"--methods names {method!r}; choose some of {', '.join([OURS, *OTHERS])}")
    return OfMaps(case, method)


@torch.no_grad()
def row_of(case: Case, name: str, regions: Regions) -> Row:
    """The truth, and for each area what the regions do."""
    sample = case.data.load(name, case.classifier.preprocessing)
    row: Row = dict(case.truth(name))
    truth = object_of(sample)
    assert truth is not None
    with torch.enable_grad():
        chosen = {area: regions.at(sample, area) for area in AREAS}
        mass = regions.mass(sample)
    row["object_size"] = truth.double().mean().item()
    if mass is not None:
        row["mass"] = (mass[truth].sum() / mass.sum().clamp_min(1e-12)).item()
    for area, own in chosen.items():
        assert sample.target is not None
        taken = measure(sample, sample.target, [own], case.bench, area=area)
        assert taken.on_object is not None
        assert taken.chances is not None
        row[f"shares/{area:g}"] = packed(taken.on_object[0])
        row[f"by_baseline/{area:g}"] = "; ".join(packed(values) for values in taken.plays[0].values)
        row[f"chance/{area:g}"] = "; ".join(packed(values) for values in taken.chances[0])
    return row


@torch.no_grad()
def control(case: Case, cfg: DictConfig, folder: Path, results: Path) -> None:
    """What explanations of absent classes carry, one number for each area."""
    file = results / f"{case.setting}.control.csv"
    if file.is_file():
        return
    with torch.enable_grad():
        explain(control_configuration(cfg, images=CONTROL, out=folder / "control"))
    fitted = load(folder / "control")
    limits = {}
    for area in AREAS:
        taken = []
        for name in list(fitted)[:CONTROL]:
            sample, found = case.data.load(name, case.classifier.preprocessing), fitted[name]
            taken.append(measure(sample, found.target, [regions_of(found, area, seed=0)], case.bench, area=area))
        limits[f"bound/{area:g}"] = bound(taken)
    write_bytes(file, format_csv([limits]).encode())


def packed(values: Tensor) -> str:
    return " ".join(f"{value:.6f}" for value in values.tolist())


def unpacked(text: str) -> Tensor:
    return torch.tensor([[float(value) for value in part.split()] for part in text.split(";")])


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
        values, chance = unpacked(self.row[f"by_baseline/{area:g}"]), unpacked(self.row[f"chance/{area:g}"])
        shares = torch.tensor([float(value) for value in self.row[f"shares/{area:g}"].split()], dtype=torch.float64)
        played = Play(values, len(shares) - 1).coarser(explanations)
        size = float(self.row["object_size"])
        return Reading(Taken([played], [shares[: explanations + 1]], size, [chance], area), draws=200)


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
    excess = reading.excess()[0][:explanations]
    return float((reading.shapley()[0][:explanations] * excess).sum() / reading.over("whole")[0])


def on_object(one: Measured, area: float, explanations: int) -> float:
    """The share of a map's mass on the object; of region 1 where there is no map."""
    mass = one.row.get("mass")
    return float(mass) if mass else float(one.row[f"shares/{area:g}"].split()[0])


GRADED = ("evidence", "decomposition")
GRADED = ("evidence", "decomposition")
"""What grows with the explanations."""
FORMS = {"on the object": on_object, "removal test": removal, "evidence": evidence, "decomposition": decomposition}


def report(folder: Path) -> None:
    """Prints the table and writes it beside the CSVs."""
    fresh, tuning = (read(folder / part) for part in ("fresh", "tuning"))
    if OURS in tuning:
        print(thresholds(tuning[OURS]))
    if not fresh:
        raise UserError(f"{folder / 'fresh'} has no results; run this script without --table first")
    lines = [line for method, own in fresh.items() for line in lines_of(method, own, tuning.get(method, []))]
    for method, own in fresh.items():
        if OURS in fresh and len(own) < len(fresh[OURS]):
            among = {(one.setting, one.row["sample_id"]) for one in own}
            ours = [one for one in fresh[OURS] if (one.setting, one.row["sample_id"]) in among]
            lines += lines_of(f"{OURS} on those of {method}", ours, tuning.get(OURS, []))
    columns = list(dict.fromkeys(key for line in lines for key in line))
    write_bytes(folder / "table.csv", format_csv(lines, columns).encode())
    rows = [columns, ["---"] * len(columns), *([str(line.get(key, "-")) for key in columns] for line in lines)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    if OURS in fresh:
        text += "\n\n" + verdicts(fresh[OURS], folder / "fresh")
    write_bytes(folder / "table.md", f"{text}\n".encode())
    print(text)


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
                str(sum(one.redundant for one in said)),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
