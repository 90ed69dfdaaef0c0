"""What other methods cost on the same classifier, in the same process: those of TorchRay, captum and grad-cam."""

from collections.abc import Sequence

import step_models
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import Explainer
from inr_xai.compare.methods.extremal_perturbation import TorchRay
from inr_xai.compare.methods.registry import MethodSetup, build_other_method
from inr_xai.errors import UserError
from inr_xai.types import Row

NAMES = ("torchray", "integrated_gradients", "occlusion", "gradcam")
ITERATIONS = 800
"""TorchRay's own number of steps."""
TIMED_ITERATIONS = (2, 8)
"""Steps of two runs of TorchRay that are timed instead: the second less the first is what a step costs."""


def measure_peers(
    classifier: FrozenClassifier,
    *,
    areas: Sequence[float],
    device: torch.device,
    own_pass: float,
    names: Sequence[str] = NAMES,
    iterations: tuple[int, int] = TIMED_ITERATIONS,
) -> tuple[list[Row], list[str]]:
    """Returns a row for each method, in single precision for one image, and sentences of those that are left out.

    Args:
        own_pass: seconds of the classifier's own forward and backward pass of one image.
        iterations: steps of the two runs of TorchRay that are timed.
    """
    setup = MethodSetup(classifier, device, areas)
    rows: list[Row] = []
    left_out = []
    for name in names:
        try:
            explainer = build_other_method(name, setup)
            seconds, of_passes, passes = (
                _time_torchray(setup, iterations) if isinstance(explainer, TorchRay) else _time(explainer, explainer)
            )
        except UserError as error:
            left_out.append(f"{name} is left out ({error})")
        except Exception as error:  # the other packages may raise anything
            left_out.append(f"{name} is left out, since it fails ({type(error).__name__}: {error})".splitlines()[0])
        else:
            ratio = of_passes / passes / own_pass
            rows.append({"method": name, "passes": passes, "seconds": seconds, "ratio": ratio})
    return rows, left_out


def _time(*explainers: Explainer) -> tuple[float, float, float]:
    """Returns the seconds of the fastest call for one image, twice, and its passes."""
    (image,) = step_models.images(1)
    maps = [explainer.explain(image, 0, "image 0") for explainer in explainers]
    seconds = min(made.seconds for made in maps)
    return seconds, seconds, maps[0].passes


def _time_torchray(setup: MethodSetup, iterations: tuple[int, int]) -> tuple[float, float, float]:
    """Returns the seconds of all of TorchRay's steps, with and without what comes before them, and their passes."""
    fewer, more = iterations
    times = []
    for count in iterations:
        explainer = TorchRay(setup.classifier, areas=setup.areas, device=setup.device, iterations=count)
        times.append(_time(explainer, explainer)[0])
    step = max(0.0, times[1] - times[0]) / (more - fewer)
    steps = step * ITERATIONS
    return max(0.0, times[0] - fewer * step) + steps, steps, float(ITERATIONS * len(setup.areas))
