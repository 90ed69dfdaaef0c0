"""A run from its configuration to its folder. `run` is the place to start reading: one line per part, in order."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from inr_xai.assembly import Parts, assemble, build, plain, start_or_continue
from inr_xai.audit import FOLDER as AUDIT
from inr_xai.audit import Asked, audit_runs
from inr_xai.callbacks import RunState, WandbRun, open_wandb
from inr_xai.classifier import FrozenClassifier, require_class
from inr_xai.classifier.wrong import wrong_target
from inr_xai.config import check
from inr_xai.data.mosaic import Grid
from inr_xai.errors import UserError
from inr_xai.evaluate import evaluate_run, make_bench
from inr_xai.files import Row
from inr_xai.fit import Fitted, fit_masks, stack_size
from inr_xai.method import Method
from inr_xai.metrics.summary import format_table, summarise
from inr_xai.peers.confident import require_mosaics
from inr_xai.render import describe_drawing, load
from inr_xai.results import RunFolder, SampleRecord
from inr_xai.stopping import ScoreKeeper
from inr_xai.types import Image, ImageData, Sample

log = logging.getLogger(__name__)


@dataclass
class RunOutcome:
    """What a run leaves behind: the metric a sweep ranks by, how many images failed, and where everything lies.

    Args:
        unmeasured: images that are explained, but not evaluated, or not audited, as was asked for.
    """

    metric: float | None
    failures: int
    folder: Path
    unmeasured: int = 0


def run(cfg: DictConfig) -> RunOutcome:
    """Explains the images that the configuration names, and those alone that its folder does not yet hold."""
    check(cfg)
    config = plain(cfg)
    folder = RunFolder(cfg.out)
    if folder.exists():
        folder.require_same(config)
    data: ImageData = build(cfg.data)
    classifier: FrozenClassifier = build(cfg.classifier)
    facts = start_or_continue(folder, config, data)
    parts = assemble(cfg, data, classifier, facts)
    require_target(parts)
    require_size(parts)
    folder.write_run(facts)  # a refusal up to here leaves no run behind that other options could not continue
    plan = sample_plan(data, cfg.shard.index, cfg.shard.count)
    state = RunState(folder, parts.method, total=len(plan), class_names=data.class_names)
    count_done(state, plan)
    with reporting(parts, state, facts, config):
        # A batch no larger than a stack is committed as soon as it is fitted.
        size = min(cfg.image_batch_size, stack_size(parts.method, parts.device, cfg.image_batch_size))
        for batch in batches(plan, size, folder.done()):
            explain_batch(batch, parts, state)
        summary, rows = conclude(parts, state, facts)
        for callback in parts.callbacks:
            callback.on_run_end(summary, rows)
    unmeasured = 0
    if cfg.evaluate is not None and rows:
        unmeasured += evaluate_finished(cfg, parts, folder)
    if cfg.audit is not None and rows:
        unmeasured += audit_finished(cfg, folder)
    if unmeasured:
        folder.write_summary(summary | {"unmeasured": unmeasured})
    log.info("\n%s", format_table(summary, list(parts.method.areas), explanations_found(parts.method, rows)))
    log.info("%d images explained, %d failed; everything is in %s", state.images_done, len(state.failures), folder.path)
    return RunOutcome(summary.get(cfg.sweep_metric), len(state.failures), folder.path, unmeasured)


def evaluate_finished(cfg: DictConfig, parts: Parts, folder: RunFolder) -> int:
    """The metrics that the option `evaluate` asks for, which cost no explanation; of how many images some failed."""
    wanted = None if cfg.evaluate == "all" else list(cfg.evaluate)
    bench = make_bench(parts.data, parts.classifier, parts.method, device=parts.device, donors=parts.donors)
    finished = load(folder.path)
    try:
        return evaluate_run(finished, bench, folder.path / "evaluation", metrics=wanted)
    except UserError as error:
        log.warning("not evaluated: %s", error)
        return len(finished)


def audit_finished(cfg: DictConfig, folder: RunFolder) -> int:
    """The audit that the option `audit` asks for, which costs no explanation; of how many images it says nothing."""
    asked, finished = Asked(cfg.audit.area, cfg.audit.control), load(folder.path)
    again = f"python -m inr_xai.audit {folder.path} --area {asked.area:g} --control {asked.control} asks again"
    try:
        unaudited = audit_runs([finished], cfg, folder.path / AUDIT, asked, explain=run)
    except UserError as error:
        log.warning("not audited: %s; the explanations are kept, and %s", error, again)
        return len(finished)
    if unaudited:
        log.warning("%d of %d explained images could not be audited; %s", unaudited, len(finished), again)
    return unaudited


def require_target(parts: Parts) -> None:
    """Raises UserError where a class given by number does not exist."""
    classes = parts.classifier.count_classes()
    if isinstance(parts.data.targets, int):
        require_class(parts.data.targets, classes)


def require_size(parts: Parts) -> None:
    """Raises UserError where the classifier refuses images of more than its own size, and mosaics are to be made."""
    if isinstance(parts.data, Grid):
        require_mosaics(parts.classifier, side=parts.data.side, device=parts.device)


def sample_plan(data: ImageData, index: int, count: int) -> list[str]:
    """The ids to explain: every n-th, at most `limit`, and of these this shard's."""
    return data.ids[:: data.every][: data.limit][index::count]


def batches(plan: Sequence[str], size: int, done: set[str]) -> Iterator[list[str]]:
    """Batches of the plan without what is done. A continued run makes the same batches as an unbroken one."""
    for start in range(0, len(plan), size):
        batch = [sample_id for sample_id in plan[start : start + size] if sample_id not in done]
        if batch:
            yield batch


def count_done(state: RunState, plan: Sequence[str]) -> None:
    """Sets the run's counters to what earlier sittings did."""
    done = state.folder.done()
    skipped = [sample_id for sample_id in plan if sample_id in done]
    state.images_done = len(skipped)
    state.others_failures = {name: why for name, why in state.folder.read_failures().items() if name not in plan}
    if skipped:
        log.info("continuing in %s: %d of %d images are done and skipped", state.folder.path, len(skipped), len(plan))
    if done:
        state.steps_done = max(sample.steps_after for sample in state.folder.rebuild(sorted(done)))


@contextmanager
def reporting(parts: Parts, state: RunState, facts: dict[str, Any], config: dict[str, Any]) -> Iterator[None]:
    """Callbacks and W&B, open for the length of the run and closed in any case."""
    failed = True
    with ExitStack() as stack:
        state.wandb = start_wandb(parts, state.folder, facts, config)
        if state.wandb is not None:
            wandb_run = state.wandb
            stack.callback(lambda: wandb_run.finish(failed=failed))
        for callback in parts.callbacks:
            stack.callback(callback.close)
            callback.on_run_start(state)
        yield
        failed = False


def start_wandb(parts: Parts, folder: RunFolder, facts: dict[str, Any], config: dict[str, Any]) -> WandbRun | None:
    """The run at W&B, continued where there was one; None where it is switched off."""
    if parts.wandb is None:
        return None
    return open_wandb(parts.wandb, save_dir=folder.path, run_id=facts["wandb_id"], name=config["name"], config=config)


def explain_batch(batch: Sequence[str], parts: Parts, state: RunState) -> None:
    """Loads, fits, scores and commits a batch; an image that fails is noted and costs no other."""
    began = time.monotonic()
    samples = load_samples(batch, parts, state)
    if not samples:
        return
    images = torch.stack([sample.image for sample in samples])
    targets = choose_targets(parts, samples, images)
    ids = [sample.sample_id for sample in samples]
    scores = keep_scores(parts, images, targets, ids)
    fitted = fit_masks(
        images,
        targets,
        ids,
        parts.classifier,
        parts.method,
        donors=None if parts.donors is None else parts.donors.all(),
        callbacks=parts.callbacks,
        trainer=parts.trainer,
        keep=scores,
    )
    failures = scores.failures | fitted.failures
    seconds = (time.monotonic() - began) / len(samples)
    for position, sample in enumerate(samples):
        if position in failures:
            fail(state, parts, sample.sample_id, failures[position])
            continue
        record = make_record(sample, int(targets[position]), position, fitted, scores, parts.method)
        before, after = fitted.spans[position]
        record.steps_before, record.steps_after = state.steps_done + before, state.steps_done + after
        record.seconds = seconds
        commit(record, images[position], parts, state)
    state.steps_done += fitted.spans[-1][1]


def load_samples(batch: Sequence[str], parts: Parts, state: RunState) -> list[Sample]:
    """The samples of a batch that can be read and have a class to explain."""
    samples = []
    for sample_id in batch:
        try:
            sample = parts.data.load(sample_id, parts.classifier.preprocessing)
            if parts.data.targets == "label" and sample.target is not None and parts.classifier.num_classes:
                require_class(sample.target, parts.classifier.num_classes)
            if parts.data.targets == "wrong":
                sample = replace(sample, target=absent_class(parts, sample))
            parts.scoring.following(sample_id)
            samples.append(sample)
        except (UserError, OSError) as error:
            fail(state, parts, sample_id, str(error))
    return samples


def absent_class(parts: Parts, sample: Sample) -> int:
    """A class that the image does not show: neither its label nor what the classifier predicts."""
    image = sample.image.to(parts.device)
    with torch.no_grad(), parts.classifier.frozen(parts.device, image.dtype):
        predicted = int(parts.classifier(image[None]).argmax())
    return wrong_target(parts.classifier, image, predicted, sample.target, sample.sample_id, parts.method.seed)


def choose_targets(parts: Parts, samples: Sequence[Sample], images: Tensor) -> Tensor:
    """The class to explain of each image: the sample's own, the classifier's prediction, or one given number."""
    if parts.data.targets == "predicted":
        with torch.no_grad(), parts.classifier.frozen(parts.device, images.dtype):
            return parts.classifier(images.to(parts.device)).argmax(1).cpu()
    return torch.tensor([parts.data.targets if isinstance(parts.data.targets, int) else s.target for s in samples])


def keep_scores(parts: Parts, images: Tensor, targets: Tensor, ids: list[str]) -> ScoreKeeper:
    """What scores each explanation of a batch as soon as it is fitted."""
    photos = torch.stack([parts.scoring.following(sample_id) for sample_id in ids])
    device = parts.device
    return ScoreKeeper(
        parts.classifier, images.to(device), targets.to(device), ids, parts.method, photos=photos.to(device)
    )


def make_record(
    sample: Sample, target: int, position: int, fitted: Fitted, scores: ScoreKeeper, method: Method
) -> SampleRecord:
    """What is stored of a sample."""
    dropped = scores.dropped.get(position)
    return SampleRecord(
        sample_id=sample.sample_id,
        target=target,
        frame=sample.frame,
        areas=list(method.areas),
        masks=fitted.masks[position, : fitted.counts[position]],
        inrs=fitted.networks[position],
        losses=fitted.losses[position, : fitted.fits[position]],
        rows=scores.rows[position],
        drawing=describe_drawing(method),
        extra={} if dropped is None else {"dropped": dropped},
    )


def commit(record: SampleRecord, image: Image, parts: Parts, state: RunState) -> None:
    """Reports a sample and writes its files; the masks file comes last of those that a rebuild cannot make."""
    for callback in parts.callbacks:
        callback.on_sample(record, image)
    state.folder.commit(record)
    state.folder.append_rows(record.rows)
    state.images_done += 1


def fail(state: RunState, parts: Parts, sample_id: str, reason: str) -> None:
    """Notes an image that could not be explained."""
    log.warning("%s failed: %s", sample_id, reason)
    state.failures[sample_id] = reason
    state.folder.write_failures(state.others_failures | state.failures)
    for callback in parts.callbacks:
        callback.on_sample_failed(sample_id, reason)


def explanations_found(method: Method, rows: list[Row]) -> int:
    """How many explanations the printed table has: those asked for, or as many as any image has."""
    return max((int(row["explanation"]) for row in rows), default=1) if method.auto else method.most


def conclude(parts: Parts, state: RunState, facts: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
    """Writes the files that speak of the whole folder, other shards' samples included."""
    folder = state.folder
    finished = sorted(folder.done())
    told = folder.rebuild(finished)
    rows = [row for sample in told for row in sample.rows]
    failures = {name: why for name, why in state.others_failures.items() if name not in finished} | state.failures
    folder.write_failures(failures)
    summary = summarise(rows)
    seconds = sum(sample.seconds for sample in told)
    passes: dict[str, float] = {"per_explanation": parts.method.passes}
    summary |= {"images": len(finished), "failures": len(failures)}
    if finished:
        passes["per_image"] = parts.method.passes * sum(sample.fits for sample in told) / len(told)
        summary |= {"seconds_per_image": seconds / len(finished), "passes_per_image": passes["per_image"]}
    folder.write_summary(summary)
    folder.write_run(facts | {"seconds": seconds, "classifier_passes": passes})
    return summary, rows
