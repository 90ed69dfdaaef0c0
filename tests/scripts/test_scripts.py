"""The scripts that read finished runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_verify_run_prints_what_a_run_keeps(tmp_path: Path) -> None:
    options = [
        "data.size=2",
        "steps=3",
        "areas=[0.1,0.3]",
        "logger=none",
        "callbacks.figures=null",
        f"out={tmp_path}/run",
    ]
    subprocess.run([sys.executable, str(CHECKOUT / "train.py"), *options], check=True, capture_output=True)
    script = [sys.executable, str(CHECKOUT / "scripts" / "verify_run.py"), f"{tmp_path}/run", "--size", "120"]
    done = subprocess.run(script, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    assert figures["images"] == 2
    for name in ("stored", "rendered", "rendered at 120"):
        assert figures[f"{name}: area error, largest"] < 1e-3
        assert figures[f"{name}: pixels in two hard masks, largest"] == 0
    assert figures["re-rendering, largest difference"] < 1e-3
