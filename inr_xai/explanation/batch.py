"""Some images of one size, fitted and scored as a run does it, and what is kept of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import lightning
import torch
from torch import Tensor

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.data.pools import split_pools
from inr_xai.explanation.explanation import NAMES, PLACED, Explanation
from inr_xai.explanation.pictures import GivenPhotos, Input
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.fitting.run_scorer import RunScorer
from inr_xai.method import Method
from inr_xai.runs.load import record_of_fit
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Batch, Preprocessing


@dataclass(frozen=True)
class Wanted:
    """An image with the class that is explained, and its place among all images of the caller."""

    place: int
    input: Input
    target: int


def explain_jobs(
    jobs: Sequence[Wanted],
    classifier: FrozenClassifier,
    method: Method,
    *,
    photos: Sequence[Tensor],
    device: torch.device,
    callbacks: Sequence[lightning.Callback],
) -> list[Explanation | str]:
    """Fits and scores images together; returns the explanation of each, or why it has none.

    Args:
        photos: other images for fits and scores; drawn scenes complete them.
        callbacks: Lightning's, for each of the fits.
    """
    names = [job.input.name for job in jobs]
    images = torch.stack([job.input.image for job in jobs]).to(device)
    targets = torch.tensor([job.target for job in jobs], device=device)
    scoring, donors = _pools(photos, jobs[0].input.preprocessing)
    beside = torch.stack([scoring.following(name) for name in names]).to(device)
    batch = Batch(images, targets, names)
    scorer = RunScorer(classifier, batch, method, photos=beside, class_names=classifier.class_names)
    fitted = fit_masks(
        images,
        targets,
        names,
        classifier,
        method,
        donors=donors.all() if method.perturbation.needs_donors else None,
        callbacks=callbacks,
        keep=scorer,
    )
    failures = scorer.failures | fitted.failures
    return [
        failures[position]
        if position in failures
        else Explanation(_record(job, position, fitted, scorer, method, classifier), job.input.image)
        for position, job in enumerate(jobs)
    ]


def _record(
    job: Wanted, position: int, fitted: FitResult, scorer: RunScorer, method: Method, classifier: FrozenClassifier
) -> SampleRecord:
    """Returns everything that is known of an explained image."""
    known, shown = classifier.class_names, [job.target, *scorer.answers[position].classes]
    again = {"again": fitted.again[position]} if fitted.again[position] else {}
    return record_of_fit(
        job.input.name,
        job.target,
        job.input.frame,
        position=position,
        fitted=fitted,
        scorer=scorer,
        method=method,
        extra={NAMES: {str(index): known[index] for index in shown} if known else {}, PLACED: job.input.placed} | again,
    )


def _pools(photos: Sequence[Tensor], preprocessing: Preprocessing) -> tuple[PhotoPool, PhotoPool]:
    """Returns the photos for scoring and the donors for fitting; drawn scenes are their reserve."""
    data = GivenPhotos(photos)
    scoring, donors = split_pools([])
    return (
        PhotoPool(data.ids[0::2], data, preprocessing, scoring, warns=False),
        PhotoPool(data.ids[1::2], data, preprocessing, donors, warns=False),
    )
