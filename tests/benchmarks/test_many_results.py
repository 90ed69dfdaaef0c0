"""The program that measures runs of many results, on a few: its parts work, and it makes a run that is right."""

import argparse
import os
import runpy
from pathlib import Path

import pytest

from inr_xai.runs.check_files import FileCheck
from inr_xai.runs.folder import RunFolder
from tests.helpers.runs import ROOT, table

IMAGES = 150


@pytest.mark.slow
@pytest.mark.parametrize("store", ["image", "shard"])
def test_a_run_of_many_results_is_made_ended_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setattr("os.fsync", os.fsync)  # the program switches it off, and the test on again
    program = runpy.run_path(str(ROOT / "benchmarks" / "many_results.py"))
    args = argparse.Namespace(folder=tmp_path, images=IMAGES, explanations=3, store=[store])
    program["make"](tmp_path, args)
    for part in ("end", "load", "rows", "continue", "status", "merge", "rebuild"):
        figures = program["measured"](program["PARTS"][part], args)
        assert set(figures) == {"seconds", "processor", "megabytes"}
        assert figures["megabytes"] < 100
    assert (len(table(tmp_path)), len(table(tmp_path, "curves.csv"))) == (12 * IMAGES, 60 * IMAGES)
    assert RunFolder(tmp_path).read_summary()["images"] == IMAGES
    assert FileCheck(tmp_path).faults() == []
