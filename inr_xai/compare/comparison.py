"""The comparison itself: for each photo, every method's maps are made or read from the cache, scored, and written."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.classifier.targets import TargetRule, wrong_target
from inr_xai.compare.methods.base import Explainer, MethodMaps
from inr_xai.compare.scorer import VERSION, MapScorer
from inr_xai.compare.store import SUFFIX, MapCache, RowStore, StoredMaps
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.digests import digest
from inr_xai.runs.loop import each_image, each_part
from inr_xai.types import Image, ImageData

DEFAULTS = ("areas=[0.05,0.1,0.2,0.4]", "explanations=1")
"""Options of a comparison, before those of the command line."""
LEFT_OUT = {"data": ("root", "limit", "every", "size", "targets", "segmentations", "photo"), "classifier": ()}
"""Options that change no map: which photos there are, where objects lie, and which photos are baselines.

The class is stored with the map.
"""
PATHS = ("checkpoint", "classes")
log = logging.getLogger(__name__)


class MapMaker:
    """Reads maps from the cache, or has the method make them and writes them there.

    Args:
        facts: what maps depend on beside the method, as plain values: the classifier, and which images these are.
    """

    def __init__(self, cache: MapCache, facts: Mapping[str, Any]):
        self._cache, self._facts = cache, facts

    def settings(self, explainer: Explainer) -> str:
        """Returns a short hash of everything that the maps depend on except the image and its class."""
        return self.accepted_settings(explainer)[0]

    def accepted_settings(self, explainer: Explainer) -> tuple[str, ...]:
        """Returns the hashes of settings that give the same maps, today's first (`accepted_digests`)."""
        return accepted_digests(explainer.settings, self._facts)

    def maps(self, method: str, explainer: Explainer, image: Image, target: int, image_id: str) -> MethodMaps:
        """Returns the maps of an image, as they are stored."""
        stored = self.stored(method, explainer, target, image_id)
        if stored is not None:
            return stored
        maps = explainer.explain(image, target, image_id)
        return self._cache.write(method, image_id, StoredMaps(maps, target, self.settings(explainer)))

    def stored(self, method: str, explainer: Explainer, target: int, image_id: str) -> MethodMaps | None:
        """Returns the maps of an image if they are stored, else None."""
        return self._cache.read(method, image_id, target=target, accepted=self.accepted_settings(explainer))


def accepted_digests(method: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the hashes of settings under which maps may be stored, today's first.

    For some time the hash held `segmentations: null` of data sets with this option, which changes no map. What was
    stored then is used and not made again.

    Args:
        method: the settings of the method.
        facts: what maps depend on beside the method (`map_facts`).
    """
    accepted = [facts]
    if "data" in facts:
        accepted.append({**facts, "data": {**facts["data"], "segmentations": None}})
    return tuple(digest({"method": method, "facts": accepted_facts}) for accepted_facts in accepted)


def map_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what maps depend on beside the method; of a path only its last part, so that files may move.

    Args:
        config: the whole configuration, as plain values.
    """
    facts = {
        group: {key: value for key, value in config[group].items() if key not in left_out}
        for group, left_out in LEFT_OUT.items()
    }
    for options in facts.values():
        options.update({key: Path(options[key]).name for key in PATHS if options.get(key) is not None})
    return facts


@dataclass(frozen=True)
class ComparisonContext:
    """What all methods are compared on.

    Args:
        scoring: the photos that serve as baselines.
        areas: the areas at which maps are made hard.
        seed: the seed of the scoring's draws and of the wrong targets.
        device: the device on which images are scored.
        masks_per_forward: how many masked copies go through the classifier at once (memory).
        crops: the option data.photo, on which the baselines of a photo depend.
    """

    data: ImageData
    classifier: FrozenClassifier
    scoring: PhotoPool
    areas: Sequence[float]
    seed: int
    device: torch.device
    masks_per_forward: int = 32
    crops: str | None = None


@dataclass(frozen=True)
class MethodJob:
    """One method for one photo: for the photo's class, or for a class that the photo does not show."""

    name: str
    wrong: bool

    @property
    def method(self) -> str:
        """The name under which rows and maps are stored."""
        return self.name + SUFFIX * self.wrong


class Comparison:
    """Compares methods on photos. A photo whose rows are stored under the same settings is not scored again.

    Args:
        explainers: the methods by their names, in the order in which they are run.

    Attributes:
        settings: method -> the short hash of everything that its rows depend on except the photo and its class.
        accepted_settings: method -> the hashes under which stored rows are valid, today's first.
    """

    def __init__(
        self, context: ComparisonContext, explainers: Mapping[str, Explainer], *, maker: MapMaker, rows: RowStore
    ):
        self._context, self._explainers, self._maker, self._rows = context, explainers, maker, rows
        scoring = {"areas": list(context.areas), "seed": context.seed}
        scoring |= {"targets": context.data.targets, "version": VERSION}
        scoring |= {} if context.crops is None else {"photo": context.crops}
        self.accepted_settings = {
            name: tuple(digest({"maps": maps, "scoring": scoring}) for maps in maker.accepted_settings(explainer))
            for name, explainer in explainers.items()
        }
        self.settings = {name: accepted[0] for name, accepted in self.accepted_settings.items()}

    def run(self, image_ids: Sequence[str], *, control: int = 0) -> int:
        """Scores every method on every photo, and returns how many failed.

        Args:
            control: on how many photos, the first ones, the wrong-target control of fitted methods is run.

        Raises:
            UserError: a file of rows is damaged.
        """
        for name in self._explainers:
            self._rows.read(name)
        controlled = set(image_ids[:control])

        def compare(image_id: str, place: str) -> int:
            missing = self._missing_jobs(image_id, controlled=image_id in controlled)
            if not missing:
                return 0
            log.info("%s", place)
            jobs = {job.method: job for job in missing}
            return each_part(
                image_id,
                jobs,
                read=lambda: ComparedPhoto(self._context, image_id),
                work=lambda method, photo: self._score(photo, jobs[method]),
                note=lambda method, reason: self._rows.fail(
                    method, image_id, reason, settings=self.settings[jobs[method].name]
                ),
            )

        failures = each_image(image_ids, compare, note=lambda image_id, reason: None, what="photo")
        self._rows.tidy()
        return failures

    def _missing_jobs(self, image_id: str, *, controlled: bool) -> list[MethodJob]:
        """Returns the jobs of a photo whose rows are not stored yet."""
        jobs = [MethodJob(name, wrong=False) for name in self._explainers]
        if controlled:
            jobs += [MethodJob(name, wrong=True) for name, explainer in self._explainers.items() if explainer.fitted]
        areas = len(self._context.areas)
        return [
            job
            for job in jobs
            if not self._rows.has(job.method, image_id, accepted=self.accepted_settings[job.name], count=areas)
        ]

    def _score(self, photo: "ComparedPhoto", job: MethodJob) -> None:
        """Makes or reads a method's maps of a photo, scores them and writes their rows."""
        target = photo.wrong_target() if job.wrong else photo.target
        maps = self._maker.maps(job.method, self._explainers[job.name], photo.image, target, photo.image_id)
        rows = photo.scorer(target).rows(maps)
        self._rows.write(job.method, photo.image_id, rows, settings=self.settings[job.name])
        preservation = sum(row["preservation_hard_mean"] for row in rows) / len(rows)
        log.info("  %s: preserves %.3f, %.1f s", job.method, preservation, maps.seconds)


class ComparedPhoto:
    """One photo of the comparison with the class that is explained.

    Raises:
        UserError: the photo cannot be read, has no such class, or there are no photos to score it against.
    """

    def __init__(self, context: ComparisonContext, image_id: str):
        self._context, self.image_id = context, image_id
        sample = context.data.load(image_id, context.classifier.preprocessing)
        self.image, self._label = sample.image.to(context.device), sample.target
        self._baselines = context.scoring.following(image_id)
        rule = TargetRule(context.data.targets, context.seed)
        self.target = rule.choose(context.classifier, self.image, self._label, image_id)
        self._scorers: dict[int, MapScorer] = {}

    def scorer(self, target: int) -> MapScorer:
        """Returns what scores maps of this photo for a class."""
        context = self._context
        if target not in self._scorers:
            self._scorers[target] = MapScorer(
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
        """Returns a class that the photo does not show."""
        context = self._context
        return wrong_target(context.classifier, self.image, self.target, self._label, self.image_id, context.seed)

    @torch.no_grad()
    def p_full(self) -> float:
        """Returns the probability of the explained class on the whole photo."""
        classifier = self._context.classifier
        with classifier.frozen(self._context.device, self.image.dtype):
            logits = classifier(self.image[None])
        return float(classifier.probability(logits, torch.tensor([self.target], device=logits.device)))
