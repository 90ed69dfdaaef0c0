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

# The inner shell ends the whole group a little after our end of the pipe has closed, should this process die.
_LEASH = 'exec 3<&0; { cat <&3; sleep 5; kill -KILL 0; } >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'
_OURS = ("WANDB_MODE", "WANDB_SERVICE")


class Upload:
    """`wandb beta sync --live` of the parts of one run, the oldest first; what is uploaded already is left out.

    Args:
        folders: W&B's folders of the parts, as absolute paths; the last one may still be written to.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", "--yes", *map(str, folders)]
        self._process = subprocess.Popen(
            ["sh", "-c", _LEASH, "sh", *command],
            env={key: value for key, value in os.environ.items() if key not in _OURS},
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
        """Wait until all is uploaded, but not longer; whether it is. Nothing goes on afterwards."""
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
        """Say where the run can be seen, as soon as W&B says so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            _, found, url = line.rpartition(" at ")
            if "View run" in line and found:
                log.info("W&B shows this run at %s", url.strip())
