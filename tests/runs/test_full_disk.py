"""A run whose file system is full, or cannot be written any more, ends in one sentence, and all of it can be read."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from inr_xai.callbacks import RunCallback
from inr_xai.data.names import ASIDE
from inr_xai.errors import RunFault
from inr_xai.runs.folder import RunFolder
from tests.helpers.runs import explain, files_below, same_masks, table

RUN = ["data.size=4", "checkpoint_every=0", "image_batch_size=1"]


def mount(*arguments: str) -> bool:
    """Returns whether the system has mounted something."""
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, if this process may mount one."""
    folder = tmp_path / "place"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)):
        pytest.skip("this process may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(place: Path, leave: int) -> Path:
    """Fills a file system until so many bytes are free, and returns the file that fills it."""
    file, facts = place / "filling", os.statvfs(place)
    file.write_bytes(bytes(facts.f_bavail * facts.f_frsize - leave))
    return file


def require_readable(out: Path) -> int:
    """Fails unless all images that are there can be read and nothing is half written; returns their number."""
    folder = RunFolder(out)
    done = folder.done()
    for name in done:
        assert folder.read(name).sample_id == name
    assert not [name for name in files_below(out) if ASIDE in name]
    folder.read_run()
    return len(done)


class Spoils(RunCallback):
    """A callback that fills the file system, or makes it read-only, in the fit of the third image.

    Args:
        place: the path of the file system.
        fills: or else it becomes read-only.
    """

    def __init__(self, place: str, fills: bool):
        self.place, self.fills = Path(place), fills

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        if self.state.images_done == 2:
            if self.fills:
                fill(self.place, leave=16384)
            else:
                assert mount("-o", "remount,ro", str(self.place))


@pytest.mark.slow
@pytest.mark.parametrize("fills", [True, False], ids=["full", "read-only"])
def test_a_run_ends_cleanly_in_the_middle_and_goes_on(place: Path, tmp_path: Path, fills: bool) -> None:
    explain(tmp_path / "whole", *RUN)
    out = place / "run"
    spoils = f"callbacks.scores={{_target_: {__name__}.Spoils, place: {place}, fills: {fills}}}"
    with pytest.raises(RunFault, match=r"cannot be written \(.*\); .* then the same command continues"):
        explain(out, *RUN, spoils)
    assert require_readable(out) == 2
    if fills:
        (place / "filling").unlink()
    else:
        assert mount("-o", "remount,rw", str(place))
    assert explain(out, *RUN).failures == 0
    assert require_readable(out) == 4
    assert same_masks(out, tmp_path / "whole")
    assert table(out) == table(tmp_path / "whole")
    assert not [name for name in files_below(out) if "checkpoints" in name]
