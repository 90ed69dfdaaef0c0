"""Which GPU a job takes, if several jobs run at once on one machine: one that no other job has.

The process that starts the jobs says in an environment variable which GPUs they may use. A job takes a free one by a
lock on a file, which the system takes back when the job's process ends, however it ends.
"""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

GPUS, VISIBLE = "INR_XAI_GPUS", "CUDA_VISIBLE_DEVICES"
POLL = 1.0
"""Seconds between two looks for a free GPU."""
log = logging.getLogger(__name__)
_of_process: list[str] = []
"""The GPU of this process: once CUDA has begun it stays the same, and a launcher's process may do several jobs."""


def visible_gpus() -> list[str]:
    """Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # late: most multiruns start their jobs without it

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return named[:count] if named else [str(index) for index in range(count)]


@contextmanager
def shared_gpus(names: Sequence[str]) -> Iterator[None]:
    """A context in which each job that this process starts takes one of these GPUs."""
    before = os.environ.get(GPUS)
    os.environ[GPUS] = ",".join(names)
    try:
        yield
    finally:
        if before is None:
            del os.environ[GPUS]
        else:
            os.environ[GPUS] = before


@contextmanager
def own_gpu() -> Iterator[str | None]:
    """A context in which a job has a GPU for itself, and sees no other; it waits for a free one.

    Yields its name; None if the job was started by nothing that shares GPUs among jobs, or if there is none.
    """
    names = [name for name in os.environ.get(GPUS, "").split(",") if name]
    if not names:
        yield None
        return
    name, handle = _free_gpu(_of_process or names)
    try:
        _of_process[:] = [name]
        os.environ[VISIBLE] = name
        log.info("this job has GPU %s", name)
        yield name
    finally:
        os.close(handle)


def lock_file(name: str) -> Path:
    """Returns the file whose lock says that a GPU of this machine is taken."""
    return Path(tempfile.gettempdir()) / f"inr_xai-gpu-{quote(name, safe='')}.lock"


def _free_gpu(names: Sequence[str]) -> tuple[str, int]:
    """Waits for one of the GPUs, and returns its name, and the open file with its lock."""
    told = False
    while True:
        for name in names:
            handle = _locked(lock_file(name))
            if handle is not None:
                return name, handle
        if not told:
            log.info("waiting for a free GPU: other jobs have %s", ", ".join(names))
            told = True
        time.sleep(POLL)


def _locked(file: Path) -> int | None:
    """Returns the open file with its lock; None if another process has it."""
    import fcntl  # late: Windows has none, and no GPU is shared there

    handle = -1
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(file, os.O_RDONLY)  # another user's file can only be read
    if handle < 0:
        handle = os.open(file, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle
