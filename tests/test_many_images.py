"""A run of many images: what an image leaves in the memory of the process, and who has concluded the run."""

import itertools
import os
from pathlib import Path

import pytest

from inr_xai.runner import what_is_concluded
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.stored_images import StoredImages
from tests.helpers.runs import TINY, configured, process
from tests.runs.test_folder import record

FIRST, LAST = 16, 40
MOST = 1500
"""Bytes that an image may leave behind while caches of libraries still fill; after some 50 images it is under 200."""
LOOKS = f"""
import gc, sys, tracemalloc
from inr_xai.cli import do
from inr_xai.runner import Runner

store, held = Runner._store, {{}}

def store_and_look(runner, *arguments):
    store(runner, *arguments)
    if runner.state.images_done == 1:
        gc.freeze()  # so that looking for cycles costs little
        tracemalloc.start()
    if runner.state.images_done in ({FIRST}, {LAST}):
        gc.collect()
        held[runner.state.images_done] = tracemalloc.get_traced_memory()[0]

Runner._store = store_and_look
status = do(sys.argv[1:])
print((held[{LAST}] - held[{FIRST}]) / ({LAST} - {FIRST}))
sys.exit(status)
"""
"""A program that explains images as ours does, and prints how many bytes an image leaves in the process."""


@pytest.mark.slow
def test_an_image_leaves_next_to_nothing_in_memory(tmp_path: Path) -> None:
    options = [*TINY, f"data.size={LAST}", "areas=[0.2]", "explanations=1", "out=run"]
    ended = process(*options, folder=tmp_path, program=LOOKS)  # alone, as types are checked here
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout.split()[-1]) < MOST


def test_what_is_concluded_is_told_from_one_look_and_changes_with_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = itertools.count(), StoredImages._look
    monkeypatch.setattr(StoredImages, "_look", lambda images: (next(looks), look(images))[1])
    cfg, folder = configured("report=false"), RunFolder(tmp_path)
    told = [what_is_concluded(cfg, folder)]
    for sample_id in ("a", "b"):
        folder.commit(record(sample_id))
        file = folder.masks_file(sample_id)
        os.utime(file, ns=(10**9, 10**9))  # as of a file system that knows whole seconds alone
        told.append(what_is_concluded(cfg, folder))
    with file.open("ab") as stream:
        stream.write(b"more")
    os.utime(file, ns=(10**9, 10**9))
    told.append(what_is_concluded(cfg, folder))
    os.utime(file, ns=(2 * 10**9, 2 * 10**9))
    told.append(what_is_concluded(cfg, folder))
    (tmp_path / "failures.csv").write_text("image_id,reason\nc,it is broken\n")
    told.append(what_is_concluded(cfg, folder))
    assert next(looks) == len(told)
    told += [what_is_concluded(configured("report=true"), folder)]
    assert len(set(told)) == len(told)
    assert what_is_concluded(configured("report=true", "steps=7"), folder) == told[-1]
