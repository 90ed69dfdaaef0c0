"""What an evaluation does with one image: it measures and writes what is missing, and keeps what is there already.

A metric that fails costs its values of one image, and an image that cannot be read costs its own row.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.classifier.probe import examine_alone
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.digests import digest
from inr_xai.errors import UserError
from inr_xai.evaluate.by_refitting import refit
from inr_xai.evaluate.explained_image import ExplainedImage
from inr_xai.evaluate.registry import REGISTRY, EvaluationMetric, measure
from inr_xai.evaluate.results import DIGEST, FAILED, Results, join_reasons, split_reasons
from inr_xai.evaluate.sources import Source
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_data_and_classifier, build_method, make_photo_pool, plain
from inr_xai.method import Method
from inr_xai.metrics.inputs import ExplainWith
from inr_xai.runs.load import Run
from inr_xai.types import ImageData, Sample

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationContext:
    """What explanations are measured with.

    Args:
        device: the device of the classifier.
        seed: the seed of ties and perturbations.
        masks_per_forward: images that go through the classifier at once (memory).
        explain_with: makes the heatmap of another model, image or class, see `ExplainedImage`.
    """

    data: ImageData
    classifier: FrozenClassifier
    device: torch.device
    seed: int = 0
    masks_per_forward: int = 32
    explain_with: ExplainWith | None = None

    @classmethod
    def of(
        cls,
        data: ImageData,
        classifier: FrozenClassifier,
        method: Method,
        *,
        device: torch.device,
        donors: PhotoPool | None,
    ) -> "EvaluationContext":
        """Returns the context of a run's own parts. Donors are read only when a metric fits anew."""
        return cls(
            data,
            classifier,
            device,
            seed=method.seed,
            masks_per_forward=method.masks_per_forward,
            explain_with=refit(classifier, method, donors),
        )

    @classmethod
    def of_run(cls, run: Run, cfg: DictConfig) -> "EvaluationContext":
        """Returns the context of a finished run, whose parts are made from a configuration."""
        (data, classifier), method = build_data_and_classifier(cfg), build_method(cfg)
        device = device_of(plain(cfg.trainer))
        examine_alone(classifier, device, at_once=method.masks_per_forward)
        donors = make_photo_pool(run.info["donor_pool"], data, classifier) if method.perturbation.needs_donors else None
        return cls.of(data, classifier, method, device=device, donors=donors)


class Evaluation:
    """An evaluation's work on each image, which adds to the image's row of the results.

    A row says what failed and why, and that is tried again the next time. A row is measured anew if the explanation or
    the facts have changed since; a row without a digest, which older versions wrote, counts as current.

    Args:
        facts: plain values that identify data and classifier, on which the measured values depend. The first are those
            of now, with which rows are written; the others describe the same, as earlier versions named it.
    """

    def __init__(
        self,
        source: Source,
        context: EvaluationContext,
        metrics: Mapping[str, EvaluationMetric],
        results: Results,
        facts: Sequence[Mapping[str, Any]],
    ):
        self.source, self.context, self.metrics, self.results = source, context, metrics, results
        self.facts = facts

    def measure_image(self, sample_id: str, place: str) -> int:
        """Measures what is missing of a sample, and returns 1 if a metric failed, else 0.

        Args:
            place: names the sample and its place among all in the log.
        """
        digests = self._digests(sample_id)
        stale = self.results.digest(sample_id) not in ("", *digests)
        due = {name: metric for name, metric in self.metrics.items() if stale or not self.results.has(sample_id, name)}
        if not due:
            return 0
        sample = self.context.data.load(sample_id, self.context.classifier.preprocessing)
        if not is_marked(sample):
            due = {name: metric for name, metric in due.items() if not metric.marks}
        if not due and not stale:
            return 0
        log.info("%s%s", place, ": what was measured is of another explanation or other options" if stale else "")
        values, reasons = self._measure(due, sample)
        if reasons:
            log.warning("%s failed in part: %s", sample_id, join_reasons(reasons))
        earlier = {} if stale else split_reasons(self.results.failed(sample_id))
        failed = {name: reason for name, reason in earlier.items() if name not in due} | reasons
        self.results.add(sample_id, {**values, DIGEST: digests[0], FAILED: join_reasons(failed)}, anew=stale)
        return int(bool(reasons))

    def note_failure(self, sample_id: str, reason: str) -> None:
        """Writes why a sample failed, with the digest of its explanation if that can be read."""
        try:
            digests = self._digests(sample_id)
        except Exception:  # reading the explanation may be what failed
            digests = []
        stale = self.results.digest(sample_id) not in ("", *digests)
        columns = {DIGEST: digests[0]} if digests else {}
        self.results.add(sample_id, columns | {FAILED: reason}, anew=stale)

    def _digests(self, sample_id: str) -> list[str]:
        """Returns a hash of all that the sample's values depend on, for each of the facts."""
        settings = {"explanation": self.source.digest(sample_id), "seed": self.context.seed}
        return [digest(settings | {"facts": facts}) for facts in self.facts]

    def _measure(
        self, metrics: Mapping[str, EvaluationMetric], sample: Sample
    ) -> tuple[dict[str, object], dict[str, str]]:
        """Returns the values of one sample's row, and why a metric has none."""
        explanation, context = self.source.read(sample.sample_id), self.context
        image = ExplainedImage(
            sample,
            explanation.target,
            explanation.heatmap.to(context.device, torch.float32),
            context.classifier,
            context.seed,
            areas=explanation.areas,
            masks=None if explanation.masks is None else explanation.masks.to(context.device),
            explain_with=context.explain_with,
            masks_per_forward=context.masks_per_forward,
        )
        values, reasons = measure(image, metrics)
        return {"target": explanation.target, "difficult": int(sample.difficult), **values}, reasons


def is_marked(sample: Sample) -> bool:
    """Returns whether a sample has a segmentation or boxes."""
    return sample.segmentation is not None or sample.boxes is not None


def require_marks(data: ImageData, classifier: FrozenClassifier, ids: Sequence[str], names: Sequence[str]) -> None:
    """Raises UserError if metrics of marks are named, and samples can be read but none of them is marked."""
    metrics_of_marks = [name for name in names if REGISTRY[name].marks]
    some_read = False
    for sample_id in ids if metrics_of_marks else ():
        try:
            sample = data.load(sample_id, classifier.preprocessing)
        except Exception:
            continue
        if is_marked(sample):
            return
        some_read = True
    if some_read:
        raise UserError(
            f"--metrics names {metrics_of_marks[0]}, which reads where objects are, and no image of the data set has a "
            "segmentation or boxes; leave it out, or give them (data.segmentations=FOLDER, or another data set)"
        )
