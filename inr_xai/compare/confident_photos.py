"""Chooses the photos for mosaics: those that a classifier is sure of, before any method sees them.

Boehle, Fritz, Schiele, CVPR 2021: a mosaic of photos that the classifier doubts says nothing about where its class is.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.runner import sample_plan
from inr_xai.types import ImageData, Sample

BATCH_SIZE = 32  # photos that go through the classifier together
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConfidentPhotos:
    """Photos that a classifier is sure of.

    Args:
        threshold: the least probability that each photo has.
        photos: image id -> class index.
    """

    threshold: float
    photos: dict[str, int]


def find_confident_photos(
    classifier: FrozenClassifier,
    data: ImageData,
    *,
    thresholds: Sequence[float] = (0.99, 0.95, 0.9, 0.8),
    least: int = 40,
    device: torch.device | str = "cpu",
) -> ConfidentPhotos:
    """Returns the photos above the highest of `thresholds` that leaves at least `least` photos.

    A photo counts if the probability of the predicted class reaches the threshold and the photo's label, if it has one,
    is that class. Photos that cannot be read are left out; `every` and `limit` of the data hold.

    Raises:
        UserError: every threshold leaves fewer photos.
    """
    recognised = _recognised(classifier, data, device)
    for threshold in sorted(thresholds, reverse=True):
        photos = {name: target for name, (target, probability) in recognised.items() if probability >= threshold}
        if len(photos) >= least:
            return ConfidentPhotos(threshold, photos)
    raise UserError(
        f"only {len(photos)} photos are recognised with a probability of {min(thresholds):g}, and {least} are wanted; "
        "give more photos, a lower threshold, or be content with fewer"
    )


@torch.no_grad()
def _recognised(
    classifier: FrozenClassifier, data: ImageData, device: torch.device | str
) -> dict[str, tuple[int, float]]:
    """Returns the predicted class and its probability for each photo whose label is no other class."""
    recognised: dict[str, tuple[int, float]] = {}
    ids = sample_plan(data)
    with classifier.frozen(device, torch.float32):
        for start in range(0, len(ids), BATCH_SIZE):
            samples = _readable(ids[start : start + BATCH_SIZE], data, classifier)
            if not samples:
                continue
            logits = classifier(torch.stack([sample.image for sample in samples]).to(device))
            predicted = logits.argmax(1)
            probabilities = classifier.probability(logits, predicted)
            for sample, target, probability in zip(samples, predicted.tolist(), probabilities.tolist(), strict=True):
                if sample.target in (None, target):
                    recognised[sample.sample_id] = (target, probability)
    return recognised


def _readable(ids: Sequence[str], data: ImageData, classifier: FrozenClassifier) -> list[Sample]:
    """Returns the samples that can be read; the log names the others."""
    samples = []
    for sample_id in ids:
        try:
            samples.append(data.load(sample_id, classifier.preprocessing))
        except (UserError, OSError) as error:
            log.warning("left out of the mosaics: %s", error)
    return samples
