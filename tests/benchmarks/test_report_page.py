"""What a page costs: the program measures a small one in Chromium, if there is one."""

from pathlib import Path

import pytest

from tests.helpers.browser import CHROMIUM
from tests.helpers.runs import explain
from tests.helpers.scripts import script_module


@pytest.mark.slow
def test_a_page_of_repeated_images_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    base = ["data.size=2", "steps=2", "logger=none", "trainer.accelerator=cpu", "callbacks.figures=null"]
    explain(tmp_path / "run", base=base)
    capsys.readouterr()
    program = script_module("report_page")
    program.main([str(tmp_path / "run"), "--images", "6", "--out", str(tmp_path / "page.html")])
    figures = {line[:32].strip(): float(line[32:]) for line in capsys.readouterr().out.splitlines()}
    assert figures["page, MB"] == pytest.approx((tmp_path / "page.html").stat().st_size / 1e6, abs=0.006)
    assert {f"{use}: longest frame, ms" for use in program.USES} <= set(figures)
    assert (tmp_path / "page.html").read_text().count("a00005/") >= 1
