"""LIME for images as users of the package lime run it: a linear model of which superpixels are shown.

Ribeiro, Singh, Guestrin, "Why Should I Trust You? Explaining the Predictions of Any Classifier", KDD 2016.
"""

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import BATCH_SIZE, Explainer, MethodMaps, Stopwatch, require_module
from inr_xai.compare.methods.counted_logits import CountedLogits, from_pixels, to_pixels
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from inr_xai.types import Image

LIME_IMAGE = ("lime.lime_image", "lime")


class LIME(Explainer):
    """`LimeImageExplainer` with its defaults: superpixels by quickshift, and a hidden one has its own mean colour.

    A pixel of the map has the weight of its superpixel in the linear model of the probability; it may be negative.

    Args:
        samples: images with some superpixels hidden; each costs a forward.
        seed: names the draws, together with the image's id.

    Raises:
        UserError: the images of the classifier have neither one channel nor three.
    """

    modules = (LIME_IMAGE,)

    def __init__(self, classifier: FrozenClassifier, *, device: torch.device, samples: int = 1000, seed: int = 0):
        self._channels = len(classifier.preprocessing.mean)
        if self._channels not in (1, 3):
            raise UserError(
                f"LIME explains images of 1 or 3 channels and the classifier's have {self._channels}; leave lime out"
            )
        self._classifier, self._device, self._samples, self._seed = classifier, device, samples, seed

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"lime": self._samples, "seed": self._seed}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        lime, model = require_module(*LIME_IMAGE), CountedLogits(self._classifier)

        def probabilities(pixels: np.ndarray) -> np.ndarray:
            images = from_pixels(pixels, self._device)[:, : self._channels]  # lime has made three channels of one
            targets = torch.full((len(images),), target, device=self._device)
            return self._classifier.probability(model(images), targets).unsqueeze(1).cpu().numpy()

        explainer = lime.LimeImageExplainer(random_state=generator(self._seed, image_id, "lime").initial_seed() % 2**32)
        pixels = to_pixels(image)
        with (
            self._classifier.frozen(self._device, torch.float32),
            torch.no_grad(),
            contextlib.redirect_stderr(io.StringIO()),  # a progress bar for each image
            Stopwatch(self._device) as watch,
        ):
            explanation = explainer.explain_instance(
                pixels if self._channels == 3 else pixels[..., 0],
                probabilities,
                labels=(0,),
                top_labels=None,
                num_samples=self._samples,
                batch_size=BATCH_SIZE,
            )
        weights = dict(explanation.local_exp[0])
        heatmap = np.vectorize(weights.__getitem__, otypes=[np.float32])(explanation.segments)
        return MethodMaps(torch.from_numpy(heatmap)[None], passes=model.images / 2, seconds=watch.seconds)
