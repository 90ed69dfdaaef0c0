"""The images of one run, explained into its run folder. Start reading at `explain`: one line per part, in order."""

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from omegaconf import DictConfig

from inr_xai.callbacks.base import RunState
from inr_xai.classifier.frozen import require_class
from inr_xai.classifier.probe import first_look
from inr_xai.classifier.targets import TargetRule
from inr_xai.config.environment import environment_digests, stored_form
from inr_xai.data.mosaic import Grid
from inr_xai.digests import digest
from inr_xai.errors import RunFault, Unreachable, UserError
from inr_xai.fitting.fit import FitResult, fit_masks, stack_size
from inr_xai.fitting.run_scorer import RunScorer
from inr_xai.instantiate import (
    Parts,
    assemble,
    begin_session,
    build_data_and_classifier,
    instantiate,
    plain,
    require_same_environment,
    start_or_continue,
    update_run,
)
from inr_xai.limits import require_probabilities, require_size
from inr_xai.objective import require_columns
from inr_xai.runs.checkpoint import FitCheckpoint, remove_ended
from inr_xai.runs.failures import FailureNotes, noted
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.load import record_of_fit
from inr_xai.runs.lock import WorkLock, folder_lock, lock_of_results
from inr_xai.runs.loop import Guard, reason_of
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.runs.tables import conclude_run
from inr_xai.runs.work import Work
from inr_xai.types import Batch, Image, ImageData, Row, Sample

MEASURED = ("evaluate", "audit", "report", "logger")
"""The options that say what is done with the explanations at the end."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExplainedRun:
    """What `explain` leaves behind.

    Args:
        summary: the content of summary.json, which speaks of the whole folder, other shards' images included.
        rows: the scores of the whole folder, one dict per image, explanation and area; read anew by each walk.
        failures: the number of this run's images that could not be explained.
        images: the number of this run's images that are explained, those of earlier sessions included.
        doubt: why the masks may explain nothing; None if nothing was noticed.
        concluded: whether summary and rows speak of the folder; if not, another worker makes the tables.
    """

    folder: RunFolder
    parts: Parts
    summary: dict[str, Any]
    rows: Collection[Row]
    failures: int
    images: int
    doubt: str | None = None
    concluded: bool = True


def explain(cfg: DictConfig, lock: WorkLock | None = None, conclusion: ExitStack | None = None) -> ExplainedRun:
    """Explains the images that a checked configuration names, except those that its folder holds already.

    Args:
        lock: what the caller holds so that no other process explains the same images; it is asked before each batch.
        conclusion: of workers that share a folder, the one that concludes the run holds a lock until this is closed.

    Raises:
        UserError: the folder holds a run of another configuration, or the parts do not go together.
        RunFault: a fault of the machine, or another process has taken over the work.
    """
    config, folder = stored_form(cfg), RunFolder(cfg.out, instantiate(cfg.store))
    if folder.exists():
        folder.require_same(config)
        require_same_environment(folder, cfg)
    data, classifier = build_data_and_classifier(cfg)
    facts = start_or_continue(folder, config, data) | {"environment": environment_digests(cfg)}
    parts = assemble(cfg, data, classifier, facts)
    work = shared_work(cfg, folder, parts, facts["split"], lock)
    doubt = require_together(parts, work.own or sample_plan(data))
    # Only now: a refusal before leaves nothing behind that refuses other options.
    facts = begin_session(folder, facts | {"planned": len(sample_plan(data))})
    runner = Runner(folder, parts, facts, work.own)
    with runner.reporting():
        for sample_ids in work.batches():
            if lock is not None:
                lock.require()
            work.in_reach = runner.explain_batch(sample_ids)
        if cfg.shard.steal and not concludes(cfg, folder, data, conclusion or ExitStack()):
            return runner.leave()
        explained = replace(runner.conclude(), doubt=doubt)
    if lock is not None and not lock.others():
        work.tidy()
    return explained


def concludes(cfg: DictConfig, folder: RunFolder, data: ImageData, conclusion: ExitStack) -> bool:
    """Returns whether this worker concludes a run that several explain: all images are done or have failed.

    If so, it keeps other workers from doing the same as long as `conclusion` is open.
    """
    if missing := images_to_come(folder, data):
        log.info("%d images are in the hands of other workers; the last one of them concludes the run", missing)
        return False
    try:
        conclusion.enter_context(lock_of_results(folder.path, "conclusion"))
    except UserError:
        log.info("all images are explained, and another worker concludes the run")
        return False
    if folder.read_run().get("concluded") == what_is_concluded(cfg, folder):
        log.info("all images are explained, and another worker has concluded the run")
        return False
    return True


def images_to_come(folder: RunFolder, data: ImageData) -> int:
    """Returns how many images of all shards are neither explained nor noted as failed."""
    return len(set(sample_plan(data)) - folder.done() - set(folder.read_failures()))


def what_is_concluded(cfg: DictConfig, folder: RunFolder) -> str:
    """Returns a name of the images that the run has now, and of what is measured of them."""
    files = [(known.st_size, known.st_mtime_ns) for _, known in folder.images.files()]
    size, newest = sum(size for size, _ in files), max((time for _, time in files), default=0)
    facts = {"files": len(files), "size": size, "newest": newest, "failed": len(folder.read_failures())}
    return digest(facts | {key: value for key, value in plain(cfg).items() if key in MEASURED})


def require_together(parts: Parts, plan: Sequence[str]) -> str | None:
    """Looks at the classifier by the first images, before any fit; returns what is doubtful about it, and logs it.

    Raises:
        UserError: the classifier cannot be explained, a class given by its index does not exist, or the input's size
            does not go with the rest.
    """
    if isinstance(parts.data, Grid):
        parts.classifier.require_mosaics(side=parts.data.side, device=parts.device)
    side = parts.data.side if isinstance(parts.data, Grid) else 1
    height, width = parts.classifier.preprocessing.size
    require_size((height * side, width * side), areas=parts.method.areas, stride=parts.method.stride)
    classifier, method = parts.classifier, parts.method
    doubt = first_look(
        classifier, parts.data, plan, seed=method.seed, device=parts.device, at_once=method.masks_per_forward
    )
    if isinstance(parts.data.targets, int):
        require_class(parts.data.targets, classifier.count_classes())
    if method.auto:
        require_probabilities(classifier.head, "explanations=auto")
    require_columns(method.score, classifier.count_classes())
    if doubt is not None:
        log.warning("%s", doubt)
    return doubt


def sample_plan(data: ImageData) -> list[str]:
    """Returns the ids that a run explains in all its shards: every n-th of the data's ids, and at most `limit`."""
    return data.ids[:: data.every][: data.limit]


def shared_work(cfg: DictConfig, folder: RunFolder, parts: Parts, split: str, lock: WorkLock | None) -> Work:
    """Returns the images that this process takes, and how it shares them with the other shards of the run."""
    return Work(
        folder,
        sample_plan(parts.data),
        (cfg.shard.index, cfg.shard.count),
        split=split,
        # A batch is no larger than a stack, so that its images are stored as soon as they are fitted.
        size=min(cfg.image_batch_size, stack_size(parts.method, parts.device, cfg.image_batch_size)),
        lock=lock,
        steals=cfg.shard.steal,
        failed=lambda: noted(folder.path),
    )


class Runner:
    """One run as it goes on.

    Args:
        facts: what run.json holds.
        plan: the ids of the images of this run (and shard), those that are done included.
    """

    def __init__(self, folder: RunFolder, parts: Parts, facts: dict[str, Any], plan: Sequence[str]):
        self.folder, self.parts, self._facts, self._plan = folder, parts, facts, plan
        self.state = RunState(
            folder,
            parts.method,
            total=len(plan),
            class_names=parts.classifier.class_names,
            load=lambda sample_id: parts.data.load(sample_id, parts.classifier.preprocessing).image,
            digests=parts.digests,
            shares=facts["config"]["shard"].get("steal", False),
        )
        self._broken: set[str] = set()
        self._in_reach = True
        self._rule = TargetRule(parts.data.targets, parts.method.seed)
        self._count_done()

    def _count_done(self) -> None:
        """Sets the run's counters to what earlier sessions have done."""
        shard = self._facts["config"]["shard"]["index"], self._facts["config"]["shard"]["count"]
        self._index, self._failures = ResultIndex(self.folder, shard), FailureNotes(self.folder, shard)
        done = self._index.read()
        skipped = [sample_id for sample_id in self._plan if sample_id in done]
        self.state.images_done = len(skipped)
        self._failures.begin(self._plan, done)
        if skipped:
            counts = len(skipped), len(self._plan)
            log.info("continuing in %s: %d of %d images are done and skipped", self.folder.path, *counts)
        if done:
            self.state.steps_done = max(entry.steps_after for entry in done.values())

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Keeps callbacks and W&B open for the length of the run, and closes them in any case."""
        settings, config, failed = self.parts.wandb, self._facts["config"], True
        with ExitStack() as stack:
            if settings is not None:
                from inr_xai.loggers.opening import open_wandb  # late: many runs have no W&B
                from inr_xai.loggers.results import called_before, tags_of, wandb_config

                wandb = open_wandb(
                    settings,
                    save_dir=self.folder.path,
                    run_id=self._facts["wandb_id"],
                    name=config["name"],
                    config=wandb_config(config, self.parts.digests),
                    job_type="shard" if self.state.shares else "explain",
                    shard=(config["shard"]["index"], config["shard"]["count"]),
                    tags=tags_of(config),
                    before=called_before(self._facts),
                )
                self.state.wandb = wandb
                if wandb is not None:
                    stack.callback(lambda: wandb.finish(failed=failed))
                    update_run(self.folder, wandb_name=wandb.name, wandb_group=wandb.group)
            for callback in self.parts.callbacks:
                stack.callback(callback.close)
                callback.on_run_start(self.state)
            try:
                yield
            except BaseException as error:
                error.add_note(f"{self.state.images_done} of {self.state.total} images are done")
                raise
            failed = False

    def explain_batch(self, sample_ids: Sequence[str]) -> bool:
        """Loads, fits, scores and stores a batch; an image that fails is noted and costs no other.

        Returns:
            Whether the data could be read, be it to find that a file is broken.
        """
        began = time.monotonic()
        ended = self.state.images_done + len(self.state.failures)
        self.state.total = max(self.state.total, ended + len(sample_ids))  # images of other shards come on top
        self._in_reach = True
        samples, targets = self._load(sample_ids)
        if len(samples) > 1:
            try:
                self._explain(samples, targets, began)
            except RunFault:
                raise
            except Exception as error:  # which of the images is to blame?
                reason = reason_of(error)
                log.warning("%d images failed together (%s); they are explained one by one", len(samples), reason)
                self._ask_callbacks("on_fit_failed")
            else:
                return self._in_reach
        for sample, target in zip(samples, targets, strict=True):
            with Guard(sample.sample_id, self._note_failure):
                self._explain([sample], [target], began)
        return self._in_reach

    def _explain(self, samples: Sequence[Sample], targets: Sequence[int], began: float) -> None:
        """Fits, scores and stores images. What it raises is raised before any of them is stored.

        Args:
            began: when the work on the batch began, by the monotonic clock.
        """
        parts = self.parts
        images = torch.stack([sample.image for sample in samples])
        batch = Batch(images, torch.tensor(targets), [sample.sample_id for sample in samples])
        scorer = self._new_scorer(batch, [sample.target for sample in samples])
        checkpoint = self._checkpoint_of(batch, scorer, began)
        with nullcontext() if checkpoint is None else checkpoint:
            fitted = fit_masks(
                batch.images,
                batch.targets,
                batch.sample_ids,
                parts.classifier,
                parts.method,
                donors=None if parts.donors is None else parts.donors.all(),
                callbacks=parts.callbacks,
                trainer=parts.trainer,
                keep=scorer,
                checkpoint=checkpoint,
            )
            failures = scorer.failures | fitted.failures
            earlier = 0.0 if checkpoint is None else checkpoint.seconds
            seconds = (earlier + time.monotonic() - began) / len(samples)
            for position, sample in enumerate(samples):
                if position in failures:
                    log.warning("%s failed: %s", sample.sample_id, failures[position])
                    self._note_failure(sample.sample_id, failures[position])
                    continue
                with Guard(sample.sample_id, self._note_failure):
                    record = self._make_record(sample, batch, position, fitted, scorer, seconds)
                    self._store(record, images[position])
            self.state.steps_done += fitted.spans[-1][1]

    def _checkpoint_of(self, batch: Batch, scorer: RunScorer, began: float) -> FitCheckpoint | None:
        """Returns the checkpoint of a batch's fit; None if the run asks for none."""
        every = self._facts["config"].get("checkpoint_every")  # a configuration of an earlier version has none
        if every is None:
            return None
        return FitCheckpoint(
            self.folder,
            batch,
            scorer,
            facts=self._facts,
            precision=self.parts.trainer["precision"],
            device=self.parts.device,
            every=every,
            began=began,
        )

    def _load(self, sample_ids: Sequence[str]) -> tuple[list[Sample], list[int]]:
        """Returns the images that can be read and have a class to explain, and these classes."""
        parts, samples, targets = self.parts, [], []
        # Frozen once for the batch, and only if the rule asks the classifier: freezing may move it to the device.
        asking: AbstractContextManager[object] = nullcontext()
        if self._rule.asks_classifier:
            asking = parts.classifier.frozen(parts.device, torch.float32)
        with asking:
            for sample_id in sample_ids:
                with Guard(sample_id, self._note_failure) as reading:
                    sample = parts.data.load(sample_id, parts.classifier.preprocessing)
                    image = sample.image.to(parts.device)
                    target = self._rule.choose(parts.classifier, image, sample.target, sample_id)
                    # Refused now, before the fit, if photos for scoring or donors are too few or out of reach.
                    parts.scoring.following(sample_id)
                    if parts.donors is not None:
                        parts.donors.all()
                    samples.append(sample)
                    targets.append(target)
                self._in_reach = not isinstance(reading.error, Unreachable)
        return samples, targets

    def _new_scorer(self, batch: Batch, labels: Sequence[int | None]) -> RunScorer:
        """Returns what scores each explanation of a batch as soon as it is fitted."""
        device = self.parts.device
        photos = torch.stack([self.parts.scoring.following(sample_id) for sample_id in batch.sample_ids])
        on_device = Batch(batch.images.to(device), batch.targets.to(device), batch.sample_ids)
        return RunScorer(
            self.parts.classifier,
            on_device,
            self.parts.method,
            photos=photos.to(device),
            labels=labels,
            class_names=self.state.class_names,
        )

    def _make_record(
        self, sample: Sample, batch: Batch, position: int, fitted: FitResult, scorer: RunScorer, seconds: float
    ) -> SampleRecord:
        """Returns everything that is stored of an image."""
        method, dropped = self.parts.method, scorer.dropped.get(position)
        before, after = fitted.spans[position]
        return record_of_fit(
            sample.sample_id,
            int(batch.targets[position]),
            sample.frame,
            position=position,
            fitted=fitted,
            scorer=scorer,
            method=method,
            steps_before=self.state.steps_done + before,
            steps_after=self.state.steps_done + after,
            seconds=seconds,
            extra=({} if dropped is None else {"dropped": dropped}) | fitted.notes(position, method),
        )

    def _store(self, record: SampleRecord, image: Image) -> None:
        """Reports an image and writes its files; the masks file comes after the figure, which a rebuild cannot make."""
        self._ask_callbacks("on_sample", record, image)
        with folder_lock(self.folder.path):  # nobody makes tables of the folder between these three
            if not self.folder.commit(record):
                log.warning("%s was stored by another worker meanwhile, which took this one for dead", record.sample_id)
                return
            self._index.add(record)
            self.folder.append_rows(record.rows)
        self.state.images_done += 1

    def _note_failure(self, sample_id: str, reason: str) -> None:
        """Notes an image that could not be explained, in failures.csv and for the callbacks."""
        self.state.failures[sample_id] = reason
        self._failures.add(sample_id, reason)
        self._ask_callbacks("on_sample_failed", sample_id, reason)

    def _ask_callbacks(self, hook: str, *arguments: object) -> None:
        """Calls a hook of each callback. What a callback raises is logged once, and costs no image."""
        for callback in self.parts.callbacks:
            try:
                getattr(callback, hook)(*arguments)
            except RunFault:
                raise
            except Exception as error:
                name = type(callback).__name__
                level = logging.DEBUG if name in self._broken else logging.WARNING
                self._broken.add(name)
                log.log(level, "%s failed (%s); the masks are stored without it", name, reason_of(error), exc_info=True)

    def leave(self) -> ExplainedRun:
        """Returns what this worker has done; another one makes the tables."""
        return ExplainedRun(
            self.folder, self.parts, {}, [], len(self.state.failures), self.state.images_done, concluded=False
        )

    def conclude(self) -> ExplainedRun:
        """Writes the files that speak of the whole folder, other shards' images included, and returns what they say."""
        folder, state = self.folder, self.state
        with folder_lock(folder.path):
            stored = self._index.read()
            failures = self._failures.conclude(stored)
            summary, facts = conclude_run(folder, stored, failures=len(failures), method=self.parts.method)
            update_run(folder, **facts)
            remove_ended(folder.path, stored)
        self._ask_callbacks("on_run_end", summary, stored.rows)
        return ExplainedRun(folder, self.parts, summary, stored.rows, len(state.failures), state.images_done)
