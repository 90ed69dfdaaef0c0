"""An open W&B run: quiet, and never in the way of the run.

Whatever might wait for the network happens in a background thread. The run folder's CSV files remain the record.
"""

import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inr_xai.errors import error_text
from inr_xai.loggers.background import Background
from inr_xai.loggers.keys import AXES, UNSUMMED
from inr_xai.loggers.pictures import WandbPicture
from inr_xai.loggers.settings import WandbSettings

if TYPE_CHECKING:
    import wandb

    from inr_xai.loggers.files import FileSet
    from inr_xai.loggers.upload import Upload

log = logging.getLogger(__name__)

STEPS_OF_A_PART = 1_000_000_000
PICTURES_A_STEP = 50
"""W&B's media panels slow down if a step has more."""
# What W&B's files may cost at the end, in seconds.
CLOSE_SECONDS = 15.0
SECONDS_PER_PICTURE, SECONDS_PER_FILE = 0.1, 0.001
"""What a picture of a table and a file of a set add to CLOSE_SECONDS: several times what they take on a slow core."""
WRITE_SECONDS = 2.0


class WandbRun:
    """An open W&B run. No method raises or waits because of W&B; only `finish` waits, and not for long.

    The first failure is logged in one warning and switches W&B off for the rest of the run. The x axis is
    `images_done`; W&B's own step only keeps the order.

    Args:
        run: the run as W&B opened it, offline.
        parts: the folders of its earlier parts, if it is continued.

    Attributes:
        id, name, group: W&B's id of the run, what it is called, and its group, if it has one.
        settings: the options of `logger.wandb`.
        folder: where W&B keeps this part of the run.
        remedy: the command that uploads it.
    """

    def __init__(self, run: "wandb.Run", *, parts: Sequence[Path], settings: WandbSettings) -> None:
        self.id, self.settings = str(run.id), settings
        self.name, self.group = str(run.name), str(run.group) if run.group else None
        self.folder = Path(run.dir).parent
        self.remedy = shlex.join(["wandb", "sync", *map(str, [*parts, self.folder])])
        self._run = run
        self._parts = [*parts, self.folder]
        self._pictures = settings.images
        self._more_seconds = 0.0
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
        """Logs pictures: caption -> an array h x w x 3 of 8 bits, or the path of a file.

        At most PICTURES_A_STEP at a time are logged, and `logger.wandb.images` in all; the rest is left out.
        """
        count = min(len(images), PICTURES_A_STEP, self._pictures)
        self._pictures -= count
        self._log_pictures(key, dict(list(images.items())[:count]), images_done)

    def log_charts(self, key: str, charts: Mapping[str, np.ndarray | str | Path]) -> None:
        """Logs drawn charts as pictures: `logger.wandb.images`, which counts explained images, does not bound them."""
        self._log_pictures(key, dict(list(charts.items())[:PICTURES_A_STEP]), None)

    def _log_pictures(self, key: str, images: Mapping[str, np.ndarray | str | Path], images_done: int | None) -> None:
        """Logs all of these pictures in the background."""
        # Copies, because the caller may change its arrays before the background thread comes to this call.
        copies = {
            caption: image.copy() if isinstance(image, np.ndarray) else image for caption, image in images.items()
        }

        def send() -> None:
            pictures = [WandbPicture(image, caption=caption).at_wandb() for caption, image in copies.items()]
            self._send(_payload({key: pictures}, images_done, None))

        if copies:
            self._background.call(send)

    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Logs a table; a cell may be a `WandbPicture`, and None is an empty one."""
        names: list[str | int] = [*columns]
        data = [list(row) for row in rows]
        self._more_seconds += SECONDS_PER_PICTURE * sum(isinstance(c, WandbPicture) for row in data for c in row)
        self._background.call(lambda: self._send({key: _table(names, data)}))

    def log_lines(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str) -> None:
        """Logs a chart of lines.

        Args:
            columns: of the table behind the chart; the first three are the x axis, the values and the line's name.
        """
        names: list[str | int] = [*columns]
        data = [list(row) for row in rows]
        fields = {"step": columns[0], "lineVal": columns[1], "lineKey": columns[2]}

        def send() -> None:
            import wandb

            strings = {"title": title, "xname": columns[0]}
            self._send({key: wandb.plot_table("wandb/lineseries/v0", _table(names, data), fields, strings)})

        self._background.call(send)

    def log_histograms(self, values: Mapping[str, Sequence[float]], *, images_done: int | None = None) -> None:
        """Logs the distribution of finite numbers: key -> the numbers; a key without numbers is left out."""
        finite = {key: [number for number in numbers if np.isfinite(number)] for key, numbers in values.items()}

        def send() -> None:
            import wandb

            histograms = {key: wandb.Histogram(numbers) for key, numbers in finite.items() if numbers}
            self._send(_payload(histograms, images_done, None))

        self._background.call(send)

    def log_files(self, files: "FileSet") -> None:
        """Logs files as an artifact of W&B's."""
        from inr_xai.loggers.files import staged_in

        self._more_seconds += SECONDS_PER_FILE * len(files.files)

        def send() -> None:
            with staged_in(self.folder):
                self._run.log_artifact(files.at_wandb(self.id), aliases=files.aliases)

        self._background.call(send)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Sets the final values of the run."""
        copy = dict(values)
        self._background.call(lambda: self._run.summary.update(copy))

    def finish(self, *, failed: bool = False) -> None:
        """Ends the run; what cannot be uploaded in time stays in `folder`."""
        from inr_xai.loggers import service

        closed = self._background.close(
            seconds=CLOSE_SECONDS + self._more_seconds, last=lambda: self._run.finish(exit_code=int(failed))
        )
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
        reason = self._upload.finish(seconds=self.settings.finish_timeout if complete else 0.0)
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
        from inr_xai.loggers.files import staged_in

        for key in payload:
            if key not in self._known and not key.startswith(UNSUMMED):
                self._known.add(key)
                self._run.define_metric(key, step_metric=AXES[0])
        with staged_in(self.folder):
            self._run.log(payload)  # not by Lightning's logger, which is mute if the launcher has given a rank above 0

    def _begin(self) -> None:
        """Defines the axes, and sets W&B's own step, which restarts with each part, beyond those of earlier parts."""
        for axis in AXES:
            self._run.define_metric(axis, hidden=True, summary="none")
        for start in UNSUMMED:  # W&B heeds it for histograms and pictures in patterns alone
            self._run.define_metric(f"{start}*", step_metric=AXES[0], summary="none")
        if len(self._parts) > 1:
            self._run.log({}, step=(len(self._parts) - 1) * STEPS_OF_A_PART)

    def _fail(self, error: Exception) -> None:
        """Logs the first failure, which switches W&B off."""
        if self._failed:
            return
        self._failed = True
        log.warning("W&B failed (%s); the run goes on without it, the CSV files are complete.", error_text(error))


def _table(columns: "list[str | int]", rows: list[list[Any]]) -> "wandb.Table":
    """Returns a table as W&B wants it."""
    import wandb

    cells = [[cell.at_wandb() if isinstance(cell, WandbPicture) else cell for cell in row] for row in rows]
    return wandb.Table(columns=columns, data=cells)


def _payload(metrics: Mapping[str, Any], images_done: int | None, steps_done: int | None) -> dict[str, Any]:
    """Returns the values together with their place on the x axes."""
    axes = {"images_done": images_done, "steps_done": steps_done}
    return {**metrics, **{axis: value for axis, value in axes.items() if value is not None}}
