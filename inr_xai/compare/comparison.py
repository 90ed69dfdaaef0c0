"""The comparison itself: photo after photo, each method's maps made or found, scored, and their rows written."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.classifier.targets import TargetRule, wrong_target
from inr_xai.compare.methods.base import Explainer, Maps
from inr_xai.compare.scorer import VERSION, Scorer
from inr_xai.compare.store import SUFFIX, MapCache, Rows, Stored
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.digests import digest
from inr_xai.runs.loop import Guard, each_image
from inr_xai.types import Image, ImageData

LEFT_OUT = {"data": ("root", "limit", "every", "size", "targets", "segmentations"), "classifier": ()}
"""Options that change no map: which photos are taken, and where objects lie. Classes are stored with the maps."""
PATHS = ("checkpoint", "classes")
log = logging.getLogger(__name__)


class MapMaker:
    """Maps from the cache, or made by the method and put there.

    Args:
        facts: what maps depend on beside the method: the classifier, and which images these are; plain values.
    """

    def __init__(self, cache: MapCache, facts: Mapping[str, Any]):
        self._cache, self._facts = cache, facts

    def settings(self, explainer: Explainer) -> str:
        """Short hash of everything that the maps depend on but the image and its class."""
        return digest({"method": explainer.settings, "facts": self._facts})

    def maps(self, method: str, explainer: Explainer, image: Image, target: int, image_id: str) -> Maps:
        """The maps as they are stored."""
        found = self.stored(method, explainer, target, image_id)
        if found is not None:
            return found
        made = explainer.explain(image, target, image_id)
        return self._cache.write(method, image_id, Stored(made, target, self.settings(explainer)))

    def stored(self, method: str, explainer: Explainer, target: int, image_id: str) -> Maps | None:
        """The maps where they are stored, else None."""
        return self._cache.read(method, image_id, target=target, settings=self.settings(explainer))


def map_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What maps depend on beside the method; of a path only its last part, so that files may move."""
    kept = {group: {k: v for k, v in config[group].items() if k not in out} for group, out in LEFT_OUT.items()}
    for group, key in ((group, key) for group in kept for key in PATHS):
        if kept[group].get(key) is not None:
            kept[group][key] = Path(kept[group][key]).name
    return kept


@dataclass(frozen=True)
class ComparisonContext:
    """What all methods are compared on.

    Args:
        scoring: the pool of photos that serve as baselines.
        areas: at which maps are made hard.
        seed: of the scoring's draws and of the wrong targets.
        device: where images are scored.
        masks_per_forward: masked copies that go through the classifier at once (memory).
    """

    data: ImageData
    classifier: FrozenClassifier
    scoring: PhotoPool
    areas: Sequence[float]
    seed: int
    device: torch.device
    masks_per_forward: int = 32


@dataclass(frozen=True)
class Job:
    """One method for one photo: for the photo's class, or for one that it does not show."""

    name: str
    wrong: bool

    @property
    def method(self) -> str:
        """Under which its rows and maps are stored."""
        return self.name + SUFFIX * self.wrong


class Comparison:
    """Methods on photos. What has rows under the same settings is left as it is.

    Args:
        explainers: by name, in the order in which they are run.
    """

    def __init__(self, context: ComparisonContext, explainers: Mapping[str, Explainer], *, maker: MapMaker, rows: Rows):
        self._context, self._explainers, self._maker, self._rows = context, explainers, maker, rows
        self._settings = {name: self._row_settings(explainer) for name, explainer in explainers.items()}

    def run(self, image_ids: Sequence[str], *, control: int = 0) -> int:
        """Scores every method on every photo, and says how many failed.

        Args:
            control: run the wrong-target control of fitted methods on so many photos, the first ones.
        """
        controlled = set(image_ids[:control])

        def compare(image_id: str, place: str) -> int:
            jobs = self._jobs(image_id, controlled=image_id in controlled)
            return self._photo(image_id, place, jobs) if jobs else 0

        return each_image(image_ids, compare, note=lambda image_id, reason: None, what="photo")

    def _jobs(self, image_id: str, *, controlled: bool) -> list[Job]:
        """What is not stored yet of a photo."""
        jobs = [Job(name, wrong=False) for name in self._explainers]
        if controlled:
            jobs += [Job(name, wrong=True) for name, method in self._explainers.items() if method.fitted]
        areas = len(self._context.areas)
        return [
            job
            for job in jobs
            if not self._rows.has(job.method, image_id, settings=self._settings[job.name], areas=areas)
        ]

    def _row_settings(self, explainer: Explainer) -> str:
        context = self._context
        scoring = {"areas": list(context.areas), "seed": context.seed}
        scoring |= {"targets": context.data.targets, "version": VERSION}
        return digest({"maps": self._maker.settings(explainer), "scoring": scoring})

    def _photo(self, image_id: str, place: str, jobs: Sequence[Job]) -> int:
        """The jobs of one photo; how many failed."""
        log.info("%s", place)

        def note_all(image_id: str, reason: str) -> None:
            for job in jobs:
                self._rows.fail(job.method, image_id, reason, settings=self._settings[job.name])

        with Guard(image_id, note_all) as reading:
            photo = ComparedPhoto(self._context, image_id)
        if reading.failed:
            return len(jobs)
        failures = 0
        for job in jobs:

            def note(name: str, reason: str, job: Job = job) -> None:
                self._rows.fail(job.method, image_id, reason, settings=self._settings[job.name])

            with Guard(f"{job.method} on {image_id}", note) as guard:
                self._score(photo, job)
            failures += guard.failed
        return failures

    def _score(self, photo: "ComparedPhoto", job: Job) -> None:
        """Makes or finds a method's maps of a photo, and writes their rows."""
        target = photo.wrong_target() if job.wrong else photo.target
        explainer = self._explainers[job.name]
        maps = self._maker.maps(job.method, explainer, photo.image, target, photo.image_id)
        rows = photo.scorer(target).rows(maps)
        self._rows.write(job.method, photo.image_id, rows, settings=self._settings[job.name])
        kept = sum(row["preservation_hard_mean"] for row in rows) / len(rows)
        log.info("  %s: preserves %.3f, %.1f s", job.method, kept, maps.seconds)


class ComparedPhoto:
    """One photo of the comparison with the class that is explained.

    Raises:
        UserError: it cannot be read, has no such class, or has no photos to be scored against.
    """

    def __init__(self, context: ComparisonContext, image_id: str):
        self._context, self.image_id = context, image_id
        sample = context.data.load(image_id, context.classifier.preprocessing)
        self.image, self._label = sample.image.to(context.device), sample.target
        self._baselines = context.scoring.following(image_id)
        rule = TargetRule(context.data.targets, context.seed)
        self.target = rule.choose(context.classifier, self.image, self._label, image_id)
        self._scorers: dict[int, Scorer] = {}

    def scorer(self, target: int) -> Scorer:
        """Scores maps for a class."""
        context = self._context
        if target not in self._scorers:
            self._scorers[target] = Scorer(
                context.classifier,
                self.image,
                target,
                self.image_id,
                areas=context.areas,
                seed=context.seed,
                photos=self._baselines,
                masks_per_forward=context.masks_per_forward,
            )
        return self._scorers[target]

    def wrong_target(self) -> int:
        """A class that the photo does not show."""
        context = self._context
        return wrong_target(context.classifier, self.image, self.target, self._label, self.image_id, context.seed)

    @torch.no_grad()
    def p_full(self) -> float:
        """The probability of the class on the photo as it is."""
        classifier = self._context.classifier
        with classifier.frozen(self._context.device, self.image.dtype):
            logits = classifier(self.image[None])
        return float(classifier.probability(logits, torch.tensor([self.target], device=logits.device)))
