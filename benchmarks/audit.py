"""How well explanations tell what a classifier of known reliance leans on: object or ground.

    python scripts/benchmark_audit.py --part tuning --settings object_only context_only both       thresholds
    python scripts/benchmark_audit.py --part fresh                        the benchmark: 100 images of each classifier
    python scripts/benchmark_audit.py --part fresh --methods torchray --images 15
    python scripts/benchmark_audit.py --part confirmation --methods inr   ours on 100 others, on which nothing was tried
    python scripts/audit_table.py                                         the table again, from the CSVs

The truth about an image of ShapesInContext is an intervention on that very image: how much of the class's probability
is lost where its object is swapped for each of the other seven shapes, and where its ground is. Its scalar is the
object's share of both losses. A method's map is made hard at an area, and the region is removed and kept alone under
four baselines; of ours, that of each explanation. What is computed already is not computed again.
"""

import argparse
import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from audit_table import AREAS, OURS, report
from compare import configured
from jaxtyping import Bool
from omegaconf import DictConfig
from torch import Tensor

from inr_xai.audit.control import bound, control_configuration
from inr_xai.audit.intervention import intervene
from inr_xai.audit.measure import AuditContext, measure, object_of, regions_of
from inr_xai.classifier import FrozenClassifier, shapes_in_context
from inr_xai.compare.methods.registry import OTHERS, Conditions, build_other
from inr_xai.config import exit_status
from inr_xai.data import ShapesInContext
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.data.scenes.shapes_in_context import SETTINGS
from inr_xai.errors import UserError
from inr_xai.evaluate.results import Results
from inr_xai.masks import hard_masks
from inr_xai.runner import explain
from inr_xai.runs.files import format_csv, write_bytes
from inr_xai.runs.load import Run, load
from inr_xai.seeding import generator
from inr_xai.types import Row, Sample

OPTIONS = ("objective=hybrid", "explanations=3", "areas=[0.1,0.2]")
"""Of our fits."""
QUIET = ("callbacks.figures=null", "callbacks.curves=null", "callbacks.progress=null", "logger=none")
PARTS = {"tuning": (1000, 16), "fresh": (1, 100), "confirmation": (2, 100)}
"""Seed of the images, and how many of each setting."""
CONTROL = 20
STEPS = 60
RESULTS, CACHE = Path("benchmarks/results/audit"), Path("outputs/audit_benchmark")
CPU = torch.device("cpu")
log = logging.getLogger("benchmark_audit")


def main() -> int:
    """Measures, and makes the table; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), default="fresh", help="which images (%(default)s)")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--methods", default=f"{OURS},gradcam,integrated_gradients,occlusion", help="names, by commas")
    parser.add_argument("--images", type=int, help="of each setting (those of the part)")
    parser.add_argument(
        "--steps", type=int, default=STEPS, help="of our fits (%(default)s); else give --results, --cache too"
    )
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the CSVs go")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where our fits go")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)

    def work() -> int:
        measure_all(args)
        report(args.results)
        return 0

    return exit_status(work)


@dataclass(frozen=True)
class Case:
    """A setting's images with its classifier."""

    setting: str
    data: ShapesInContext
    bench: AuditContext
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
    if args.steps != STEPS and (args.results == RESULTS or args.cache == CACHE):
        raise UserError(
            f"--steps {args.steps} would be mixed with the results of {STEPS}; give --results and --cache too"
        )
    seed, count = PARTS[args.part]
    for setting in args.settings:
        data, classifier = ShapesInContext(setting, size=count, seed=seed), shapes_in_context(setting)
        pool = PhotoPool(data.scoring_ids, data, classifier.preprocessing)
        case = Case(setting, data, AuditContext(data, classifier, pool, CPU, masks_per_forward=64))
        chosen = data.ids[: args.images]
        for method in args.methods.split(","):
            folder = args.cache / args.part / setting
            cfg = our_configuration(setting, folder, seed, count, len(chosen), args.steps)
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


@dataclass(frozen=True)
class OfRun:
    """Those of a finished run of ours."""

    run: Run

    def at(self, sample: Sample, area: float) -> Bool[Tensor, "k h w"]:
        return regions_of(self.run[sample.sample_id], area, seed=0)

    def mass(self, sample: Sample) -> Tensor | None:
        return None


class OfMaps:
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


Regions = OfRun | OfMaps
"""The hard regions of an image at an area, and, where it has one, its map for the share of the mass."""


def our_regions(cfg: DictConfig, folder: Path) -> OfRun:
    explain(cfg)
    return OfRun(load(folder))


def our_configuration(setting: str, folder: Path, seed: int, size: int, limit: int, steps: int) -> DictConfig:
    data = ("data=shapes_in_context", f"data.cues={setting}", f"data.seed={seed}", f"data.size={size}")
    own = ("classifier=shapes_in_context", f"classifier.name={setting}", "trainer.accelerator=cpu", f"out={folder}")
    return configured(*data, f"data.limit={limit}", *own, *OPTIONS, f"steps={steps}", *QUIET)


def their_regions(case: Case, method: str) -> OfMaps:
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


if __name__ == "__main__":
    raise SystemExit(main())
