"""One W&B run per run folder: offline unless asked otherwise, quiet, and never in the way of the run.

Whatever might wait for the network happens in a background thread. The run folder's CSV files remain the record.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.loggers import WandbLogger

from inr_xai.errors import UserError
from inr_xai.loggers.background import Background
from inr_xai.loggers.reachable import stored_key, unreachable_reason
from inr_xai.loggers.upload import Upload

if TYPE_CHECKING:
    import wandb

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
# What an unreachable W&B may cost, in seconds: PROBE_SECONDS and `finish_timeout`.
PROBE_SECONDS = 3.0
CLOSE_SECONDS = 15.0
FLUSH_SECONDS = 5.0


@dataclass
class WandbSettings:
    """The options of `logger.wandb`.

    Args:
        mode: "offline" writes files that `wandb sync` uploads later, "online" uploads while the run goes on (or stays
            offline if W&B cannot be reached), "disabled" does nothing.
        finish_timeout: seconds that the end of an online run waits for its upload; the rest stays on the disk.
    """

    project: str = "inr_xai"
    mode: str = "offline"
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    entity: str | None = None
    finish_timeout: float = 12.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(
                f"logger.wandb.mode is {self.mode!r}; choose offline, online or disabled"
                " (it is taken from the environment variable WANDB_MODE if that is set)"
            )
        self.mode = MODES[self.mode]


def open_wandb(
    settings: WandbSettings,
    *,
    save_dir: str | Path,
    run_id: str,
    name: str,
    config: Mapping[str, Any],
    job_type: str = "explain",
) -> "WandbRun | None":
    """Starts the W&B run `run_id`, or continues it.

    Args:
        save_dir: W&B makes its folder `wandb` there.

    Returns:
        The open run; None if W&B is disabled or cannot be started at all.
    """
    if settings.mode == "disabled":
        return None
    options = {
        "project": settings.project,
        "entity": settings.entity,
        "group": settings.group,
        "tags": list(settings.tags),
        "dir": str(save_dir),
        "id": run_id,
        "name": name,
        "config": dict(config),
        "job_type": job_type,
        "resume": "allow",
        "reinit": "create_new",  # never the run that the caller's own program has open
    }
    try:
        _set_up()
        return _start(options, settings)
    except Exception as error:
        log.warning("W&B could not be started (%s); the run goes on without it.", _sentence(error))
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
        logger: Lightning's logger of this run.
        folder: where W&B keeps this part of the run.
        remedy: the command that uploads it.
    """

    def __init__(self, run: "wandb.Run", *, parts: Sequence[Path], finish_timeout: float) -> None:
        self.folder = Path(run.dir).parent
        self.remedy = " ".join(["wandb sync", *map(str, [*parts, self.folder])])
        self.logger = WandbLogger(experiment=run, project=run.project, save_dir=self.folder.parent.parent, id=run.id)
        self._run = run
        self._parts = [*parts, self.folder]
        self._finish_timeout = finish_timeout
        self._upload: Upload | None = None
        self._known = set(AXES)
        self._background = Background(self._fail)
        self._background.call(self._begin)

    def upload(self) -> None:
        """Starts to upload, beginning with the parts that are not uploaded yet."""
        try:
            self._upload = Upload(self._parts)
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
        closed = self._background.close(seconds=CLOSE_SECONDS, last=lambda: self._run.finish(exit_code=int(failed)))
        if not closed:
            log.warning("W&B did not close its files in %s; the CSV files are complete.", self.folder)
        if self._upload is not None and not self._upload.finish(seconds=self._finish_timeout if closed else 0.0):
            log.warning("W&B did not take everything in time; upload the rest with `%s`.", self.remedy)

    def _send(self, payload: dict[str, Any]) -> None:
        """Logs values in the background thread, and gives each new key its x axis.

        The axes are defined key by key, because W&B has no order for two patterns that match the same key.
        """
        for key in payload:
            if key not in self._known:
                self._known.add(key)
                axis = "steps_done" if key.startswith(STEP_KEYS) else "images_done"
                self._run.define_metric(key, step_metric=axis)
        self.logger.log_metrics(payload)

    def _begin(self) -> None:
        """Defines the axes, and sets W&B's own step, which restarts with each part, beyond those of earlier parts."""
        for axis in AXES:
            self._run.define_metric(axis, hidden=True)
        if len(self._parts) > 1:
            self._run.log({}, step=(len(self._parts) - 1) * STEPS_OF_A_PART)

    def _fail(self, error: Exception) -> None:
        """Logs the failure that switches W&B off."""
        log.warning("W&B failed (%s); the run goes on without it, the CSV files are complete.", _sentence(error))


def _set_up() -> None:
    """Loads W&B, silenced; it reads its environment here, once per process."""
    # W&B's analytics would be sent from offline runs too, and hold up the end of the process if no server answers.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    with _without_mode():
        import wandb

        wandb.setup(wandb.Settings(silent=True))


@contextmanager
def _without_mode() -> Iterator[None]:
    """Hides WANDB_MODE, which `WandbSettings` has read already: W&B fails if it is empty."""
    mode = os.environ.pop("WANDB_MODE", None)
    try:
        yield
    finally:
        if mode is not None:
            os.environ["WANDB_MODE"] = mode


def _start(options: dict[str, Any], settings: WandbSettings) -> WandbRun:
    """Opens the run, which is written to the disk as W&B's offline runs are; if online, it is uploaded from there."""
    import wandb

    files = Path(options["dir"], "wandb").resolve().glob(f"*run-*/run-{escape(options['id'])}.wandb")
    parts = sorted(file.parent for file in files)
    quiet = wandb.Settings(silent=True, console="off", save_code=False, x_transaction_log_flush_interval=FLUSH_SECONDS)
    wandb_run = wandb.init(**options, mode="offline", settings=quiet)
    run = WandbRun(wandb_run, parts=parts, finish_timeout=settings.finish_timeout)
    if settings.mode == "offline":
        log.info("W&B is offline; upload this run later with `%s`.", run.remedy)
        return run
    reason = _offline_reason()
    if reason is None:
        run.upload()
    else:
        log.warning("W&B %s; this run stays offline, upload it later with `%s`.", reason, run.remedy)
    return run


def _offline_reason() -> str | None:
    """Returns why a run cannot be uploaded now, as the end of a sentence; None if it can."""
    import wandb

    settings = wandb.setup().settings
    key = None
    if settings.identity_token_file is None:
        key = os.environ.get("WANDB_API_KEY") or settings.api_key or stored_key(settings.base_url)
        if key is None:
            return "has no API key (run `wandb login` or set WANDB_API_KEY)"
    reason = unreachable_reason(settings.base_url, api_key=key, seconds=PROBE_SECONDS)
    return None if reason is None else f"at {settings.base_url} {reason}"


def _picture(image: np.ndarray | str | Path, caption: str | None = None) -> "wandb.Image":
    """Returns a picture as W&B wants it."""
    import wandb

    return wandb.Image(image if isinstance(image, np.ndarray) else str(image), caption=caption)


def _payload(metrics: Mapping[str, Any], images_done: int | None, steps_done: int | None) -> dict[str, Any]:
    """Returns the values together with their place on the x axes."""
    axes = {"images_done": images_done, "steps_done": steps_done}
    return {**metrics, **{axis: value for axis, value in axes.items() if value is not None}}


def _sentence(error: Exception) -> str:
    """Returns what an exception says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
