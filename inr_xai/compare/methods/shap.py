"""SHAP's partition explainer as users of the package shap run it: Owen values of rectangles that are halved in turn.

Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017; Owen, "Values of games with a
priori unions", 1977.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import Explainer, MethodMaps, Stopwatch, require_module
from inr_xai.compare.methods.counted_logits import CountedLogits, from_pixels, to_pixels
from inr_xai.scoring.baselines import BLUR_SIDE
from inr_xai.seeding import generator
from inr_xai.types import Image

AT_ONCE = 50  # as in the package's example; the largest rectangles of a batch are halved before its results are known


class PartitionSHAP(Explainer):
    """`shap.PartitionExplainer` of the logit; hidden pixels are blurred, as in the package's example for PyTorch.

    The map is the sum of the values over channels, as `shap.image_plot` shows it; it may be negative. All pixels of a
    rectangle that was not halved any more have the same value.

    Args:
        evaluations: the package's `max_evals`; each costs a forward. A batch that has begun is finished.
        blur: side of the box of the blur, in pixels of an image of side 224; scaled with the image's sides.
        seed: names the draws that order rectangles of equal effect, together with the image's id.
    """

    modules = (("shap", "shap"), ("cv2", "opencv-python"))

    def __init__(
        self,
        classifier: FrozenClassifier,
        *,
        device: torch.device,
        evaluations: int = 500,
        blur: int = 128,
        seed: int = 0,
    ):
        self._classifier, self._device, self._evaluations = classifier, device, evaluations
        self._blur, self._seed = blur, seed

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"shap": self._evaluations, "blur": self._blur, "at_once": AT_ONCE, "seed": self._seed}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        shap, _ = (require_module(*module) for module in self.modules)
        model, pixels = CountedLogits(self._classifier), to_pixels(image)

        def logits(arrays: np.ndarray) -> np.ndarray:
            return model(from_pixels(arrays, self._device))[:, target].cpu().numpy()

        height, width = (max(1, round(self._blur * side / BLUR_SIDE)) for side in image.shape[-2:])
        with (
            self._classifier.frozen(self._device, torch.float32),
            torch.no_grad(),
            numpy_seeded(generator(self._seed, image_id, "shap").initial_seed() % 2**32),
            Stopwatch(self._device) as watch,
        ):
            # A masker of its own for each image: it keeps the blur of the last one by an address that may come again.
            masker = shap.maskers.Image(f"blur({width},{height})", pixels.shape)
            explanation = shap.PartitionExplainer(logits, masker)(
                pixels[None], max_evals=self._evaluations, batch_size=AT_ONCE, silent=True
            )
        heatmap = torch.from_numpy(explanation.values[0].sum(-1)).to(torch.float32)
        return MethodMaps(heatmap[None], passes=model.images / 2, seconds=watch.seconds)


@contextlib.contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Seeds NumPy's global random numbers, from which shap draws, and restores them at the end."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
