"""Broken image files loaded as a run loads them, in a process of their own that is watched.

The process says which file it begins and how it ended, so that the file of a crash, or of a file that takes for ever,
is known. Peak memory is the kernel's high-water mark, above what the process held after its imports.
"""

import itertools
import os
import resource
import select
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from broken_images import mutated_images, png_of_one_colour, whole_images
from PIL import Image

from inr_xai.data.image_folder import ImageFolder
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing

PREPROCESSING = Preprocessing((224, 224), 256, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MOST_MEGABYTES, MOST_SECONDS, GIVE_UP = 300.0, 5.0, 60.0
BATCH = 250  # files that are on disk at once
LOADED, REFUSED = "loaded", "refused"


@dataclass(frozen=True)
class Decoded:
    """What became of a file.

    Args:
        outcome: "loaded", "refused" (a UserError), or what should not be: another exception, a signal, a hang.
        seconds: the time of the processor, which does not grow with other work on the machine.
        megabytes: the peak of memory above what the process held after its imports.
    """

    name: str
    outcome: str
    seconds: float
    megabytes: float

    @property
    def fault(self) -> str | None:
        """What is wrong, or None."""
        if self.outcome not in (LOADED, REFUSED):
            return f"{self.name}: {self.outcome}"
        if self.seconds > MOST_SECONDS:
            return f"{self.name}: {self.outcome} after {self.seconds:.1f} s"
        if self.megabytes > MOST_MEGABYTES:
            return f"{self.name}: {self.outcome}, with {self.megabytes:.0f} MB at its peak"
        return None


@dataclass
class Decoding:
    """What became of many files."""

    files: list[Decoded] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What is wrong, one line each."""
        return [decoded.fault for decoded in self.files if decoded.fault is not None]

    def figures(self) -> dict[str, float | int]:
        """Returns the numbers of a report."""
        outcomes = Counter(decoded.outcome for decoded in self.files)
        return {
            "kinds": len({kind_of(decoded.name) for decoded in self.files}),
            "loaded": outcomes[LOADED],
            "refused": outcomes[REFUSED],
            "largest_megabytes": round(max(decoded.megabytes for decoded in self.files), 1),
            "longest_seconds": round(max(decoded.seconds for decoded in self.files), 3),
        }


def kind_of(name: str) -> str:
    """Returns the kind of a file by its name, <number>-<kind>-<mutation>."""
    return name.split("-", 1)[1].rsplit("-", 1)[0]


def decode_broken(folder: Path, count: int, seed: int) -> Decoding:
    """Makes broken files, a few at a time, and loads them."""
    decoding = Decoding()
    broken = mutated_images(folder / "broken", count, seed)
    while batch := list(itertools.islice(broken, BATCH)):
        decoding.files += decode_folder(folder / "broken")
        for file in batch:
            file.unlink()
    return decoding


def decode_large(folder: Path) -> Decoding:
    """Makes whole files of unusual sizes, and loads them."""
    root = folder / "large"
    root.mkdir(parents=True)
    for name, content in large_images().items():
        (root / name).write_bytes(content)
    for name, size in LARGE.items():
        with Image.new("RGB" if not name.endswith("gif") else "L", size, 90) as image:
            image.save(root / name)
    decoding = Decoding(decode_folder(root))
    shutil.rmtree(root)
    return decoding


LARGE = {
    "101-jpeg-large.jpg": (9000, 8000),
    "102-jpeg-strip.jpg": (65000, 20),
    "103-webp-large.webp": (9000, 8000),
    "104-gif-large.gif": (9000, 8000),
    "105-tiff-large.tif": (7000, 6000),
    "106-bmp-large.bmp": (7000, 6000),
    "107-jp2-large.jp2": (5000, 4000),
    "108-avif-large.avif": (5000, 4000),
}
"""Name -> width and height of whole files."""


def large_images() -> dict[str, bytes]:
    """Returns name -> content of PNG files that are tiny and hold many pixels."""
    sizes = {"strip": (4000, 1), "tower": (1, 4000), "line": (100_000, 1), "dot": (1, 1), "square": (12_000, 12_000)}
    files = {f"{n}-png-{name}.png": png_of_one_colour(*size) for n, (name, size) in enumerate(sizes.items())}
    files["20-png-wide.png"] = png_of_one_colour(20_000, 20_000, depth=1, colour=0)
    files["21-png-deep.png"] = png_of_one_colour(8_000, 8_000, depth=16, colour=6)
    return files


def decode_folder(root: Path) -> list[Decoded]:
    """Loads the images of a folder, in a process that is started anew whenever a file ends it."""
    data = ImageFolder(root, targets="predicted")
    names, done = data.ids, []
    while len(done) < len(names):
        done += _decode_in_process(data, names[len(done) :])
    return done


def _decode_in_process(data: ImageFolder, names: Sequence[str]) -> list[Decoded]:
    """Loads images in a forked process until all are loaded or one of them ends it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            _report_each(data, names, writing)
        finally:
            os._exit(0)
    os.close(writing)
    done: list[Decoded] = []
    begun = time.monotonic()
    with os.fdopen(reading) as stream:
        for line in _lines(stream.fileno()):
            outcome, seconds, megabytes = line.rsplit("\t", 2)
            done.append(Decoded(names[len(done)], outcome, float(seconds), float(megabytes)))
            begun = time.monotonic()
        seconds = time.monotonic() - begun
        if seconds > GIVE_UP:
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if len(done) < len(names):
        outcome = f"gave up after {seconds:.0f} s" if seconds > GIVE_UP else f"crash with wait status {status}"
        done.append(Decoded(names[len(done)], outcome, seconds, 0.0))
    return done


def _lines(handle: int) -> Iterator[str]:
    """Yields the lines of a pipe until it is closed, or nothing comes for too long."""
    rest = b""
    while select.select([handle], [], [], GIVE_UP + 1)[0]:
        part = os.read(handle, 1 << 16)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        yield from (line.decode() for line in lines)


def _report_each(data: ImageFolder, names: Sequence[str], handle: int) -> None:
    """Loads images one after another, and writes a line on each into a pipe."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries of C print warnings
    before = high_water_mark()
    for name in names:
        reset_high_water_mark()
        began = time.process_time()
        try:
            outcome = LOADED if _is_good(data, name) else "loaded with other values or another shape than an input has"
        except UserError as error:
            outcome = REFUSED if "\n" not in str(error) else f"a refusal of several lines: {error}"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        seconds, megabytes = time.process_time() - began, high_water_mark() - before
        text = " ".join(outcome.split())[:300]
        os.write(handle, f"{text}\t{seconds:.4f}\t{megabytes:.2f}\n".encode(errors="replace"))


def _is_good(data: ImageFolder, name: str) -> bool:
    """Loads an image, and returns whether it is an input: finite values in [0, 1] of the right shape."""
    values = data.load(name, PREPROCESSING).image.numpy()
    return values.shape == (3, 224, 224) and bool(
        np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all()
    )


def high_water_mark() -> float:
    """Returns the peak of this process's memory since the last reset, in MB."""
    with open("/proc/self/status") as stream:
        (line,) = [line for line in stream if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1000


def reset_high_water_mark() -> None:
    """Lets the peak begin with what the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")


def kinds() -> list[str]:
    """Returns the kinds of whole files."""
    return list(whole_images())
