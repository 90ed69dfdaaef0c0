"""The comparison itself: photo after photo, each method's maps made or found, scored, and their rows written."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from inr_xai.classifier import FrozenClassifier, require_class
from inr_xai.classifier.wrong import wrong_target
from inr_xai.errors import UserError
from inr_xai.peers.describe import SUFFIX, digest
from inr_xai.peers.explainer import Explainer, Maps
from inr_xai.peers.scoring import VERSION, Scorer
from inr_xai.peers.store import MapCache, Rows, Stored
from inr_xai.photos import PhotoPool
from inr_xai.types import Image, ImageData

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


@dataclass(frozen=True)
class Bench:
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

    def __init__(self, bench: Bench, explainers: Mapping[str, Explainer], *, maker: MapMaker, rows: Rows):
        self._bench, self._explainers, self._maker, self._rows = bench, explainers, maker, rows
        self._settings = {name: self._row_settings(explainer) for name, explainer in explainers.items()}

    def run(self, image_ids: Sequence[str], *, control: int = 0) -> int:
        """Scores every method on every photo, and says how many failed.

        Args:
            control: run the wrong-target control of fitted methods on so many photos, the first ones.
        """
        failures = 0
        for position, image_id in enumerate(image_ids):
            jobs = [Job(name, wrong=False) for name in self._explainers]
            if position < control:
                jobs += [Job(name, wrong=True) for name, method in self._explainers.items() if method.fitted]
            jobs = [job for job in jobs if not self._done(job, image_id)]
            if jobs:
                log.info("photo %d of %d, %s", position + 1, len(image_ids), image_id)
                failures += self._photo(image_id, jobs)
        return failures

    def _done(self, job: Job, image_id: str) -> bool:
        settings = self._settings[job.name]
        return self._rows.has(job.method, image_id, settings=settings, areas=len(self._bench.areas))

    def _row_settings(self, explainer: Explainer) -> str:
        bench = self._bench
        scoring = {"areas": list(bench.areas), "seed": bench.seed, "targets": bench.data.targets, "version": VERSION}
        return digest({"maps": self._maker.settings(explainer), "scoring": scoring})

    def _photo(self, image_id: str, jobs: Sequence[Job]) -> int:
        """The jobs of one photo; how many failed."""
        try:
            photo = Subject(self._bench, image_id)
        except (UserError, OSError) as error:
            for job in jobs:
                self._fail(job, image_id, error)
            return len(jobs)
        failures = 0
        for job in jobs:
            try:
                target = photo.wrong_target() if job.wrong else photo.target
                explainer = self._explainers[job.name]
                maps = self._maker.maps(job.method, explainer, photo.image, target, image_id)
                rows = photo.scorer(target).rows(maps)
                self._rows.write(job.method, image_id, rows, settings=self._settings[job.name])
                kept = sum(row["preservation_hard_mean"] for row in rows) / len(rows)
                log.info("  %s: preserves %.3f, %.1f s", job.method, kept, maps.seconds)
            except Exception as error:  # whatever another package raises costs this method this photo alone
                self._fail(job, image_id, error)
                failures += 1
        return failures

    def _fail(self, job: Job, image_id: str, error: Exception) -> None:
        expected = isinstance(error, UserError | OSError)
        log.warning("%s failed on %s: %s", job.method, image_id, error, exc_info=None if expected else error)
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        self._rows.fail(job.method, image_id, reason, settings=self._settings[job.name])


class Subject:
    """One photo of the comparison with the class that is explained.

    Raises:
        UserError: it cannot be read, has no such class, or has no photos to be scored against.
    """

    def __init__(self, bench: Bench, image_id: str):
        self._bench, self._image_id = bench, image_id
        sample = bench.data.load(image_id, bench.classifier.preprocessing)
        self.image, self._label = sample.image.to(bench.device), sample.target
        self._baselines = bench.scoring.following(image_id)
        self.target, self.p_full = self._choose()
        self._scorers: dict[int, Scorer] = {}

    def scorer(self, target: int) -> Scorer:
        """Scores maps for a class."""
        bench = self._bench
        if target not in self._scorers:
            self._scorers[target] = Scorer(
                bench.classifier,
                self.image,
                target,
                self._image_id,
                areas=bench.areas,
                seed=bench.seed,
                photos=self._baselines,
                masks_per_forward=bench.masks_per_forward,
            )
        return self._scorers[target]

    def wrong_target(self) -> int:
        """A class that the photo does not show."""
        bench = self._bench
        return wrong_target(bench.classifier, self.image, self.target, self._label, self._image_id, bench.seed)

    @torch.no_grad()
    def _choose(self) -> tuple[int, float]:
        """The class to explain, the classifier's prediction, one given number, or the label; and its probability."""
        classifier, wanted = self._bench.classifier, self._bench.data.targets
        with classifier.frozen(self._bench.device, self.image.dtype):
            logits = classifier(self.image[None])
        target = int(logits.argmax()) if wanted == "predicted" else wanted if isinstance(wanted, int) else self._label
        if target is None:
            raise UserError(f"{self._image_id!r} has no label; set data.targets=predicted")
        require_class(target, logits.shape[1])
        return target, float(classifier.probability(logits, torch.tensor([target], device=logits.device)))
