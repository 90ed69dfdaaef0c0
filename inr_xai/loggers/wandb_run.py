"""One W&B run per run folder: offline unless asked otherwise, quiet, and never in the way of the run.

Whatever might wait for the network happens in a background thread. The run folder's CSV files remain the record.
"""

import logging
import os
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inr_xai.errors import UserError, error_text
from inr_xai.loggers import environment
from inr_xai.loggers.background import Background

if TYPE_CHECKING:
    import wandb

    from inr_xai.loggers.upload import Upload

log = logging.getLogger(__name__)

MODES = {
    "offline": "offline",
    "dryrun": "offline",
    "": "offline",
    "online": "online",
    "run": "online",
    "disabled": "disabled",
}
"""The names of the modes, those of older W&B versions included -> the mode."""
AXES = ("images_done", "steps_done")
STEP_KEYS = ("loss/",)
"""Keys that begin so have the x axis steps_done; all others have images_done."""
STEPS_OF_A_PART = 1_000_000_000
PROJECT = "inr_xai"
LONGEST_TAG = 64
# What an unreachable W&B may cost, in seconds, besides the question to its server (`server_check`).
OPEN_SECONDS = 30.0
CLOSE_SECONDS = 15.0
WRITE_SECONDS = 2.0
FLUSH_SECONDS = 5.0


@dataclass
class WandbSettings:
    """The options of `logger.wandb`.

    Args:
        mode: "offline" writes files that `wandb sync` uploads later, "online" uploads while the run goes on (or stays
            offline if W&B cannot be reached), "disabled" does nothing.
        project, group, entity: by default what WANDB_PROJECT, WANDB_RUN_GROUP and WANDB_ENTITY say.
        tags: they are joined by those of WANDB_TAGS.
        finish_timeout: seconds that the end of an online run waits for its upload; the rest stays on the disk.
        name: what W&B calls the run; by default what WANDB_NAME says, else the run's own name.
    """

    project: str = field(default_factory=lambda: os.environ.get("WANDB_PROJECT", ""))
    mode: str = "offline"
    group: str | None = field(default_factory=lambda: os.environ.get("WANDB_RUN_GROUP"))
    tags: list[str] = field(default_factory=list)
    entity: str | None = field(default_factory=lambda: os.environ.get("WANDB_ENTITY"))
    finish_timeout: float = 12.0
    name: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(
                f"logger.wandb.mode is {self.mode!r}; choose offline, online or disabled"
                " (it is taken from the environment variable WANDB_MODE if that is set)"
            )
        self.mode = MODES[self.mode]
        self.project, self.group, self.entity = self.project or PROJECT, self.group or None, self.entity or None
        self.tags = [self.tags] if isinstance(self.tags, str) else list(self.tags or ())


def open_wandb(
    settings: WandbSettings,
    *,
    save_dir: str | Path,
    run_id: str,
    name: str,
    config: Mapping[str, Any],
    job_type: str = "explain",
    shard: tuple[int, int] = (0, 1),
) -> "WandbRun | None":
    """Starts the W&B run `run_id`, or continues it.

    Args:
        save_dir: W&B makes its folder `wandb` there, unless WANDB_DIR names another place.
        name, job_type: what W&B calls the run and its kind, unless the settings or W&B's environment variables do.
        shard: which one of how many shards writes; each is a W&B run of its own, in one group.

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
    tags = (tag.strip()[:LONGEST_TAG] for tag in [*map(str, settings.tags), *environment.tags()])
    options = {
        "project": str(settings.project),
        "entity": settings.entity,
        "group": str(settings.group) if settings.group else None if count == 1 else f"{name}-{run_id}",
        "tags": [tag for tag in dict.fromkeys(tags) if tag],
        "dir": folder,
        "id": run_id if count == 1 else f"{run_id}-{index + 1}of{count}",
        "name": settings.name or environment.name_or(name),
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


class WandbRun:
    """An open W&B run. No method raises or waits because of W&B; only `finish` waits, and not for long.

    The first failure is logged in one warning and switches W&B off for the rest of the run. The x axis is `steps_done`
    for `loss/*` and `images_done` for everything else; W&B's own step only keeps the order.

    Args:
        run: the run as W&B opened it, offline.
        parts: the folders of its earlier parts, if it is continued.
        finish_timeout: seconds that `finish` waits for the upload.

    Attributes:
        folder: where W&B keeps this part of the run.
        remedy: the command that uploads it.
    """

    def __init__(self, run: "wandb.Run", *, parts: Sequence[Path], finish_timeout: float) -> None:
        self.folder = Path(run.dir).parent
        self.remedy = shlex.join(["wandb", "sync", *map(str, [*parts, self.folder])])
        self._run = run
        self._parts = [*parts, self.folder]
        self._finish_timeout = finish_timeout
        self._upload: "Upload | None" = None
        self._check: Callable[[], str | None] = lambda: None
        self._known = set(AXES)
        self._failed = False
        self._background = Background(self._fail)
        self._background.call(self._begin)

    def upload(self, check: Callable[[], str | None]) -> None:
        """Starts to upload, beginning with the parts that are not uploaded yet.

        Args:
            check: says why W&B's server cannot be used, or None if it can; it is asked again at the end.
        """
        from inr_xai.loggers.upload import Upload  # late, like the other parts of this folder that few runs need

        try:
            self._upload, self._check = Upload(self._parts), check
        except OSError as error:
            log.warning("W&B's upload cannot be started (%s); start it later with `%s`.", error, self.remedy)

    def log(self, metrics: Mapping[str, Any], *, images_done: int | None = None, steps_done: int | None = None) -> None:
        """Logs values at a point of either axis."""
        payload = _payload(metrics, images_done, steps_done)
        self._background.call(lambda: self._send(payload))

    def log_images(
        self, key: str, images: Mapping[str, np.ndarray | str | Path], *, images_done: int | None = None
    ) -> None:
        """Logs pictures: caption -> an array h x w x 3 of 8 bits, or the path of a file."""
        # Copies, because the caller may change its arrays before the background thread comes to this call.
        copies = {
            caption: image.copy() if isinstance(image, np.ndarray) else image for caption, image in images.items()
        }

        def send() -> None:
            pictures = [_picture(image, caption) for caption, image in copies.items()]
            self._send(_payload({key: pictures}, images_done, None))

        self._background.call(send)

    def log_table(
        self,
        key: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        images: Sequence[str | Path | None] | None = None,
    ) -> None:
        """Logs a table; `images`, a path or None for each row, becomes its last column, `image`."""
        names: list[str | int] = [*columns]
        data = [list(row) for row in rows]
        paths = None if images is None else list(images)

        def send() -> None:
            import wandb

            if paths is not None:
                names.append("image")
                for row, path in zip(data, paths, strict=True):
                    row.append(None if path is None else _picture(path))
            self._send({key: wandb.Table(columns=names, data=data)})

        self._background.call(send)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Sets the final values of the run."""
        copy = dict(values)
        self._background.call(lambda: self._run.summary.update(copy))

    def finish(self, *, failed: bool = False) -> None:
        """Ends the run; what cannot be uploaded in time stays in `folder`."""
        from inr_xai.loggers import service

        closed = self._background.close(seconds=CLOSE_SECONDS, last=lambda: self._run.finish(exit_code=int(failed)))
        complete = closed and self._is_complete()
        if not closed:
            self._failed = True  # what it says later is no news
            log.warning("W&B did not close its files in %s; the CSV files are complete.", self.folder)
        elif not complete and not self._failed:
            log.warning("W&B could not write all of %s (is the disk full?); the CSV files are complete.", self.folder)
        if self._failed or not complete:
            service.leave()
        if self._upload is None:
            return
        reason = self._upload.finish(seconds=self._finish_timeout if complete else 0.0)
        if reason is None and (reason := self._check()) is not None:  # a stranger may have taken it all
            self._upload.unmark()
        if reason is not None:
            log.warning("W&B did not take everything (%s); upload the rest with `%s`.", reason, self.remedy)

    def _is_complete(self) -> bool:
        """Returns whether the run's file is written to its end, for which W&B may need a moment longer."""
        from inr_xai.loggers.transaction_log import is_complete

        deadline = time.monotonic() + (0 if self._failed else WRITE_SECONDS)
        while not (complete := is_complete(self.folder / f"run-{self._run.id}.wandb")) and time.monotonic() < deadline:
            time.sleep(0.05)
        return complete

    def _send(self, payload: dict[str, Any]) -> None:
        """Logs values in the background thread, and gives each new key its x axis.

        The axes are defined key by key, because W&B has no order for two patterns that match the same key.
        """
        for key in payload:
            if key not in self._known:
                self._known.add(key)
                axis = "steps_done" if key.startswith(STEP_KEYS) else "images_done"
                self._run.define_metric(key, step_metric=axis)
        self._run.log(payload)  # not by Lightning's logger, which is mute if the launcher has given a rank above 0

    def _begin(self) -> None:
        """Defines the axes, and sets W&B's own step, which restarts with each part, beyond those of earlier parts."""
        for axis in AXES:
            self._run.define_metric(axis, hidden=True)
        if len(self._parts) > 1:
            self._run.log({}, step=(len(self._parts) - 1) * STEPS_OF_A_PART)

    def _fail(self, error: Exception) -> None:
        """Logs the first failure, which switches W&B off."""
        if self._failed:
            return
        self._failed = True
        log.warning("W&B failed (%s); the run goes on without it, the CSV files are complete.", error_text(error))


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
    run = WandbRun(wandb_run, parts=parts, finish_timeout=settings.finish_timeout)
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


def _picture(image: np.ndarray | str | Path, caption: str | None = None) -> "wandb.Image":
    """Returns a picture as W&B wants it."""
    import wandb

    return wandb.Image(image if isinstance(image, np.ndarray) else str(image), caption=caption)


def _payload(metrics: Mapping[str, Any], images_done: int | None, steps_done: int | None) -> dict[str, Any]:
    """Returns the values together with their place on the x axes."""
    axes = {"images_done": images_done, "steps_done": steps_done}
    return {**metrics, **{axis: value for axis, value in axes.items() if value is not None}}
