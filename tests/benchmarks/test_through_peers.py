"""The tests of other packages on our maps and on Grad-CAM's: the program measures the demo with each of them."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inr_xai import INRAttribution
from inr_xai.integrations import SHARED_ID
from tests.conftest import pictures, tiny_network
from tests.helpers.scripts import script_module

PACKAGES = ("captum", "quantus", "pytorch_grad_cam")


@pytest.mark.slow
def test_every_test_gives_a_row_for_each_method(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for package in PACKAGES:
        pytest.importorskip(package)
    program = script_module("through_peers")
    monkeypatch.chdir(tmp_path)
    options = ["--steps", "2", "--samples", "1", "--write", "data.size=2", "trainer.accelerator=cpu"]
    assert program.main(options) == 0
    header, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert header == "| test | package | method | images | mean | seconds |"
    cells = [line.strip("| ").split(" | ") for line in lines]
    assert [(test, method) for test, _, method, *_ in cells] == [
        (test, method) for test in program.TESTS for method in ("ours", "Grad-CAM")
    ]
    assert {images for *_, images, _, _ in cells} == {"2"}
    rows = list(csv.DictReader((tmp_path / program.FOLDER / "values.csv").read_text().splitlines()))
    assert [(row["test"], row["method"]) for row in rows] == [(test, method) for test, _, method, *_ in cells]
    assert (tmp_path / program.FOLDER / "values.md").read_text().splitlines()[2:] == lines


@pytest.mark.slow
def test_both_methods_are_those_that_users_call() -> None:
    for package in PACKAGES:
        pytest.importorskip(package)
    program = script_module("through_peers")
    network, images, targets = tiny_network().eval(), pictures(2), torch.tensor([1, 3])
    layer = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    inputs = program.Inputs(network, layer, images, targets, None, steps=2, samples=1)
    ours = program.methods(inputs)["ours"]
    expected = INRAttribution(network, steps=2).importance(images, target=[1, 3], image_ids=[SHARED_ID] * 2)
    torch.testing.assert_close(ours.attribute(images, target=targets)[:, :1], expected)
    np.testing.assert_allclose(ours.explain(network, images.numpy(), targets.numpy()), expected.numpy(), atol=1e-6)
    cam = program.methods(inputs)["Grad-CAM"]
    assert cam.attribute((images,), target=targets)[0].shape == images.shape
    assert cam.explain(network, images.numpy(), targets.numpy()).shape == (2, 1, 24, 24)
    assert program.measure("RelevanceRankAccuracy", inputs) == []  # without objects


def test_an_unknown_test_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert script_module("through_peers").main(["--tests", "rod"]) == 2
    assert "--tests has rod; choose of sensitivity_max" in capsys.readouterr().err


def test_images_without_a_value_do_not_count() -> None:
    program = script_module("through_peers")
    row = program.row_of("MPRT", "quantus", "ours", torch.tensor([0.25, float("nan"), 0.75], dtype=torch.float64), 1.0)
    assert (row["images"], row["mean"]) == (2, 0.5)
    nothing = program.row_of("MPRT", "quantus", "ours", torch.tensor([float("nan")], dtype=torch.float64), 1.0)
    assert nothing["images"] == 0
    assert "mean_low" not in nothing
