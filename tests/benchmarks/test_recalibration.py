"""The program of temperatures: planted ones come out per area, and a run is scored with those that were written."""

import math
from pathlib import Path

import pytest
import torch

from inr_xai.runs.files import read_json
from tests.helpers.runs import TINY, allowing, explain
from tests.helpers.scripts import script_module


def test_each_area_has_its_temperature_and_half_of_the_photos_is_held_out() -> None:
    program = script_module("recalibration")
    labels = torch.tensor([0] * 16 + [1] * 4)  # of four photos in five, at even and at odd places
    logits = torch.tensor([2.0, 6.0]).reshape(1, 2, 1, 1) * torch.tensor([1.0, 0.0]).expand(20, 2, 3, -1)
    small, large = program.rows_of_fit(logits, labels, (0.1, 0.4))
    assert small["temperature"] == pytest.approx(2 / math.log(4))
    assert large["temperature"] == pytest.approx(6 / math.log(4))
    least = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert [row["recalibrated"] for row in (small, large)] == pytest.approx([least] * 2)
    assert [row["held_out"] for row in (small, large)] == [10, 10]
    assert least < small["plain"] < large["plain"]


def test_a_classifier_that_is_no_softmax_is_refused_before_any_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert script_module("recalibration").main(["data.size=2", *TINY, "classifier.head=sigmoid"]) == 2
    assert "the temperature is that of a softmax over logits, and the classifier has" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_is_fitted_and_a_run_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, file = script_module("recalibration"), tmp_path / "temperatures.json"
    options = ["areas=[0.1,0.3]", "trainer.accelerator=cpu"]
    assert program.main(["--masks", "2", "--write", str(file), "data.size=8", *options]) == 0
    temperatures = read_json(file)["temperatures"]
    assert list(temperatures) == ["0.1", "0.3"]
    assert capsys.readouterr().out.startswith("| area | temperature | held out | plain | recalibrated |")
    explain(tmp_path / "run", "data.size=2", "steps=2", "explanations=1", *options)
    command = ["--read", str(file), "--run", str(tmp_path / "run")]
    assert allowing(program.main)(command) == 0
    header, _, first, _ = capsys.readouterr().out.strip().splitlines()[-4:]
    assert header == "| area | images | temperature | plain | recalibrated |"
    assert first.split(" | ")[0:2] == ["| 0.100", "2"]
    file.write_text('{"temperatures": {"0.1": 1.0}}')
    assert allowing(program.main)(command) == 2
    assert "there is no temperature of area 0.3; fit with areas=[0.1, 0.3]" in capsys.readouterr().err
