"""A run from beginning to end: explain the images, evaluate the masks, audit the classifier, and write the page."""

import logging
import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from inr_xai.config import check
from inr_xai.errors import RunFault, UserError
from inr_xai.instantiate import log_measured, threads_of, update_run
from inr_xai.runner import ExplainedRun, explain, images_to_come, what_is_concluded
from inr_xai.runs.files import write_bytes
from inr_xai.runs.load import load
from inr_xai.runs.lock import ShardLock, WorkLock, lock_of_results
from inr_xai.runs.loop import is_unexpected, reason_of
from inr_xai.scoring.summary import format_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOutcome:
    """What a run leaves behind.

    Args:
        metric: the value of `sweep_metric`, by which a sweep ranks its jobs; None if the summary has no such key.
        failures: the number of images that could not be explained.
        folder: the run folder, which holds everything.
        unmeasured: the number of images that are explained, but could not be evaluated or audited.
        concluded: whether the tables are made; of workers that share a folder, one makes them.
    """

    metric: float | None
    failures: int
    folder: Path
    unmeasured: int = 0
    concluded: bool = True


def run(cfg: DictConfig) -> RunOutcome:
    """Explains, evaluates and audits the images that the configuration names, and writes a page of them.

    Raises:
        UserError: it cannot work, or another process works on the same images in the same folder.
        RunFault: a fault of the machine.
    """
    check(cfg)
    with threads_of(cfg), ShardLock(Path(cfg.out), cfg.shard.index, cfg.shard.count, wait=cfg.lock.wait) as lock:
        return _run(cfg, lock)


def _run(cfg: DictConfig, lock: WorkLock) -> RunOutcome:
    """Explains the images and concludes the run; of workers that share a folder, one concludes it."""
    with ExitStack() as conclusion:
        explained = explain(cfg, lock, conclusion)
        if not explained.concluded:
            return RunOutcome(None, explained.failures, explained.folder.path, concluded=False)
        outcome = _conclude(cfg, explained)
        if cfg.shard.steal and not outcome.unmeasured:
            update_run(explained.folder, concluded=what_is_concluded(cfg, explained.folder))
        return outcome


def _conclude(cfg: DictConfig, explained: ExplainedRun) -> RunOutcome:
    """Evaluates and audits what is explained, says what was found, and writes the page."""
    folder, method, parts = explained.folder, explained.parts.method, explained.parts
    unmeasured, kinds = 0, ["explanations"] if cfg.shard.steal else []
    if cfg.evaluate is not None and explained.rows:
        unmeasured += _evaluate(cfg, explained)
        kinds.append("evaluation")
    if cfg.audit is not None and explained.rows:
        unmeasured += _audit(cfg, explained)
        kinds.append("audit")
    if unmeasured:
        folder.write_summary(explained.summary | {"unmeasured": unmeasured})
    if kinds:
        shard = (0, 1) if cfg.shard.steal else (cfg.shard.index, cfg.shard.count)
        log_measured(kinds, load(folder.path), cfg, (parts.data, parts.classifier), digests=parts.digests, shard=shard)
    # The printed table has the explanations asked for; if that is "auto", as many as the images have at most.
    explanations = max((int(row["explanation"]) for row in explained.rows), default=1) if method.auto else method.most
    log.info("\n%s", format_table(explained.summary, list(method.areas), explanations))
    if explained.doubt is not None:
        log.warning("%s", explained.doubt)  # once more, beside the numbers that it is about
    log.info("%d images explained, %d failed; everything is in %s", explained.images, explained.failures, folder.path)
    if cfg.report and explained.rows:
        _report(cfg, explained)  # last: nothing else may wait for a page, or miss it
    return RunOutcome(explained.summary.get(cfg.sweep_metric), explained.failures, folder.path, unmeasured)


def _evaluate(cfg: DictConfig, explained: ExplainedRun) -> int:
    """Computes the metrics that the option `evaluate` names, and returns how many images failed.

    The explanations are kept, whatever fails here.
    """
    from inr_xai.evaluate.evaluation import evaluate_run  # late: a run without metrics does not wait for them
    from inr_xai.evaluate.loop import EvaluationContext
    from inr_xai.evaluate.results import OWN

    names = None if cfg.evaluate == "all" else list(cfg.evaluate)
    parts, finished = explained.parts, load(explained.folder.path, cfg.allow_targets)
    context = EvaluationContext.of(parts.data, parts.classifier, parts.method, device=parts.device, donors=parts.donors)
    path = explained.folder.path
    try:
        with lock_of_results(path, OWN, wait=math.inf):  # another shard may be evaluating the same images
            return evaluate_run(finished, context, path / "evaluation", metrics=names)
    except UserError as error:
        log.warning("not evaluated: %s", error)
        return len(finished)


def _audit(cfg: DictConfig, explained: ExplainedRun) -> int:
    """Makes the audit that the option `audit` asks for, and returns how many images could not be audited.

    The explanations are kept, whatever fails here.
    """
    from inr_xai.audit.auditor import FOLDER, AuditOptions, audit_runs  # late: most runs have no audit

    options, path = AuditOptions(cfg.audit.area, cfg.audit.control), explained.folder.path
    finished = load(path, cfg.allow_targets)
    again = f"inr-xai audit {path} --area {options.area:g} --control {options.control} asks again"
    try:
        with lock_of_results(path, FOLDER, wait=math.inf):
            unaudited = audit_runs([finished], cfg, path / FOLDER, options)
    except UserError as error:
        log.warning("not audited: %s; the explanations are kept, and %s", error, again)
        return len(finished)
    if unaudited:
        log.warning("%d of %d explained images could not be audited; %s", unaudited, len(finished), again)
    return unaudited


def _report(cfg: DictConfig, explained: ExplainedRun) -> None:
    """Writes the page of the run, unless images are to come, the page is there, or the run has too many images for one.

    The run is kept, whatever fails here.
    """
    path = explained.folder.path
    try:
        from inr_xai.report.finished import MOST, PAGE, FinishedRun, report_of  # late: most of it serves this alone

        with lock_of_results(path, PAGE, wait=math.inf):  # another shard may be writing it
            finished = load(path, cfg.allow_targets)  # only now: the images of all shards that have ended
            if len(finished) > MOST:
                log.info("no page of %d images; inr-xai report %s makes one of the %d worst", len(finished), path, MOST)
                return
            if missing := images_to_come(explained.folder, explained.parts.data):
                log.info("no page yet: %d images of other shards are to come; the last shard writes it", missing)
                return
            page, newest = path / PAGE, _newest_result(explained)
            if page.exists() and page.stat().st_mtime_ns >= newest:
                return
            html = report_of([FinishedRun(path, finished, explained.parts.data, explained.parts.classifier)])
            write_bytes(page, html.encode(errors="backslashreplace"), within=explained.folder.begun)
            os.utime(page, ns=(newest, newest))  # what was stored while it was drawn is newer than the page
    except Exception as error:  # the page is made from files that stay, and can be made again
        fault = isinstance(error, RunFault)  # such as a full disk
        log.warning(
            "no page was written: %s; inr-xai report %s tries again",
            *(str(error) if fault else reason_of(error), path),
            exc_info=is_unexpected(error) and not fault,
        )


def _newest_result(explained: ExplainedRun) -> int:
    """Returns when the newest file was written that a page shows, in nanoseconds."""
    folder = explained.folder
    measured = [file.stat() for name in ("evaluation", "audit") for file in (folder.path / name).glob("*.csv")]
    return max(known.st_mtime_ns for known in [*(known for _, known in folder.images.files()), *measured])
