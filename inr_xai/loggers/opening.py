"""How a W&B run is opened: written to the disk as W&B's offline runs are, and uploaded from there if it is online."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from inr_xai.errors import error_text
from inr_xai.loggers import environment
from inr_xai.loggers.background import Background
from inr_xai.loggers.settings import WandbSettings
from inr_xai.loggers.wandb_run import WandbRun

log = logging.getLogger(__name__)

LONGEST_TAG = 64
OPEN_SECONDS = 30.0
FLUSH_SECONDS = 5.0
SHARD = re.compile(r" \d+of\d+$")
"""How the name of a shard ends."""


def open_wandb(
    settings: WandbSettings,
    *,
    save_dir: str | Path,
    run_id: str,
    name: str,
    config: Mapping[str, Any],
    job_type: str = "explain",
    shard: tuple[int, int] = (0, 1),
    tags: Sequence[str] = (),
    before: tuple[str | None, str | None] = (None, None),
) -> "WandbRun | None":
    """Starts the W&B run `run_id`, or continues it.

    Args:
        save_dir: W&B makes its folder `wandb` there, unless WANDB_DIR names another place.
        name, job_type: what W&B calls the run and its kind, unless the settings or W&B's environment variables do.
        shard: which one of how many shards writes; each is a W&B run of its own, in one group.
        tags: those of the settings and of WANDB_TAGS join them.
        before: the name and the group of a run that is continued, which it keeps.

    Returns:
        The open run; None if W&B is disabled or cannot be started at all.
    """
    if settings.mode == "disabled":
        return None
    index, count = shard
    folder = environment.folder_or(str(save_dir))
    job = environment.agent()
    if job is not None and job.run_id != run_id:
        job = None  # a second run of the agent's program, such as a comparison, is none of the sweep's
    group = before[1] or settings.group or (None if job is None else job.sweep_id)
    names = (tag.strip()[:LONGEST_TAG] for tag in [*map(str, settings.tags), *environment.tags(), *tags])
    called = settings.name or before[0] or environment.name_or(name if job is None else job.name or name)
    called = SHARD.sub("", called)
    options = {
        "project": str(settings.project),
        "entity": settings.entity,
        "group": str(group) if group else None if count == 1 else f"{name}-{run_id}",
        "tags": [tag for tag in dict.fromkeys(names) if tag],
        "dir": folder,
        "id": run_id if count == 1 else f"{run_id}-{index + 1}of{count}",
        "name": called if count == 1 else f"{called} {index + 1}of{count}",
        "config": dict(config) if job is None else {**config, **job.parameters},
        "job_type": environment.job_type_or(job_type),
        "resume": "allow",
        "reinit": "create_new",  # never the run that the caller's own program has open
    }
    opened: list[WandbRun] = []
    failures: list[Exception] = []
    background = Background(failures.append)
    folders, sweep = dict.fromkeys((str(save_dir), folder)), None if job is None else job.sweep_id
    background.call(lambda: opened.append(_start(options, settings, folders=folders, sweep=sweep)))
    in_time = background.close(seconds=OPEN_SECONDS)
    if opened:
        return opened[0]
    reason = error_text(failures[0]) if failures else f"it was not ready within {OPEN_SECONDS:g} s"
    log.warning("W&B could not be started (%s); the run goes on without it.", reason)
    if in_time:
        from inr_xai.loggers import service

        service.leave()
    return None


def _start(options: dict[str, Any], settings: WandbSettings, *, folders: Iterable[str], sweep: str | None) -> WandbRun:
    """Opens the run, which is written to the disk as W&B's offline runs are; if online, it is uploaded from there.

    Args:
        folders: where earlier parts of the run may lie.
        sweep: W&B's id of the sweep whose agent has started the run; None without an agent.
    """
    from inr_xai.loggers import service

    refused = service.set_up()
    import wandb

    name = f"*run-*/run-{escape(options['id'])}.wandb"
    files = [file for folder in folders for file in Path(folder, "wandb").resolve().glob(name)]
    parts = sorted({file.parent for file in files}, key=lambda part: part.name)
    quiet = wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        symlink=False,  # several processes may begin in one folder at once
        x_transaction_log_flush_interval=FLUSH_SECONDS,
        sweep_id=sweep,
    )
    with environment.hidden(*refused):
        wandb_run = wandb.init(**options, mode="offline", settings=quiet)
    service.leave_at_exit()
    run = WandbRun(wandb_run, parts=parts, settings=settings)
    if not run.folder.is_relative_to(Path(options["dir"]).resolve()):
        log.warning("W&B cannot write in %s; its files are in %s.", Path(options["dir"], "wandb"), run.folder)
    names = ", ".join(sorted(refused))
    if settings.mode == "offline":
        if refused:
            log.warning("W&B cannot read %s and goes without.", names)
        log.info("W&B is offline; upload this run later with `%s`.", run.remedy)
        return run
    from inr_xai.loggers.reachable import server_check  # late: offline runs ask nobody

    check = server_check()
    reason = f"cannot read {names}" if refused else check()
    if reason is None:
        run.upload(check)
    else:
        log.warning("W&B %s; this run stays offline, upload it later with `%s`.", reason, run.remedy)
    return run
