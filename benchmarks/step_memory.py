"""The most memory that a piece of work takes beyond what was held before it."""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

MEBIBYTE = 2**20
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(work: Callable[[], object], device: torch.device) -> float:
    """Returns by how many MiB the memory grew at most while `work` ran: of the GPU's tensors, or of the process.

    Linux forgets the process's peak before; elsewhere only what exceeds the peak of all that ran before is seen.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MEBIBYTE
    return_freed_memory()
    if not forget_peak():
        before = process_peak()
        work()
        return process_peak() - before
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def return_freed_memory() -> None:
    """Gives what was freed back to the system, as far as the C library can; else it would be used again unseen."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


def forget_peak() -> bool:
    """Sets the process's peak to what it holds now; returns False where the system has no such thing."""
    try:
        RESET.write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return False
    return True


def process_peak() -> float:
    """Returns the most memory that the process has had, in MiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / MEBIBYTE if sys.platform == "darwin" else size / 1024


def _status(key: str) -> float:
    """Returns a size of /proc/self/status in MiB."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:")]
    return int(line.split()[1]) / 1024
