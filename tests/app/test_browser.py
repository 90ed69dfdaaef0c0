"""The whole program with a real browser: a photo is dropped, masks form, a stop, downloads, refusals, two users.

It needs Gradio (extra app), Playwright and Debian's Chromium.
"""

import io
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from inr_xai import load_explanation
from inr_xai.app.photo import MOST_BYTES
from tests.helpers.browser import opened_browser
from tests.helpers.runs import PROGRAM, ROOT

MISSING = [name for name in ("gradio", "playwright") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
SECONDS = 60_000
"""Milliseconds that are waited for something to appear."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from opened_browser()


@pytest.fixture(scope="module")
def address(browser: Any) -> Iterator[str]:
    """The address of the program, which ends by a signal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROGRAM, "app", "--port", str(port), "steps=120", "areas=[0.1,0.2]", "threads=1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "http_proxy": "http://127.0.0.1:9"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as program:
        assert program.stderr is not None
        printed = ""
        for _ in range(120):
            if select.select([program.stderr], [], [], 1)[0]:
                printed += program.stderr.readline()
            if "The page is at" in printed or program.poll() is not None:
                break
        assert f"The page is at http://127.0.0.1:{port}/; Ctrl-C ends it.\n" in printed, printed
        yield f"http://127.0.0.1:{port}/"
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=30) == 130
        assert "interrupted (SIGINT)" in program.stderr.read()


@pytest.fixture
def open_page(address: str, browser: Any) -> Iterator[Callable[[], Any]]:
    """Opens the page for a new user. At the end, no page has asked another server, or met an error of a script."""
    asked: list[str] = []
    errors: list[str] = []
    contexts: list[Any] = []

    def opened() -> Any:
        contexts.append(browser.new_context(accept_downloads=True))
        page = contexts[-1].new_page()
        page.set_default_timeout(SECONDS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
        page.goto(address)
        page.wait_for_selector("#scenes button")
        return page

    yield opened
    for context in contexts:
        context.close()
    hosts = {urlsplit(url).netloc for url in asked if urlsplit(url).scheme not in ("data", "blob", "about")}
    assert hosts == {urlsplit(address).netloc}
    assert errors == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((320, 240)).save(tmp_path / "my photo.jpg")
    return tmp_path / "my photo.jpg"


def drop(page: Any, file: Path) -> None:
    """Drops a file, as if the mouse had carried it there."""
    data = file.read_bytes()
    transfer = page.evaluate_handle(
        "([bytes, name]) => { const transfer = new DataTransfer();"
        " transfer.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/jpeg' })); return transfer; }",
        [list(data), file.name],
    )
    target = page.locator("#photo button").first
    target.dispatch_event("dragenter", {"dataTransfer": transfer})
    target.dispatch_event("drop", {"dataTransfer": transfer})


def wait_for(page: Any, pattern: str, place: str = "#state") -> str:
    """Returns what the page says when it matches."""
    words = page.locator(place).filter(has_text=re.compile(pattern))
    words.wait_for()
    return str(words.inner_text())


def write_areas(page: Any, text: str) -> None:
    """Writes into the field of the areas, again if Gradio, which has just opened its fold, puts back what it held."""
    field = page.locator("#areas input, #areas textarea")
    for _ in range(5):
        field.fill(text)
        page.wait_for_timeout(300)
        if field.input_value() == text:
            return
    raise AssertionError(f"the field of the areas holds {field.input_value()!r} and not {text!r}")


def number_of_rows(page: Any) -> int:
    """How many explanations have pictures."""
    return int(page.locator("#state .inr-row").count())


def test_a_photo_is_dropped_a_class_is_chosen_and_masks_come(
    open_page: Callable[[], Any], photo: Path, tmp_path: Path
) -> None:
    page = open_page()
    drop(page, photo)
    assert "these 96 \u00d7 96 pixels" in wait_for(page, "The classifier sees", "#sight")
    assert page.locator("#sight tr").count() == 5
    field = page.locator("#class input")
    assert ", p = 0." in field.input_value() or ", p = 1." in field.input_value()
    field.fill("ring on honeycomb")
    field.press("Enter")
    page.locator("#explain").click()
    wait_for(page, r"Explanation 1 of 2 forms: step \d+ of 120, about \d+ s left\.")
    first = page.locator("#state img").first.get_attribute("src")
    page.wait_for_function("(before) => document.querySelector('#state img').src !== before", arg=first)
    assert page.locator("#stop").is_enabled()
    assert page.locator("#explain").is_disabled()
    wait_for(page, "Done: below stands what was found")
    assert number_of_rows(page) == 2
    assert page.locator("#stop").is_disabled()
    frame = page.frame_locator("iframe.inr-answer")
    assert "ring on honeycomb" in frame.locator("#classes").inner_text()
    assert frame.locator("#panels canvas").first.is_visible()
    before = frame.locator("#area-text").inner_text()
    frame.locator("#area").press("ArrowRight")
    assert frame.locator("#area-text").inner_text() != before
    frame_height = page.locator("iframe.inr-answer").bounding_box()["height"]
    assert frame_height == pytest.approx(frame.locator("body").bounding_box()["height"], abs=40)

    files = {}
    for label in ("Masks (PNG)", "Masks (safetensors)", "Figure (PNG)", "Figure (PDF)"):
        with page.expect_download() as download:
            page.get_by_text(label, exact=True).click()
        files[label] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[label])
    explanation = load_explanation(files["Masks (safetensors)"])
    assert (explanation.target_name, explanation.areas, len(explanation.masks)) == ("ring on honeycomb", [0.1, 0.2], 2)
    with zipfile.ZipFile(files["Masks (PNG)"]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("k2_a0.2.png")]
        stored = np.asarray(Image.open(io.BytesIO(archive.read(name))))
    assert np.abs(stored - 255 * explanation.masks[1, 1].numpy().astype(float)).max() <= 0.5
    assert files["Figure (PNG)"].read_bytes().startswith(b"\x89PNG")
    assert files["Figure (PDF)"].read_bytes().startswith(b"%PDF")


def test_a_stop_keeps_the_explanation_that_had_ended(open_page: Callable[[], Any]) -> None:
    page = open_page()
    page.locator("#scenes button").nth(2).click()
    wait_for(page, "The classifier sees", "#sight")
    page.locator("#explain").click()
    wait_for(page, "Explanation 2 of 2 forms: step")
    page.locator("#stop").click()
    wait_for(page, "It was stopped, and what had ended until then is kept")
    assert number_of_rows(page) == 1
    assert page.frame_locator("iframe.inr-answer").locator("#explanations input").count() == 1

    page.locator("#explain").click()
    wait_for(page, "Explanation 1 of 2 forms: step")
    page.locator("#stop").click()
    wait_for(page, "Stopped before the first explanation had ended, so there is nothing to show.")
    assert page.locator("iframe.inr-answer").count() == 0
    assert page.locator("#explain").is_enabled()


def test_what_cannot_be_done_is_a_sentence_in_the_page(open_page: Callable[[], Any], tmp_path: Path) -> None:
    page = open_page()
    page.locator("#explain").click()
    wait_for(page, "There is no photo yet; drop one, or take an example.")
    hostile = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    hostile.write_text("no photo")
    drop(page, hostile)
    wait_for(page, r"cannot be read as a photo \(.*\); drop another one\.", "#sight")
    assert page.locator("#sight img").count() == 0
    page.locator("#scenes button").first.click()
    wait_for(page, "The classifier sees", "#sight")
    page.locator("#more button").first.click()
    for areas, sentence in (("2", r"Areas must lie in \(0, 1\)"), ("0.7", "0.7"), ("much", "Areas must be numbers")):
        write_areas(page, areas)
        page.locator("#explain").click()
        wait_for(page, sentence)
    write_areas(page, "0.1")
    page.locator("#class input").fill("unicorn on clouds")
    page.locator("#class input").press("Enter")
    page.locator("#explain").click()
    wait_for(page, "Class 'unicorn on clouds' is the name of no class; did you mean")


def test_a_file_that_is_too_large_is_refused(open_page: Callable[[], Any], tmp_path: Path) -> None:
    page = open_page()
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(MOST_BYTES + 1))
    page.locator("#photo input[type=file]").set_input_files(large)
    words = page.get_by_text(re.compile("exceed", re.I)).first
    words.wait_for()
    assert "exceed" in words.inner_text().lower()
    assert page.locator("#sight img").count() == 0


def test_a_second_user_is_told_his_place_and_gets_his_turn(open_page: Callable[[], Any]) -> None:
    first, second, third = open_page(), open_page(), open_page()
    for page in (first, second, third):
        page.locator("#scenes button").first.click()
        wait_for(page, "The classifier sees", "#sight")
        page.locator("#explain").click()
        wait_for(page, "Explanation 1 of 2 forms" if page is first else "You are number . in the line")
    wait_for(third, "You are number 3 in the line: 2 other photos are explained before yours.")
    second.close()  # who closes the page leaves the line
    wait_for(third, "You are number 2 in the line: one other photo is explained before yours.")
    first.close()  # and ends his work
    begun = time.monotonic()
    wait_for(third, "Explanation 1 of 2 forms")
    assert time.monotonic() - begun < 20
    third.locator("#stop").click()
    wait_for(third, "Stopped before the first explanation had ended")
