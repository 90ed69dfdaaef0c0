"""How fast our metrics are, compared with Quantus's on the same images, maps and classifier.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py                  needs the extra peers
    python benchmarks/metrics.py --images 8 --metrics sparseness,road_grey
    python benchmarks/metrics.py --device cuda --write

The images are synthetic, the classifier is the demo's. Both packages get the same numbers of steps, perturbations and
draws. With one thread on a processor, the time that the process itself used is measured, which does not grow with other
work on the machine; else the time of the wall clock.
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
from inr_xai.compare.store import format_cell
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.runs.files import format_csv, markdown_table, write_bytes
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.seeding import generator
from inr_xai.types import Images, Preprocessing, Row, Targets

FILE = Path("benchmarks/results/metrics/throughput.csv")
COLUMNS = ("metric", "ours_s", "quantus_s", "ratio", "difference", "note")
TABLE_HEAD = ("metric", "ours, s", "Quantus, s", "Quantus / ours", "largest difference", "note")
BATCH_SIZE = 64  # images that go through the classifier at once: Quantus's default
SIDE, GREY = 96, 0.5  # side of the demo's images in pixels; their mean colour, which replaces pixels
PATCH = 12  # side of Quantus's patches in pixels; an image has 64 of them
PERCENTAGES = [10, 20, 30, 40, 50, 60, 70, 80, 90]
DRAWS, RADIUS = 10, 0.02
PREPROCESSING = Preprocessing((SIDE, SIDE), SIDE, "bilinear", MEAN, STD)
LEAST_SECONDS = 0.2  # calls are repeated for this long; the fastest counts

Maps = Float[Tensor, "b h w"]
Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class Inputs:
    """What both packages measure. The model takes images in [0, 1]."""

    model: nn.Module
    images: Images
    targets: Targets
    maps: Maps
    truth: Bool[Tensor, "b h w"]

    @property
    def faithfulness_arguments(self) -> tuple[Any, ...]:
        """The first arguments of metrics that run the classifier."""
        classifier = FrozenClassifier(self.model, preprocessing=PREPROCESSING, normalise=False)
        score = metrics.probability_score(classifier, batch_size=BATCH_SIZE)
        return score, self.images, self.targets, self.maps

    @property
    def generators(self) -> list[torch.Generator]:
        """New generators, one for each image."""
        return [generator(0, image) for image in range(len(self.images))]

    @property
    def grey(self) -> Images:
        """Grey images, which replace pixels."""
        return torch.full_like(self.images, GREY)

    def first(self, count: int) -> "Inputs":
        """Returns the first images alone."""
        tensors = (self.images, self.targets, self.maps, self.truth)
        return Inputs(self.model, *(values[:count] for values in tensors))

    def with_one_channel(self) -> "Inputs":
        """Returns the images in grey, with a model that takes one channel."""
        model = nn.Sequential(RGB(), self.model).eval()
        return replace(self, model=model, images=self.images.mean(1, keepdim=True))


@dataclass(frozen=True)
class Case:
    """A metric that both packages have.

    Args:
        ours: computes our value of each image.
        quantus_class: name of Quantus's class.
        options: the options of that class's constructor.
        differs: how the definitions differ; None if the values have to agree.
        explains: whether Quantus makes the explanations.
        one_channel: whether images have one channel.
    """

    ours: Callable[[Inputs], Tensor]
    quantus_class: str
    options: Mapping[str, Any] = field(default_factory=dict)
    differs: str | None = None
    explains: bool = False
    one_channel: bool = False


def deletion_curve(data: Inputs) -> Float[Tensor, "b t"]:
    """Returns the deletion curve, one row of pixels a step, without its first point: Quantus has none."""
    options = {"baseline": data.grey, "generators": data.generators, "tie_draws": 1}
    return metrics.deletion_curve(*data.faithfulness_arguments, **options)[:, 1:]


def deletion_auc(data: Inputs) -> Float[Tensor, " b"]:
    options = {"baseline": data.grey, "generators": data.generators, "tie_draws": 1}
    return metrics.deletion_auc(*data.faithfulness_arguments, **options)


def road(data: Inputs) -> Float[Tensor, "b q"]:
    """Returns the half of ROAD that Quantus has: the most important pixels are removed first."""
    options = {"most_first": True, "generators": data.generators, "percentages": PERCENTAGES}
    return metrics.road_scores(*data.faithfulness_arguments, **options)


def infidelity(data: Inputs) -> Float[Tensor, " b"]:
    """Returns infidelity under as many squares as Quantus has patches."""
    count = (SIDE // PATCH) ** 2
    squares = metrics.square_removal(data.images, baseline=data.grey, generators=data.generators, draws=count)
    return metrics.infidelity(*data.faithfulness_arguments, perturbations=squares, normalise=False)


def max_sensitivity(data: Inputs) -> Float[Tensor, " b"]:
    def explain(images: Images, targets: Targets) -> Maps:
        return gradient(data.model, images, targets)

    options = {"generators": data.generators, "draws": DRAWS, "radius": RADIUS}
    return metrics.max_sensitivity(explain, data.images, data.targets, **options)


def efficient_mprt(data: Inputs) -> Float[Tensor, " b"]:
    return metrics.efficient_mprt(gradient, data.model, data.images, data.targets)


def gradient(model: nn.Module, images: Images, targets: Targets) -> Maps:
    """Returns |d logit / d x|, summed over channels: an explanation that costs little."""
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        logits = model(inputs).gather(1, targets.unsqueeze(1))
        (slope,) = torch.autograd.grad(logits.sum(), inputs)
    return slope.abs().sum(1)


FLIPS = {"features_in_step": SIDE, "perturb_baseline": GREY}
PATCHES = {"perturb_patch_sizes": [PATCH], "n_perturb_samples": 1, "perturb_baseline": GREY}
NOISE = {"nr_samples": DRAWS, "lower_bound": RADIUS}
# Quantus's own area under the curve calls numpy.trapz, which NumPy 2.4 no longer has: its curve is timed.
CHANNELS = "definitions differ: Quantus flips channels of pixels one by one, and its curve is timed, not its area"
ANSWERS = "definitions differ: Quantus counts right answers, ours are probabilities"
IN_TURN = "definitions differ: Quantus takes patches in turn, which stay replaced, ours are random squares"
PREDICTS = "the same definition, other weights drawn; Quantus predicts the images too"
CASES: Mapping[str, Case] = {
    "sparseness": Case(lambda data: metrics.sparseness(data.maps), "Sparseness"),
    "complexity": Case(lambda data: metrics.complexity(data.maps), "Complexity"),
    "relevance_mass": Case(
        lambda data: metrics.relevance_mass_accuracy(data.maps, data.truth), "RelevanceMassAccuracy"
    ),
    "relevance_rank": Case(
        lambda data: metrics.relevance_rank_accuracy(data.maps, data.truth, generators=data.generators),
        "RelevanceRankAccuracy",
    ),
    "pointing_game": Case(
        lambda data: metrics.pointing_hits(data.maps, data.truth, generators=data.generators, tolerance=1),
        "PointingGame",
    ),
    "deletion_auc": Case(deletion_auc, "PixelFlipping", FLIPS | {"features_in_step": 3 * SIDE}, CHANNELS),
    "deletion_curve_grey": Case(deletion_curve, "PixelFlipping", FLIPS, one_channel=True),
    "road": Case(road, "ROAD", {"percentages": PERCENTAGES}, ANSWERS),
    "road_grey": Case(road, "ROAD", {"percentages": PERCENTAGES}, ANSWERS, one_channel=True),
    "infidelity": Case(infidelity, "Infidelity", PATCHES, IN_TURN),
    "max_sensitivity": Case(
        max_sensitivity, "MaxSensitivity", NOISE, "the same definition, other draws", explains=True
    ),
    "efficient_mprt": Case(efficient_mprt, "EfficientMPRT", differs=PREDICTS),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, metavar="N", help="number of images (%(default)s)")
    parser.add_argument("--metrics", default=",".join(CASES), help="names with commas between; default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="number of torch's threads (%(default)s); OMP_NUM_THREADS sets that of all libraries",
    )
    parser.add_argument("--write", action="store_true", help=f"write {FILE}")
    args = parser.parse_args(arguments)
    names = args.metrics.split(",")
    if find_spec("quantus") is None:
        parser.error("quantus is not installed; pip install 'inr-xai[peers]'")
    if unknown := set(names) - set(CASES):
        parser.error(f"--metrics names {', '.join(unknown)}; choose some of {', '.join(CASES)}")
    torch.set_num_threads(args.threads)
    try:
        data = make_inputs(args.images, torch.device(args.device))
    except UserError as error:
        parser.error(str(error))
    clock = time.process_time if args.device == "cpu" and args.threads == 1 else time.perf_counter
    print(f"{args.images} images, {args.device}, threads: {args.threads}, time: {clock.__name__}\n")
    rows = []
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        rows.append(compare(name, data, clock=clock))
    print(markdown_table(TABLE_HEAD, map(row_cells, [*rows, sum_up(rows)]), tight_rules=True), end="")
    if args.write:
        facts = {"images": str(args.images), "device": args.device, "threads": str(args.threads)}
        lines = [{key: format_cell(row[key]) for key in COLUMNS} | facts for row in rows]
        write_bytes(FILE, format_csv(lines).encode())
    return 0


def make_inputs(count: int, device: torch.device) -> Inputs:
    """Returns the images, with smooth random maps. Raises UserError for a count that is not positive."""
    source = Synthetic(count)
    samples = [source.load(name, PREPROCESSING) for name in source.ids]
    images, truth = (torch.stack([getattr(sample, key) for sample in samples]) for key in ("image", "segmentation"))
    model = nn.Sequential(Normalize(MEAN, STD), demo_network()).eval().requires_grad_(False).to(device)
    fields = smooth_fields((SIDE, SIDE), generators=[generator(0, name) for name in source.ids], count=1)
    # Ranks, since no two are equal; in other powers, so that images differ in how concentrated their maps are.
    ranks = 1 + fields.flatten(1).argsort(dim=1).argsort(dim=1)
    maps = (ranks / SIDE**2).pow(torch.linspace(1, 4, count).unsqueeze(1)).reshape(count, SIDE, SIDE)
    targets = torch.tensor([sample.target for sample in samples])
    return Inputs(model, *(values.to(device) for values in (images, targets, maps, truth)))


def compare(name: str, data: Inputs, *, clock: Callable[[], float]) -> Row:
    """Returns a row of the table. If Quantus fails there is no ratio, and the note says why."""
    case = CASES[name]
    data = data.with_one_channel() if case.one_channel else data
    our_seconds, our_values = measure(case.ours, data, clock=clock)
    row = {"metric": name, "ours_s": our_seconds, "quantus_s": math.nan, "ratio": math.nan, "difference": math.nan}
    try:
        seconds, values = measure(lambda inputs: quantus_values(case, inputs), data, clock=clock)
    except Exception as error:  # the other package may raise anything
        return row | {"note": f"Quantus fails: {type(error).__name__}: {error}".splitlines()[0]}
    row |= {"quantus_s": seconds, "ratio": seconds / our_seconds}
    if case.differs is not None:
        return row | {"note": case.differs}
    return row | {"difference": float(np.abs(our_values - values).max()), "note": "the same definition"}


def measure(call: Callable[[Inputs], Any], data: Inputs, *, clock: Callable[[], float]) -> tuple[float, Array]:
    """Returns the seconds of the fastest call, and its values. A call on two images is made before the clock runs."""
    on_cpu(call(data.first(2)))
    seconds: list[float] = []
    while sum(seconds) < LEAST_SECONDS:
        start = clock()
        values = on_cpu(call(data))
        seconds.append(clock() - start)
    return min(seconds), values


def on_cpu(values: Any) -> Array:
    """Returns values as an array, for which a GPU has to finish its work."""
    values = list(values.values()) if isinstance(values, Mapping) else values
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values, dtype=np.float64)


def quantus_values(case: Case, data: Inputs) -> Any:
    """Returns what Quantus's class returns, called as its documentation says."""
    import quantus

    def explain(model: nn.Module, inputs: Any, targets: Any, **_: object) -> Float[np.ndarray, "b h w"]:
        images, classes = (torch.as_tensor(values, device=data.images.device) for values in (inputs, targets))
        return gradient(model, images.float(), classes).cpu().numpy()

    images, targets, maps, truth = (
        values.cpu().numpy() for values in (data.images, data.targets, data.maps[:, None], data.truth[:, None])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(quantus, case.quantus_class)(disable_warnings=True, **case.options)(
            data.model,
            *(images, targets, None if case.explains else maps, truth),
            explain_func=explain,
            channel_first=True,
            softmax=True,
            device=str(data.images.device),
            batch_size=BATCH_SIZE,
        )


def sum_up(rows: Sequence[Row]) -> Row:
    """Returns a row of total times, over the metrics that both packages measured."""
    both = [row for row in rows if not math.isnan(row["ratio"])]
    ours, quantus = (math.fsum(row[column] for row in both) for column in ("ours_s", "quantus_s"))
    values = "total", ours, quantus, quantus / ours if both else math.nan, math.nan
    return dict(zip(COLUMNS, (*values, f"{len(both)} of {len(rows)} metrics"), strict=True))


def row_cells(row: Row) -> list[str]:
    """Returns the cells of a line of the Markdown table: numbers with three digits, a dash for NaN."""
    values = (row[column] for column in COLUMNS)
    return [value if isinstance(value, str) else "-" if math.isnan(value) else f"{value:.3g}" for value in values]


if __name__ == "__main__":
    sys.exit(main())
