"""Which process, on which machine: how a file says who made it, and whether that process still runs."""

import contextlib
import functools
import os
import socket
import zlib
from pathlib import Path


@functools.cache
def machine() -> str:
    """Returns a name of the machine within which a process number names a process: eight hexadecimal digits.

    It differs for two containers of one host, and after a restart of the host.
    """
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # there is no /proc on macOS
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        facts.append(os.readlink("/proc/self/ns/pid"))
    return f"{zlib.crc32(repr(facts).encode()):08x}"


def start_time(pid: int) -> int | None:
    """Returns when a process of this machine began, in ticks since the machine did.

    Returns None if there is no such process, if it has ended and its parent has not asked how, or if the system has no
    /proc.
    """
    try:
        # The name of the program, in brackets, may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_running(pid: int, started: int | None = None) -> bool:
    """Returns whether a process of this machine runs.

    Args:
        started: its `start_time`, without which another process that has got its number counts as it; None if unknown.
    """
    found = start_time(pid)
    if found is not None:
        return started in (None, found)
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, whose /proc may be hidden
        return True
    return not Path("/proc/self/stat").exists()
