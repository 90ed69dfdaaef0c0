"""Uploads a W&B run while it is being written, in a process of its own that can always be left behind.

W&B's own online mode can hold up a run, and even the end of the program, for as long as a server does not answer.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inr_xai.loggers.environment import visible

log = logging.getLogger(__name__)

# The inner shell kills the whole process group five seconds after our end of the pipe closes: so no upload outlives us.
_KILL_WITH_PARENT = 'exec 3<&0; { cat <&3; sleep 5; kill -KILL 0; } >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'
_ERROR = "wandb: ERROR "
"""W&B prints what went wrong on lines that begin so, and ends with status 0 nevertheless."""
_LOST = ("file transfer:", "filestream: fatal", "sender: failed", "runfiles:")
"""Errors in W&B's log that begin so, such as a refused picture, are not printed at all."""
_LOGS = "debug-sync*.log"
_LONGEST_REASON = 160


class Upload:
    """A process `wandb beta sync --live` that uploads the parts of one run; what W&B has already is left out.

    Args:
        folders: W&B's folders of the parts, the oldest first, as absolute paths; the last may still be written to.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", "--yes", *map(str, folders)]
        base = folders[-1].parent.parent
        self._files = [file for folder in folders for file in folder.glob("run-*.wandb")]
        self._uploaded_before = {file for file in self._files if _mark(file).exists()}
        self._logs = folders[-1].parent / "logs"
        self._logs_before = set(self._logs.glob(_LOGS))
        self._errors: list[str] = []
        self._process = subprocess.Popen(
            ["sh", "-c", _KILL_WITH_PARENT, "sh", *command],
            env={**visible(os.environ), "WANDB_DIR": str(base)},  # W&B writes its logs there
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=base,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="upload", daemon=True)
        self._reader.start()

    def finish(self, *, seconds: float) -> str | None:
        """Waits at most `seconds` for the upload and ends its process.

        Returns:
            Why W&B did not take everything, as a clause; None only if W&B said that it did.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._reader.join(1)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        reason = self._reason(code)
        if reason is not None:
            self.unmark()
        return reason

    def unmark(self) -> None:
        """Removes the marks of this upload, because of which `wandb sync` would pass over what they stand for."""
        for file in self._files:
            if file not in self._uploaded_before:
                with contextlib.suppress(OSError):
                    _mark(file).unlink(missing_ok=True)

    def _reason(self, code: int | None) -> str | None:
        """Returns what is wrong after the process ended with a status (None: it had to be killed), or None."""
        unmarked = [file for file in self._files if not _mark(file).exists()]
        if code is None and unmarked:
            return f'it says "{self._errors[0]}"' if self._errors else "it did not end in time"
        lost = [*self._errors, *self._lost()]
        if lost:
            return f'it says "{_shorten(lost[0])}"'
        if code:
            return f"its upload ended with status {code}"
        return "its upload ended without saying that it is done" if unmarked else None

    def _read(self) -> None:
        """Notes what W&B says went wrong, and logs where the run can be seen as soon as W&B says so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            _, separator, url = line.rpartition(" at ")
            if line.startswith(_ERROR) and line.removeprefix(_ERROR).strip():
                self._errors.append(_shorten(line.removeprefix(_ERROR)))
            elif "View run" in line and separator:
                log.info("W&B shows this run at %s", url.strip())

    def _lost(self) -> Iterator[str]:
        """Yields what W&B has written into its log of this upload about data that it could not upload."""
        files = set(map(str, self._files))
        for file in sorted(set(self._logs.glob(_LOGS)) - self._logs_before):
            with contextlib.suppress(OSError):
                for line in file.read_text(errors="replace").splitlines():
                    entry = _entry(line)
                    is_ours = entry.get("level") == "ERROR" and entry.get("sync_path") in files
                    if is_ours and str(entry.get("msg")).startswith(_LOST):
                        yield str(entry["msg"])


def _entry(line: str) -> dict[str, Any]:
    """Returns an entry of W&B's log; an empty one if the line is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _mark(file: Path) -> Path:
    """Returns the file that W&B makes beside an offline run's file when it is uploaded."""
    return file.with_name(f"{file.name}.synced")


def _shorten(text: str) -> str:
    """Returns the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 3]}..."
