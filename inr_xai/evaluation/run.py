"""The evaluation itself: image after image, measured and written; what is measured already is left as it is."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.evaluation.measures import MEASURES, Measure, measure
from inr_xai.evaluation.rows import FAILED, Results
from inr_xai.evaluation.sources import Source
from inr_xai.evaluation.subject import Subject
from inr_xai.metrics.explain import ExplainWith
from inr_xai.types import ImageData

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """What explanations are measured with.

    Args:
        device: where the classifier is asked.
        seed: of ties and perturbations.
        masks_per_forward: images that go through the classifier at once (memory).
        explain_with: see `Subject`.
    """

    data: ImageData
    classifier: FrozenClassifier
    device: torch.device
    seed: int = 0
    masks_per_forward: int = 32
    explain_with: ExplainWith | None = None


def evaluate(source: Source, bench: Bench, measures: Mapping[str, Measure], file: Path) -> int:
    """Measures every explanation of the source into a CSV, and says how many images failed.

    An image that fails has a row that says why, and is tried again the next time.
    """
    results = Results(file)
    failures = 0
    for position, sample_id in enumerate(source.ids):
        wanted = {name: one for name, one in measures.items() if not results.has(sample_id, name)}
        if not wanted:
            continue
        log.info("image %d of %d, %s", position + 1, len(source.ids), sample_id)
        try:
            results.add(sample_id, measured(source, bench, wanted, sample_id))
        except (UserError, ValueError, OSError) as error:
            log.warning("%s failed: %s", sample_id, error)
            results.add(sample_id, {FAILED: " ".join(str(error).split())})
            failures += 1
    return failures


def measured(source: Source, bench: Bench, measures: Mapping[str, Measure], sample_id: str) -> dict[str, object]:
    """The row of one sample."""
    sample = bench.data.load(sample_id, bench.classifier.preprocessing)
    found = source.read(sample_id)
    subject = Subject(
        sample,
        found.target,
        found.heatmap.to(bench.device, torch.float32),
        bench.classifier,
        bench.seed,
        areas=found.areas,
        masks=None if found.masks is None else found.masks.to(bench.device),
        explain_with=bench.explain_with,
        masks_per_forward=bench.masks_per_forward,
    )
    values = measure(subject, measures)
    return {"target": found.target, "difficult": int(sample.difficult), **values, FAILED: ""}


def marked(data: ImageData, classifier: FrozenClassifier, ids: Sequence[str]) -> bool:
    """Whether the data set marks objects: whether the first sample that can be read has a segmentation or boxes."""
    for sample_id in ids:
        try:
            sample = data.load(sample_id, classifier.preprocessing)
        except (UserError, OSError):
            continue
        return sample.segmentation is not None or sample.boxes is not None
    return False


def directions() -> dict[str, bool | None]:
    """Metric -> whether more is better; None where neither is."""
    return {name: one.higher_is_better for name, one in MEASURES.items()}
