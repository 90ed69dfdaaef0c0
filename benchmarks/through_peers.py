"""Our importance maps and Grad-CAM's under the tests of Captum, Quantus and grad-cam, each called as its users call it.

    python benchmarks/through_peers.py data.size=4 --steps 10                     the demo
    python benchmarks/through_peers.py --steps 25 data=image_folder data.root=PHOTOS data.segmentations=MASKS \\
        data.limit=8 data.targets=predicted classifier=torchvision classifier.name=squeezenet1_0 \\
        classifier.checkpoint=FILE

It needs the extra peers. Every test asks for the explanations itself, of changed images and randomised networks too,
and gives one number an image; a row holds the means with their 95 % bootstrap intervals over the images, and the
seconds that the test took. The options besides are those of a run: its images, targets and classifier. With --write the
rows and the table stay in benchmarks/results/through_peers.
"""

import argparse
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.frozen import owner
from inr_xai.classifier.targets import TargetRule
from inr_xai.compare.comparison import DEFAULTS
from inr_xai.compare.methods.base import require_module
from inr_xai.compare.methods.feature_layer import find_layer, last_feature_layer
from inr_xai.compare.report import format_markdown
from inr_xai.config import composed, exit_status
from inr_xai.errors import UserError
from inr_xai.instantiate import build_data_and_classifier
from inr_xai.integrations.captum import INRImportance
from inr_xai.integrations.grad_cam import INRCam
from inr_xai.integrations.quantus import explain_func
from inr_xai.metrics.statistics.bootstrap import interval_columns, mean_interval
from inr_xai.runner import sample_plan
from inr_xai.runs.files import all_columns, format_csv, write_bytes
from inr_xai.types import Row

log = logging.getLogger(__name__)
FOLDER = Path("benchmarks/results/through_peers")
RADIUS = 0.02  # how far images move, in units of the network's input: Captum's own default
PATCHES = 7  # a side; what infidelity removes are squares of such a raster
STEPS_OF_A_CURVE = 24  # points of a pixel-flipping curve: 8 for each channel, whose values Quantus counts one by one

Values = Sequence[float] | np.ndarray | Tensor


@dataclass(frozen=True)
class Inputs:
    """What all tests get: a network, normalised images, their classes, and where the class is if that is known."""

    network: nn.Module
    layer: nn.Module
    images: Tensor
    targets: Tensor
    objects: Tensor | None
    steps: int
    samples: int


@dataclass(frozen=True)
class Method:
    """A way to explain, in the form of each package.

    Args:
        attribute: Captum's form, `attribute(images, target=...)` -> b x c x h x w.
        explain: Quantus' form, `explain(model, inputs, targets, **options)` -> b x 1 x h x w.
        cam: grad-cam's form, `cam(input_tensor=..., targets=...)` -> b x h x w.
    """

    attribute: Callable[..., Any]
    explain: Callable[..., np.ndarray]
    cam: Callable[..., np.ndarray]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="options of a run that choose images and classifier")
    parser.add_argument("--steps", type=int, default=25, help="steps of a fit")
    parser.add_argument("--samples", type=int, default=4, help="changed images of each image, for tests that draw some")
    parser.add_argument("--tests", default=",".join(TESTS), help="which tests, by commas")
    parser.add_argument("--write", action="store_true", help=f"store the rows and the table in {FOLDER}")
    args = parser.parse_intermixed_args(arguments)

    def work() -> int:
        chosen = args.tests.split(",")
        if unknown := [name for name in chosen if name not in TESTS]:
            raise UserError(f"--tests has {', '.join(unknown)}; choose of {', '.join(TESTS)}")
        for package in ("captum", "quantus"):
            require_module(package, package)
        require_module("pytorch_grad_cam", "grad-cam")
        inputs = read(composed(*DEFAULTS, *args.overrides), steps=args.steps, samples=args.samples)
        rows = [row for name in chosen for row in measure(name, inputs)]
        print(format_markdown(rows))
        if args.write:
            write_bytes(FOLDER / "values.csv", format_csv(rows, all_columns(rows)).encode())
            write_bytes(FOLDER / "values.md", (format_markdown(rows) + "\n").encode())
        return 0

    return exit_status(work)


def read(cfg: Any, *, steps: int, samples: int) -> Inputs:
    """Loads the images of a configuration and normalises them, as these packages want them."""
    data, classifier = build_data_and_classifier(cfg)
    rule, loaded, targets = TargetRule(cfg.data.targets, cfg.seed), [], []
    for sample_id in sample_plan(data):
        sample = data.load(sample_id, classifier.preprocessing)
        loaded.append(sample)
        targets.append(rule.choose(classifier, sample.image, sample.target, sample_id))
    known = all(sample.segmentation is not None for sample in loaded)
    return Inputs(
        network_of(classifier),
        find_layer(classifier, last_feature_layer(classifier, torch.device("cpu"))),
        normalised(classifier, torch.stack([sample.image for sample in loaded])),
        torch.tensor(targets),
        torch.stack([sample.segmentation for sample in loaded]) if known else None,
        steps,
        samples,
    )


def network_of(classifier: FrozenClassifier) -> nn.Module:
    """Returns the network behind a classifier, which takes normalised images."""
    network = owner(classifier.model)
    if network is None:
        raise UserError("these packages take a torch.nn.Module; choose another classifier")
    return network.eval()


def normalised(classifier: FrozenClassifier, images: Tensor) -> Tensor:
    """Returns images in [0, 1] as the network takes them."""
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    return (images - mean) / std


def methods(inputs: Inputs) -> Mapping[str, Method]:
    """Returns ours and Grad-CAM, each from the package that a user of the test would take it from."""
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM

    ours = INRImportance(inputs.network, steps=inputs.steps)
    name = next(name for name, module in inputs.network.named_modules() if module is inputs.layer)

    def attribute(given: Any, target: Any = None, **_: Any) -> Any:
        if isinstance(given, tuple):  # Captum's tests give tuples, and expect them
            return tuple(attribute(images, target) for images in given)
        return _enlarged(LayerGradCam(inputs.network, inputs.layer), given, target).expand_as(given).contiguous()

    def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        images = torch.as_tensor(inputs).float()
        cam = LayerGradCam(model, model.get_submodule(name))  # of this model, which may be a randomised one
        return _enlarged(cam, images, torch.as_tensor(targets)).detach().numpy()

    return {
        "ours": Method(
            ours.attribute,
            partial(explain_func, steps=inputs.steps),
            INRCam(model=inputs.network, steps=inputs.steps),
        ),
        "Grad-CAM": Method(attribute, explain, GradCAM(model=inputs.network, target_layers=[inputs.layer])),
    }


def _enlarged(cam: Any, images: Tensor, target: Any) -> Tensor:
    """Returns Captum's Grad-CAM at the images' size: b x 1 x h x w."""
    small = cam.attribute(images, target=target, relu_attributions=True)
    return F.interpolate(small, images.shape[-2:], mode="bilinear")


def measure(name: str, inputs: Inputs) -> list[Row]:
    """Returns a row for each method under one test; none where the images lack what the test needs."""
    package, test, needs_objects = TESTS[name]
    if needs_objects and inputs.objects is None:
        log.info("%s is left out: the images have no object masks", name)
        return []
    rows = []
    for method_name, method in methods(inputs).items():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 (Quantus draws from it)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the other packages
            values = torch.as_tensor(np.asarray(test(inputs, method), dtype=np.float64)).flatten()
        seconds = time.perf_counter() - start
        rows.append(row_of(name, package, method_name, values, seconds))
        log.info("%s, %s: %s (%.0f s)", name, method_name, [round(float(value), 4) for value in values], seconds)
    return rows


def row_of(test: str, package: str, method: str, values: Tensor, seconds: float) -> Row:
    """Returns a row of the table; images for which a test has no value (a constant map has no ranks) do not count."""
    known = values[values.isfinite()]
    row: Row = {"test": test, "package": package, "method": method, "images": len(known)}
    row |= interval_columns("mean", mean_interval(known)) if len(known) else {"mean": math.nan}
    return row | {"seconds": round(seconds, 1)}


def sensitivity(inputs: Inputs, method: Method) -> Values:
    """Captum's sensitivity_max: how far a map moves when pixels move by up to RADIUS, relative to its norm."""
    from captum.metrics import sensitivity_max

    return sensitivity_max(
        method.attribute,
        inputs.images,
        perturb_radius=RADIUS,
        n_perturb_samples=inputs.samples,
        target=inputs.targets,
    ).detach()


def infidelity_of_squares(inputs: Inputs, method: Method) -> Values:
    """Captum's infidelity with optimal scaling: whether a map's sum over removed squares is the loss of the logit."""
    from captum.metrics import infidelity

    def remove(images: Tensor) -> tuple[Tensor, Tensor]:
        squares = (torch.rand(len(images), 1, PATCHES, PATCHES) < 0.5).float()
        gone = F.interpolate(squares, images.shape[-2:], mode="nearest").expand_as(images)
        return gone, images * (1 - gone)

    maps = method.attribute(inputs.images, target=inputs.targets).detach()
    return infidelity(
        inputs.network,
        remove,
        inputs.images,
        maps,
        target=inputs.targets,
        n_perturb_samples=8 * inputs.samples,
        normalize=True,
    ).detach()


def _quantus(inputs: Inputs, method: Method, metric: Any, **call: Any) -> Any:
    """Calls a metric of Quantus, which explains by itself."""
    return metric(
        model=inputs.network,
        x_batch=inputs.images.numpy(),
        y_batch=inputs.targets.numpy(),
        explain_func=method.explain,
        device="cpu",
        **call,
    )


def pixel_flipping(inputs: Inputs, method: Method) -> Values:
    """Quantus' PixelFlipping, the mean of the curve: the probability while the largest values become black."""
    import quantus

    per_step = inputs.images[0].numel() // STEPS_OF_A_CURVE
    metric = quantus.PixelFlipping(features_in_step=per_step, disable_warnings=True)
    return np.mean(_quantus(inputs, method, metric), axis=1)


def rank_accuracy(inputs: Inputs, method: Method) -> Values:
    """Quantus' RelevanceRankAccuracy: the share of as many largest pixels as the object has that lie in it."""
    import quantus

    assert inputs.objects is not None
    metric = quantus.RelevanceRankAccuracy(disable_warnings=True)
    return _quantus(inputs, method, metric, s_batch=inputs.objects[:, None].numpy())


def max_sensitivity(inputs: Inputs, method: Method) -> Values:
    """Quantus' MaxSensitivity: as Captum's, under its own uniform noise."""
    import quantus

    metric = quantus.MaxSensitivity(nr_samples=inputs.samples, lower_bound=RADIUS, disable_warnings=True)
    return _quantus(inputs, method, metric)


def randomisation(inputs: Inputs, method: Method) -> Values:
    """Quantus' MPRT: the rank correlation of maps with those of the network with random layers; 0 is best."""
    import quantus

    found = _quantus(inputs, method, quantus.MPRT(skip_layers=True, seed=0, disable_warnings=True))
    return next(values for layer, values in found.items() if layer != "original")


def road(inputs: Inputs, method: Method) -> Values:
    """grad-cam's ROADCombined: the class's logit without the least relevant pixels less without the most, halved."""
    from pytorch_grad_cam.metrics.road import ROADCombined
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(int(target)) for target in inputs.targets]
    maps = method.cam(input_tensor=inputs.images, targets=targets)
    return ROADCombined()(inputs.images, maps, targets, inputs.network)


TESTS: dict[str, tuple[str, Callable[[Inputs, Method], Values], bool]] = {
    "sensitivity_max": ("captum", sensitivity, False),
    "infidelity": ("captum", infidelity_of_squares, False),
    "PixelFlipping": ("quantus", pixel_flipping, False),
    "RelevanceRankAccuracy": ("quantus", rank_accuracy, True),
    "MaxSensitivity": ("quantus", max_sensitivity, False),
    "MPRT": ("quantus", randomisation, False),
    "ROADCombined": ("grad-cam", road, False),
}
"""Name -> its package, what computes it, and whether it needs object masks."""


if __name__ == "__main__":
    sys.exit(main())
