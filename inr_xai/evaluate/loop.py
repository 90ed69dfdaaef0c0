"""The evaluation itself: image after image, measured and written; what is measured already is left as it is.

What fails costs as little as it can: a metric its own values of one image, an image that cannot be read its own row.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.digests import digest
from inr_xai.errors import UserError
from inr_xai.evaluate.by_refitting import refit
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.evaluate.registry import REGISTRY, EvaluationMetric, measure
from inr_xai.evaluate.results import DIGEST, FAILED, Results, joined, parted
from inr_xai.evaluate.sources import Source
from inr_xai.fitting.mask_module import device_of
from inr_xai.instantiate import build_method, instantiate, photo_pool, plain
from inr_xai.method import Method
from inr_xai.metrics.inputs import ExplainWith
from inr_xai.runs.load import Run
from inr_xai.runs.loop import each_image
from inr_xai.types import ImageData, Sample

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationContext:
    """What explanations are measured with.

    Args:
        device: where the classifier is asked.
        seed: of ties and perturbations.
        masks_per_forward: images that go through the classifier at once (memory).
        explain_with: see `ExplainedImage`.
        facts: what else values depend on, plain values: which data and classifier these are.
    """

    data: ImageData
    classifier: FrozenClassifier
    device: torch.device
    seed: int = 0
    masks_per_forward: int = 32
    explain_with: ExplainWith | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

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
        """The context of a run's own parts. Donors are read once a metric fits anew."""
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
        """The context of a finished run, whose parts a configuration describes."""
        data, classifier, method = instantiate(cfg.data), instantiate(cfg.classifier), build_method(cfg)
        donors = photo_pool(run.info["donor_pool"], data, classifier) if method.perturbation.needs_donors else None
        return cls.of(data, classifier, method, device=device_of(plain(cfg.trainer)), donors=donors)


def evaluate(source: Source, context: EvaluationContext, metrics: Mapping[str, EvaluationMetric], file: Path) -> int:
    """Measures every explanation of the source into a CSV, and says how many images failed, in full or in part.

    A row says what failed and why; that is tried again the next time. Rows of other explanations or facts than those
    of now are measured anew; rows without a digest are older than it, and are taken for those of now.
    """
    evaluation = _Evaluation(source, context, metrics, Results(file))
    try:
        # Frozen once: each score nests in it, and moves nothing again.
        with context.classifier.frozen(context.device, torch.float32):
            return each_image(source.ids, evaluation.measure_image, note=evaluation.note_failure)
    finally:
        evaluation.results.tidy()


class _Evaluation:
    """The work on one image of an evaluation."""

    def __init__(
        self, source: Source, context: EvaluationContext, metrics: Mapping[str, EvaluationMetric], results: Results
    ):
        self.source, self.context, self.metrics, self.results = source, context, metrics, results

    def measure_image(self, sample_id: str, place: str) -> int:
        """Whether (1 or 0) the sample lacks a value that it could have; logged where something was to be done."""
        now = self._digest(sample_id)
        stale = self.results.digest(sample_id) not in ("", now)
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
            log.warning("%s failed in part: %s", sample_id, joined(reasons))
        earlier = {} if stale else parted(self.results.failed(sample_id))
        still = {name: reason for name, reason in earlier.items() if name not in due} | reasons
        self.results.add(sample_id, {**values, DIGEST: now, FAILED: joined(still)}, anew=stale)
        return int(bool(reasons))

    def note_failure(self, sample_id: str, reason: str) -> None:
        """A row with nothing but the reason, and, where it can be told, the digest of what failed."""
        try:
            now = {DIGEST: self._digest(sample_id)}
        except Exception:  # the failure may be that very file's
            now = {}
        stale = self.results.digest(sample_id) not in ("", now.get(DIGEST, ""))
        self.results.add(sample_id, now | {FAILED: reason}, anew=stale)

    def _digest(self, sample_id: str) -> str:
        """Hash of everything that the sample's values follow from."""
        facts = {"seed": self.context.seed, "facts": self.context.facts}
        return digest({"explanation": self.source.digest(sample_id)} | facts)

    def _measure(
        self, metrics: Mapping[str, EvaluationMetric], sample: Sample
    ) -> tuple[dict[str, object], dict[str, str]]:
        """The row of one sample, and why a metric is not in it."""
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
        values: MetricValues
        values, reasons = measure(image, metrics)
        return {"target": explanation.target, "difficult": int(sample.difficult), **values}, reasons


def is_marked(sample: Sample) -> bool:
    """Whether it has a segmentation or boxes."""
    return sample.segmentation is not None or sample.boxes is not None


def require_marks(data: ImageData, classifier: FrozenClassifier, ids: Sequence[str], names: Sequence[str]) -> None:
    """Raises UserError where metrics of marks are named, samples can be read, and none of them is marked."""
    wanting = [name for name in names if REGISTRY[name].marks]
    read = False
    for sample_id in ids if wanting else ():
        try:
            sample = data.load(sample_id, classifier.preprocessing)
        except Exception:
            continue
        if is_marked(sample):
            return
        read = True
    if read:
        raise UserError(
            f"--metrics names {wanting[0]}, which reads where objects are, and no image of the data set has a "
            "segmentation or boxes; leave it out, or give them (data.segmentations=FOLDER, or another data set)"
        )


def directions() -> dict[str, bool | None]:
    """Metric -> whether more is better; None where neither is."""
    return {name: one.higher_is_better for name, one in REGISTRY.items()}
