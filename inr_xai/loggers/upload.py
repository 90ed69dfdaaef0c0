"""Uploads a W&B run while it is being written, in a process of its own that can always be left behind.

W&B's own online mode can hold up a run, and even the end of the program, for as long as a server does not answer.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

# The inner shell kills the whole process group five seconds after our end of the pipe closes: so no upload outlives us.
_KILL_WITH_PARENT = 'exec 3<&0; { cat <&3; sleep 5; kill -KILL 0; } >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'
_NOT_INHERITED = ("WANDB_MODE", "WANDB_SERVICE")
"""Environment variables that are meant for this process alone."""


class Upload:
    """A process `wandb beta sync --live` that uploads the parts of one run; what W&B has already is left out.

    Args:
        folders: W&B's folders of the parts, the oldest first, as absolute paths; the last may still be written to.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", "--yes", *map(str, folders)]
        self._process = subprocess.Popen(
            ["sh", "-c", _KILL_WITH_PARENT, "sh", *command],
            env={key: value for key, value in os.environ.items() if key not in _NOT_INHERITED},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folders[-1].parent.parent,  # W&B writes logs below the working folder
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="upload", daemon=True)
        self._reader.start()

    def finish(self, *, seconds: float) -> bool:
        """Waits at most `seconds` for the upload, ends its process, and returns whether everything is uploaded."""
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
        return code == 0

    def _read(self) -> None:
        """Logs where the run can be seen, as soon as W&B says so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            _, separator, url = line.rpartition(" at ")
            if "View run" in line and separator:
                log.info("W&B shows this run at %s", url.strip())
