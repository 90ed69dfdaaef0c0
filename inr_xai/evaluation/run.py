"""The evaluation itself: image after image, measured and written; what is measured already is left as it is.

What fails costs as little as it can: a metric its own values of one image, an image that cannot be read its own row.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.evaluation.measures import MEASURES, Measure, is_unexpected, measure, why
from inr_xai.evaluation.rows import DIGEST, FAILED, Results, joined, parted
from inr_xai.evaluation.sources import Source
from inr_xai.evaluation.subject import Subject
from inr_xai.metrics.explain import ExplainWith
from inr_xai.peers.describe import digest
from inr_xai.types import ImageData, Sample

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """What explanations are measured with.

    Args:
        device: where the classifier is asked.
        seed: of ties and perturbations.
        masks_per_forward: images that go through the classifier at once (memory).
        explain_with: see `Subject`.
        facts: what else values depend on, plain values: which data and classifier these are.
    """

    data: ImageData
    classifier: FrozenClassifier
    device: torch.device
    seed: int = 0
    masks_per_forward: int = 32
    explain_with: ExplainWith | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def evaluate(source: Source, bench: Bench, measures: Mapping[str, Measure], file: Path) -> int:
    """Measures every explanation of the source into a CSV, and says how many images failed, in full or in part.

    A row says what failed and why; that is tried again the next time. Rows of other explanations or facts than those
    of now are measured anew; rows without a digest are older than it, and are taken for those of now.
    """
    results = Results(file)
    failures = 0
    try:
        # Frozen once: each score nests in it, and moves nothing again.
        with bench.classifier.frozen(bench.device, torch.float32):
            for position, sample_id in enumerate(source.ids):
                told = f"image {position + 1} of {len(source.ids)}, {sample_id}"
                failures += not evaluated(source, bench, measures, results, sample_id, told)
    finally:
        results.tidy()
    return failures


def evaluated(
    source: Source, bench: Bench, measures: Mapping[str, Measure], results: Results, sample_id: str, told: str
) -> bool:
    """Whether the sample has every value that it can have; it is logged as `told` where something was to be done."""
    now, stale = "", False
    try:
        now = digest({"explanation": source.digest(sample_id), "seed": bench.seed, "facts": bench.facts})
        stale = results.digest(sample_id) not in ("", now)
        wanted = {name: one for name, one in measures.items() if stale or not results.has(sample_id, name)}
        if not wanted:
            return True
        sample = bench.data.load(sample_id, bench.classifier.preprocessing)
        if not is_marked(sample):
            wanted = {name: one for name, one in wanted.items() if not one.marks}
        if not wanted and not stale:
            return True
        log.info("%s%s", told, ": what was measured is of another explanation or other options" if stale else "")
        values, reasons = measured(source, bench, wanted, sample)
    except Exception as error:  # whatever a reader, a model or its device raises costs this image alone
        log.warning("%s failed: %s", sample_id, why(error), exc_info=error if is_unexpected(error) else None)
        results.add(sample_id, ({DIGEST: now} if now else {}) | {FAILED: why(error)}, anew=stale)
        return False
    if reasons:
        log.warning("%s failed in part: %s", sample_id, joined(reasons))
    earlier = {} if stale else parted(results.failed(sample_id))
    still = {name: reason for name, reason in earlier.items() if name not in wanted} | reasons
    results.add(sample_id, {**values, DIGEST: now, FAILED: joined(still)}, anew=stale)
    return not reasons


def measured(
    source: Source, bench: Bench, measures: Mapping[str, Measure], sample: Sample
) -> tuple[dict[str, object], dict[str, str]]:
    """The row of one sample, and why a metric is not in it."""
    found = source.read(sample.sample_id)
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
    values, reasons = measure(subject, measures)
    return {"target": found.target, "difficult": int(sample.difficult), **values}, reasons


def is_marked(sample: Sample) -> bool:
    """Whether it has a segmentation or boxes."""
    return sample.segmentation is not None or sample.boxes is not None


def require_marks(data: ImageData, classifier: FrozenClassifier, ids: Sequence[str], names: Sequence[str]) -> None:
    """Raises UserError where metrics of marks are named, samples can be read, and none of them is marked."""
    wanting = [name for name in names if MEASURES[name].marks]
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
    return {name: one.higher_is_better for name, one in MEASURES.items()}
