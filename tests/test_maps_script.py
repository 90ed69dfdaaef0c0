"""Heatmaps of other methods for a run's images, and from there to their metrics."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inr_xai.evaluate import main as evaluate
from inr_xai.evaluation.rows import Results
from inr_xai.peers.floors import CentredDisc
from tests.runs import ROOT, SHORT, explain, process

PROGRAM = "import sys, runpy; sys.path.insert(0, 'scripts'); runpy.run_path('scripts/maps.py', run_name='__main__')"


@pytest.mark.slow
def test_maps_of_a_run(tmp_path: Path) -> None:
    explain(tmp_path, "data.limit=2", "callbacks.figures=null", base=SHORT)
    ended = process(str(tmp_path), "--methods", "disc,random", "--limit", "1", folder=ROOT, program=PROGRAM)
    assert ended.returncode == 0, ended.stderr
    file = tmp_path / "maps" / "disc" / "00000-disc.npy"
    assert not (tmp_path / "maps" / "disc" / "00001-square.npy").exists()
    wanted = CentredDisc().explain(torch.zeros(3, 96, 96), 0, "").maps[0]
    np.testing.assert_allclose(np.load(file), wanted.numpy())
    before = file.stat().st_mtime_ns
    again = process(str(tmp_path), "--methods", "disc", folder=ROOT, program=PROGRAM)
    assert again.returncode == 0, again.stderr
    assert file.stat().st_mtime_ns == before
    assert evaluate([str(tmp_path), "--maps", str(tmp_path / "maps" / "disc"), "--metrics", "sparseness"]) == 0
    assert len(Results(tmp_path / "evaluation" / "disc.csv").values("sparseness")) == 2
    refused = process(str(tmp_path), "--methods", "inr", folder=ROOT, program=PROGRAM)
    assert refused.returncode == 2
    assert "'inr', which is no method" in refused.stderr
