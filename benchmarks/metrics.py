"""How fast our metrics are beside Quantus's: one run, the same images, maps and classifier, and a table.

    OMP_NUM_THREADS=1 python scripts/benchmark_metrics.py                  needs the extra peers
    python scripts/benchmark_metrics.py --images 8 --metrics sparseness,road_grey
    python scripts/benchmark_metrics.py --device cuda --write

The images are synthetic, the classifier is the demo's. Both sides get the same numbers of steps, perturbations and
draws. With one thread on a processor its own time is taken, which other work does not count in; else the wall clock's.
"""

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchvision.transforms.v2 import RGB, Normalize

from inr_xai import metrics
from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.demo_network import MEAN, STD, demo_network
from inr_xai.compare.store import cell
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.runs.files import format_csv, write_bytes
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.seeding import generator
from inr_xai.types import Images, Preprocessing, Targets

FILE = Path("benchmarks/results/metrics/throughput.csv")
COLUMNS = ("metric", "ours_s", "quantus_s", "ratio", "difference", "note")
HEAD = "| metric | ours, s | Quantus, s | Quantus / ours | largest difference | note |\n|---|---|---|---|---|---|"
BATCH = 64  # images that go through the classifier at once: Quantus's default
SIDE, GREY = 96, 0.5  # of the demo's images in pixels, and what replaces pixels: their mean colour
PATCH = 12  # side of Quantus's patches in pixels, of which an image has 64
PERCENTAGES = [10, 20, 30, 40, 50, 60, 70, 80, 90]
DRAWS, RADIUS = 10, 0.02
PREPROCESSING = Preprocessing((SIDE, SIDE), SIDE, "bilinear", MEAN, STD)
LEAST_SECONDS = 0.2  # calls are repeated for this long; the fastest counts

Maps = Float[Tensor, "b h w"]
Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class Inputs:
    """What both sides measure. The model takes images in [0, 1]."""

    model: nn.Module
    images: Images
    targets: Targets
    maps: Maps
    truth: Bool[Tensor, "b h w"]

    @property
    def asked(self) -> tuple[Any, ...]:
        """The first arguments of metrics that ask the classifier."""
        classifier = FrozenClassifier(self.model, preprocessing=PREPROCESSING, normalise=False)
        return metrics.probability_score(classifier, batch_size=BATCH), self.images, self.targets, self.maps

    @property
    def marked(self) -> tuple[Maps, Bool[Tensor, "b h w"]]:
        return self.maps, self.truth

    @property
    def generators(self) -> list[torch.Generator]:
        return [generator(0, image) for image in range(len(self.images))]

    @property
    def grey(self) -> Images:
        return torch.full_like(self.images, GREY)

    def first(self, count: int) -> "Inputs":
        some = (self.images, self.targets, self.maps, self.truth)
        return Inputs(self.model, *(values[:count] for values in some))

    def with_one_channel(self) -> "Inputs":
        model = nn.Sequential(RGB(), self.model).eval()
        return replace(self, model=model, images=self.images.mean(1, keepdim=True))


@dataclass(frozen=True)
class Case:
    """A metric that both have: our values of each image, and Quantus's class with the options of its constructor.

    Args:
        differs: how the definitions differ; None where the values have to agree.
        explains: Quantus makes the explanations.
        one_channel: of the images.
    """

    ours: Callable[[Inputs], Tensor]
    peer: str
    options: Mapping[str, Any] = field(default_factory=dict)
    differs: str | None = None
    explains: bool = False
    one_channel: bool = False


def curve(data: Inputs) -> Float[Tensor, "b t"]:
    """Of deletion, a row of pixels a step; Quantus leaves out the whole image."""
    call = {"baseline": data.grey, "generators": data.generators, "tie_draws": 1}
    return metrics.deletion_curve(*data.asked, **call)[:, 1:]


def auc(data: Inputs) -> Float[Tensor, " b"]:
    return metrics.deletion_auc(*data.asked, baseline=data.grey, generators=data.generators, tie_draws=1)


def road(data: Inputs) -> Float[Tensor, "b q"]:
    """The half of it that Quantus has."""
    return metrics.road_scores(*data.asked, most_first=True, generators=data.generators, percentages=PERCENTAGES)


def infidelity(data: Inputs) -> Float[Tensor, " b"]:
    """Of as many squares as Quantus has patches."""
    count = (SIDE // PATCH) ** 2
    squares = metrics.square_removal(data.images, baseline=data.grey, generators=data.generators, draws=count)
    return metrics.infidelity(*data.asked, perturbations=squares, normalise=False)


def sensitivity(data: Inputs) -> Float[Tensor, " b"]:
    def explain(images: Images, targets: Targets) -> Maps:
        return gradient(data.model, images, targets)

    call = {"generators": data.generators, "draws": DRAWS, "radius": RADIUS}
    return metrics.max_sensitivity(explain, data.images, data.targets, **call)


def randomisation(data: Inputs) -> Float[Tensor, " b"]:
    return metrics.efficient_mprt(gradient, data.model, data.images, data.targets)


def gradient(model: nn.Module, images: Images, targets: Targets) -> Maps:
    """|d logit / d x|, summed over channels: an explanation that costs little."""
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        logits = model(inputs).gather(1, targets.unsqueeze(1))
        (slope,) = torch.autograd.grad(logits.sum(), inputs)
    return slope.abs().sum(1)


FLIPS = {"features_in_step": SIDE, "perturb_baseline": GREY}
PATCHES = {"perturb_patch_sizes": [PATCH], "n_perturb_samples": 1, "perturb_baseline": GREY}
NOISE = {"nr_samples": DRAWS, "lower_bound": RADIUS}
# Quantus's own area under the curve calls numpy.trapz, which NumPy 2.4 has no more: its curve is timed.
CHANNELS = "definitions differ: Quantus flips channels of pixels one by one, and its curve is timed, not its area"
ANSWERS = "definitions differ: Quantus counts right answers, ours are probabilities"
IN_TURN = "definitions differ: Quantus takes patches in turn, which stay replaced, ours are random squares"
PREDICTS = "the same definition, other weights drawn; Quantus predicts the images too"
CASES: Mapping[str, Case] = {
    "sparseness": Case(lambda data: metrics.sparseness(data.maps), "Sparseness"),
    "complexity": Case(lambda data: metrics.complexity(data.maps), "Complexity"),
    "relevance_mass": Case(lambda data: metrics.relevance_mass_accuracy(*data.marked), "RelevanceMassAccuracy"),
    "relevance_rank": Case(
        lambda data: metrics.relevance_rank_accuracy(*data.marked, generators=data.generators), "RelevanceRankAccuracy"
    ),
    "pointing_game": Case(
        lambda data: metrics.pointing_hits(*data.marked, generators=data.generators, tolerance=1), "PointingGame"
    ),
    "deletion_auc": Case(auc, "PixelFlipping", FLIPS | {"features_in_step": 3 * SIDE}, CHANNELS),
    "deletion_curve_grey": Case(curve, "PixelFlipping", FLIPS, one_channel=True),
    "road": Case(road, "ROAD", {"percentages": PERCENTAGES}, ANSWERS),
    "road_grey": Case(road, "ROAD", {"percentages": PERCENTAGES}, ANSWERS, one_channel=True),
    "infidelity": Case(infidelity, "Infidelity", PATCHES, IN_TURN),
    "max_sensitivity": Case(sensitivity, "MaxSensitivity", NOISE, "the same definition, other draws", explains=True),
    "efficient_mprt": Case(randomisation, "EfficientMPRT", differs=PREDICTS),
}


def main() -> int:
    """Prints the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, metavar="N", help="of the synthetic set")
    parser.add_argument("--metrics", default=",".join(CASES), help="names with commas between; default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch; OMP_NUM_THREADS is for all libraries")
    parser.add_argument("--write", action="store_true", help=f"write {FILE}")
    args = parser.parse_args()
    names = args.metrics.split(",")
    if find_spec("quantus") is None:
        parser.error("quantus is not installed; pip install 'inr-xai[peers]'")
    if unknown := set(names) - set(CASES):
        parser.error(f"--metrics names {', '.join(unknown)}; choose some of {', '.join(CASES)}")
    torch.set_num_threads(args.threads)
    try:
        data = inputs(args.images, torch.device(args.device))
    except UserError as error:
        parser.error(str(error))
    clock = time.process_time if args.device == "cpu" and args.threads == 1 else time.perf_counter
    print(f"{args.images} images, {args.device}, threads: {args.threads}, time: {clock.__name__}\n\n{HEAD}")
    rows = []
    for name in names:
        rows.append(compared(name, data, clock=clock))
        print(line(rows[-1]), flush=True)
    print(line(total(rows)))
    if args.write:
        run = {"images": str(args.images), "device": args.device, "threads": str(args.threads)}
        lines = [{key: cell(row[key]) for key in COLUMNS} | run for row in rows]
        write_bytes(FILE, format_csv(lines).encode())
    return 0


def inputs(count: int, device: torch.device) -> Inputs:
    """The images, with smooth random maps. Raises UserError where there are none."""
    source = Synthetic(count)
    samples = [source.load(name, PREPROCESSING) for name in source.ids]
    images, truth = (torch.stack([getattr(one, part) for one in samples]) for part in ("image", "segmentation"))
    model = nn.Sequential(Normalize(MEAN, STD), demo_network()).eval().requires_grad_(False).to(device)
    fields = smooth_fields((SIDE, SIDE), generators=[generator(0, name) for name in source.ids], count=1)
    # Ranks, since no two are equal; in other powers, so that images differ in how concentrated their maps are.
    ranks = 1 + fields.flatten(1).argsort(dim=1).argsort(dim=1)
    maps = (ranks / SIDE**2).pow(torch.linspace(1, 4, count).unsqueeze(1)).reshape(count, SIDE, SIDE)
    targets = torch.tensor([sample.target for sample in samples])
    return Inputs(model, *(values.to(device) for values in (images, targets, maps, truth)))


def compared(name: str, data: Inputs, *, clock: Callable[[], float]) -> dict[str, Any]:
    """A row of the table. What Quantus fails in has no ratio, and the note says why."""
    case = CASES[name]
    data = data.with_one_channel() if case.one_channel else data
    ours, values = timed(case.ours, data, clock=clock)
    row = {"metric": name, "ours_s": ours, "quantus_s": math.nan, "ratio": math.nan, "difference": math.nan}
    try:
        theirs, wanted = timed(lambda some: quantus_values(case, some), data, clock=clock)
    except Exception as error:  # the other package's, whatever it is
        return row | {"note": f"Quantus fails: {type(error).__name__}: {error}".splitlines()[0]}
    row |= {"quantus_s": theirs, "ratio": theirs / ours}
    if case.differs is not None:
        return row | {"note": case.differs}
    return row | {"difference": float(np.abs(values - wanted).max()), "note": "the same definition"}


def timed(call: Callable[[Inputs], Any], data: Inputs, *, clock: Callable[[], float]) -> tuple[float, Array]:
    """Seconds of the fastest call after one on two images, and its values."""
    on_cpu(call(data.first(2)))
    seconds: list[float] = []
    while sum(seconds) < LEAST_SECONDS:
        start = clock()
        values = on_cpu(call(data))
        seconds.append(clock() - start)
    return min(seconds), values


def on_cpu(values: Any) -> Array:
    """So that a GPU has done its work."""
    values = list(values.values()) if isinstance(values, Mapping) else values
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values, dtype=np.float64)


def quantus_values(case: Case, data: Inputs) -> Any:
    """What its class returns, called as its documentation has it."""
    import quantus

    def explain(model: nn.Module, inputs: Any, targets: Any, **_: object) -> Float[np.ndarray, "b h w"]:
        images, classes = (torch.as_tensor(values, device=data.images.device) for values in (inputs, targets))
        return gradient(model, images.float(), classes).cpu().numpy()

    images, targets, maps, truth = (
        values.cpu().numpy() for values in (data.images, data.targets, data.maps[:, None], data.truth[:, None])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(quantus, case.peer)(disable_warnings=True, **case.options)(
            data.model,
            *(images, targets, None if case.explains else maps, truth),
            explain_func=explain,
            channel_first=True,
            softmax=True,
            device=str(data.images.device),
            batch_size=BATCH,
        )


def total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row for what both measured."""
    both = [row for row in rows if not math.isnan(row["ratio"])]
    ours, theirs = (math.fsum(row[side] for row in both) for side in ("ours_s", "quantus_s"))
    values = "total", ours, theirs, theirs / ours if both else math.nan, math.nan
    return dict(zip(COLUMNS, (*values, f"{len(both)} of {len(rows)} metrics"), strict=True))


def line(row: Mapping[str, Any]) -> str:
    """Of Markdown: three digits of a number, a dash for none."""
    values = (row[column] for column in COLUMNS)
    shown = [value if isinstance(value, str) else "-" if math.isnan(value) else f"{value:.3g}" for value in values]
    return f"| {' | '.join(shown)} |"


if __name__ == "__main__":
    sys.exit(main())
