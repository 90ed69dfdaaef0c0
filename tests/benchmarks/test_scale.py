"""The programs that measure how runs grow: a sample of each, and the page that is reckoned from stored rates."""

import json

import pytest

from tests.helpers.scripts import script_module


def test_the_page_says_what_the_reports_say() -> None:
    program = script_module("scale_plan")
    page = program.PAGE.read_text()
    assert program.with_table(page) == page
    cell = {"model": "vit_tiny", "photos_per_second": 0.5}
    slow = {"model": "vit_tiny", "photos_per_second": 0.1}
    report = {"device": "NVIDIA X", "threads": 8, "precision": "bf16-mixed", "cells": [slow, cell]}
    # 50,000 photos x 3 explanations / .5 a second = 83.3 hours, and 15 s for the start.
    assert program.hours(report, "vit_tiny") == ["ViT-Tiny", "NVIDIA X, bf16-mixed", "6.0", "83", "10", "1"]
    assert program.hours(report, "resnet50") is None


@pytest.mark.slow
def test_two_processes_and_the_quarters_of_a_run_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    program = script_module("scale")
    assert program.main(["--quick", "--images", "8"]) == 0
    shared, flat = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (shared["part"], shared["images"], len(shared["megabytes"]["2"])) == ("processes", 8, 2)
    assert shared["speed_up"] > 0
    assert (flat["part"], flat["images"], len(flat["images_per_second"])) == ("flat", 8, 4)
