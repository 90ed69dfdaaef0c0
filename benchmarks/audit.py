"""How well explanations tell what a classifier of known reliance leans on: object or ground.

    python benchmarks/audit.py --part tuning --settings object_only context_only both   images that set the thresholds
    python benchmarks/audit.py --part fresh                      the benchmark: 100 images of each classifier
    python benchmarks/audit.py --part fresh --methods torchray --images 15
    python benchmarks/audit.py --part confirmation --methods inr    ours on 100 others, on which nothing was tried
    python benchmarks/audit_table.py                                the table of what is measured, and the thresholds

The truth about an image of ShapesInContext is an intervention on that very image: how much of the class's probability
is lost if its object is swapped for each of the other seven shapes, and if its ground is swapped for each of the other
seven textures. A method's map is made hard at an area, and the region is removed, and kept alone, under four baselines.
Our method has a region for each explanation. What is measured already is not measured again. An image that fails has no
row, and is tried again the next time.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool
from omegaconf import DictConfig
from torch import Tensor

from inr_xai.audit.control import control_limit, measure_control
from inr_xai.audit.intervention import intervene
from inr_xai.audit.measure import AuditContext, hard_regions, measure_regions, object_with_seam
from inr_xai.classifier import FrozenClassifier, shapes_in_context
from inr_xai.compare.methods.registry import OTHER_METHODS, MethodSetup, build_other_method
from inr_xai.config import composed, exit_status
from inr_xai.data import ShapesInContext
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.data.scenes.shapes_in_context import SETTINGS
from inr_xai.errors import UserError
from inr_xai.evaluate.results import Results
from inr_xai.masks import hard_masks
from inr_xai.runner import explain
from inr_xai.runs.files import format_csv, write_bytes
from inr_xai.runs.load import Run, load
from inr_xai.runs.loop import each_image
from inr_xai.seeding import generator
from inr_xai.types import Row, Sample

OURS = "inr"
AREAS = (0.1, 0.2)
OPTIONS = ("objective=hybrid", "explanations=3", f"areas=[{','.join(map(str, AREAS))}]")
"""Options of our fits."""
QUIET = ("callbacks.figures=null", "callbacks.curves=null", "callbacks.progress=null", "logger=none")
PARTS = {"tuning": (1000, 16), "fresh": (1, 100), "confirmation": (2, 100)}
"""Part of the benchmark -> seed of its images, and how many each setting has."""
CONTROL_IMAGES = 20
STEPS = 60
RESULTS, CACHE = Path("benchmarks/results/audit"), Path("outputs/audit_benchmark")
CPU = torch.device("cpu")
log = logging.getLogger("benchmarks.audit")


def main() -> int:
    """Measures what the command line names, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), default="fresh", help="which images (%(default)s)")
    parser.add_argument(
        "--settings",
        nargs="+",
        choices=list(SETTINGS),
        default=list(SETTINGS),
        metavar="NAME",
        help="settings of ShapesInContext, each with its classifier; default: all",
    )
    parser.add_argument(
        "--methods",
        default=f"{OURS},gradcam,integrated_gradients,occlusion",
        help=f"names with commas between, {OURS} for ours; default: %(default)s",
    )
    parser.add_argument("--images", type=int, help="number of images of each setting; default: all of the part")
    parser.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        help="number of steps of our fits (%(default)s); another number needs --results and --cache",
    )
    parser.add_argument("--threads", type=int, help="number of the processor's threads; default: torch's")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSVs (%(default)s)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of our fits (%(default)s)")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)

    def work() -> int:
        failures = measure_all(args)
        log.info("python benchmarks/audit_table.py --results %s makes the table", args.results)
        return failures

    return exit_status(work)


@dataclass(frozen=True)
class Setting:
    """A setting of ShapesInContext: its images and the classifier that was trained for it."""

    name: str
    data: ShapesInContext
    context: AuditContext
    _truths: dict[str, Row] = field(default_factory=dict)

    @property
    def classifier(self) -> FrozenClassifier:
        return self.context.classifier

    def truth(self, sample_id: str) -> Row:
        """Returns what the interventions on an image take of its class; computed once for all methods."""
        if sample_id not in self._truths:
            effects = intervene(self.classifier, self.data, [sample_id], draws=7)
            self._truths[sample_id] = {
                "object_effect": effects.object_effect.item(),
                "background_effect": effects.background_effect.item(),
            }
        return self._truths[sample_id]


def measure_all(args: argparse.Namespace) -> int:
    """Writes a row for each image and method, in one CSV for each part, setting and method.

    Returns how many rows could not be measured; the log has the reasons.
    """
    if args.steps != STEPS and (args.results == RESULTS or args.cache == CACHE):
        raise UserError(
            f"--steps {args.steps} would be mixed with the results of {STEPS}; give --results and --cache too"
        )
    seed, size = PARTS[args.part]
    failures = 0
    for name in args.settings:
        data, classifier = ShapesInContext(name, size=size, seed=seed), shapes_in_context(name)
        pool = PhotoPool(data.scoring_ids, data, classifier.preprocessing)
        setting = Setting(name, data, AuditContext(data, classifier, pool, CPU, masks_per_forward=64))
        sample_ids = data.ids[: args.images]
        for method in args.methods.split(","):
            folder = args.cache / args.part / name
            cfg = our_configuration(name, folder, args.part, limit=len(sample_ids), steps=args.steps)
            regions = our_regions(cfg) if method == OURS else other_regions(setting, method)
            results = Results(args.results / args.part / f"{name}.{method}.csv")
            results.file.parent.mkdir(parents=True, exist_ok=True)
            missing = [sample_id for sample_id in sample_ids if not results.has(sample_id, "object_effect")]
            failures += measure_rows(setting, missing, regions, results)
            if method == OURS:
                write_control(setting, cfg, args.results / args.part / f"{name}.control.csv")
            log.info("%s: %s, %d images", name, method, len(results.rows))
    return failures


def measure_rows(setting: Setting, sample_ids: Sequence[str], regions: "Regions", results: Results) -> int:
    """Adds the rows of images to the results, and returns how many images failed."""

    def add_row(sample_id: str, place: str) -> int:
        row = measure_row(setting, sample_id, regions)
        results.add(sample_id, {"target": setting.data.label(sample_id), "difficult": 0, **row, "failed": ""})
        return 0

    return each_image(sample_ids, add_row, note=lambda sample_id, reason: None)  # the log has the reason


@dataclass(frozen=True)
class RunRegions:
    """The regions of a finished run of ours."""

    run: Run

    def hard(self, sample: Sample, area: float) -> Bool[Tensor, "k h w"]:
        """Returns the hard region of each explanation."""
        return hard_regions(self.run[sample.sample_id], area, seed=0)

    def heatmap(self, sample: Sample) -> Tensor | None:
        """Returns None: what our run says of an image are its regions."""
        return None


class MapRegions:
    """The regions of another method: the largest values of its map or, if it has a mask for each area, of that mask."""

    def __init__(self, setting: Setting, method: str):
        self._explainer = build_other_method(method, MethodSetup(setting.classifier, CPU, AREAS))
        self._sample_id, self._maps = "", torch.empty(0)

    def hard(self, sample: Sample, area: float) -> Bool[Tensor, "k h w"]:
        """Returns the one region of an image."""
        maps = self._explain(sample)
        values = maps[AREAS.index(area)] if len(maps) == len(AREAS) else maps[0]
        draw = [generator(0, sample.sample_id, "ties")]
        return hard_masks(values[None, None], torch.tensor([area], dtype=torch.float64), generators=draw)[0]

    def heatmap(self, sample: Sample) -> Tensor | None:
        """Returns the map, or the mean of the masks, without its negative values."""
        return self._explain(sample).double().mean(0).clamp_min(0)

    def _explain(self, sample: Sample) -> Tensor:
        """Returns the maps of an image; those of the latest image are kept."""
        if self._sample_id != sample.sample_id:
            assert sample.target is not None
            self._maps = self._explainer.explain(sample.image, sample.target, sample.sample_id).maps
            self._sample_id = sample.sample_id
        return self._maps


Regions = RunRegions | MapRegions


def our_configuration(setting: str, folder: Path, part: str, *, limit: int, steps: int) -> DictConfig:
    """Returns the configuration of our fits of the first images of a setting, with the classifier trained for it."""
    seed, size = PARTS[part]
    data = ("data=shapes_in_context", f"data.cues={setting}", f"data.seed={seed}", f"data.size={size}")
    classifier = ("classifier=shapes_in_context", f"classifier.name={setting}", "trainer.accelerator=cpu")
    return composed(*data, f"data.limit={limit}", *classifier, f"out={folder}", *OPTIONS, f"steps={steps}", *QUIET)


def our_regions(cfg: DictConfig) -> RunRegions:
    """Fits the images that are not fitted yet, and returns the regions of the run."""
    explain(cfg)
    return RunRegions(load(cfg.out))


def other_regions(setting: Setting, method: str) -> MapRegions:
    """Returns the regions of a method by its name. Raises UserError if there is no such method."""
    if method not in OTHER_METHODS:
        raise UserError(f"--methods names {method!r}; choose some of {', '.join([OURS, *OTHER_METHODS])}")
    return MapRegions(setting, method)


@torch.no_grad()
def measure_row(setting: Setting, sample_id: str, regions: Regions) -> Row:
    """Returns the truth about an image and, for each area, the values of the game of its regions."""
    sample = setting.data.load(sample_id, setting.classifier.preprocessing)
    row: Row = dict(setting.truth(sample_id))
    truth = object_with_seam(sample)
    assert truth is not None
    assert sample.target is not None
    with torch.enable_grad():
        by_area = {area: regions.hard(sample, area) for area in AREAS}
        heatmap = regions.heatmap(sample)
    row["object_size"] = truth.double().mean().item()
    if heatmap is not None:
        row["mass"] = (heatmap[truth].sum() / heatmap.sum().clamp_min(1e-12)).item()
    for area, hard in by_area.items():
        image = measure_regions(sample, sample.target, [hard], setting.context, area=area)
        assert image.on_object is not None
        assert image.random_values is not None
        row[f"shares/{area:g}"] = packed(image.on_object[0])
        row[f"by_baseline/{area:g}"] = "; ".join(packed(values) for values in image.games[0].values)
        row[f"chance/{area:g}"] = "; ".join(packed(values) for values in image.random_values[0])
    return row


def write_control(setting: Setting, cfg: DictConfig, file: Path) -> None:
    """Writes what the explanations of absent classes reach, one number for each area, unless the file is there."""
    if file.is_file():
        return
    limits = {}
    for area in AREAS:
        control = measure_control(
            cfg,
            setting.context,
            area=area,
            images=CONTROL_IMAGES,
            every=1,
            out=Path(cfg.out) / "control",
            cache=Path(cfg.out) / "control_games" / f"{area:g}",
        )
        limits[f"bound/{area:g}"] = control_limit(control)
    write_bytes(file, format_csv([limits]).encode())


def packed(values: Tensor) -> str:
    """Returns numbers as the text of one cell."""
    return " ".join(f"{value:.6f}" for value in values.tolist())


if __name__ == "__main__":
    raise SystemExit(main())
