"""The speed of our metrics and Quantus's: the program's table and CSV for two images, and what it refuses."""

import csv
from pathlib import Path

import pytest

from tests.helpers.runs import ROOT, process

PROGRAM = f"import runpy; runpy.run_path({str(ROOT / 'benchmarks' / 'metrics.py')!r}, run_name='__main__')"
HEAD = ["metric", "ours, s", "Quantus, s", "Quantus / ours", "largest difference", "note"]


@pytest.mark.slow
def test_the_table_of_two_metrics(tmp_path: Path) -> None:
    pytest.importorskip("quantus")
    # Quantus's ROAD of images of three channels takes channels of pixels for pixels.
    run = process("--images", "2", "--metrics", "relevance_mass,road", "--write", folder=tmp_path, program=PROGRAM)
    assert run.returncode == 0, run.stderr
    first, empty, *lines = run.stdout.splitlines()
    assert first == "2 images, cpu, threads: 1, time: process_time"
    assert empty == ""
    head, rule, mass, road, total = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert head == HEAD
    assert rule == ["---"] * 6
    assert (mass[0], mass[5], road[0], total[0]) == ("relevance_mass", "the same definition", "road", "total")
    assert float(mass[3]) == pytest.approx(float(mass[2]) / float(mass[1]), rel=0.02)
    assert float(mass[4]) < 1e-6
    assert float(road[1]) > 0
    assert road[2:5] == ["-"] * 3
    assert road[5].startswith("Quantus fails: IndexError")
    assert total[1:] == [*mass[1:4], "-", "1 of 2 metrics"]
    with (tmp_path / "benchmarks" / "results" / "metrics" / "throughput.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["metric"] for row in rows] == ["relevance_mass", "road"]
    assert float(rows[0]["ratio"]) == pytest.approx(float(mass[3]), rel=0.01)
    assert [rows[1][key] for key in ("quantus_s", "ratio", "difference")] == [""] * 3


@pytest.mark.slow
def test_an_unknown_metric_is_refused_with_the_names_of_all(tmp_path: Path) -> None:
    pytest.importorskip("quantus")
    run = process("--metrics", "sparsness", folder=tmp_path, program=PROGRAM)
    assert run.returncode == 2
    assert "--metrics names sparsness; choose some of sparseness, complexity" in run.stderr
    assert "Traceback" not in run.stderr
