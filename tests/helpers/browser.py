"""Chromium for tests of pages: one for all tests of a module, and a fresh page for each."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
READ_PIXELS = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"


class OpenedPage:
    """A page in a tab, and what it complained of.

    Attributes:
        tab: Playwright's page.
        complaints: errors, requests that were made, dialogs that were shown.
    """

    def __init__(self, tab: Any, file: Path):
        self.tab, self.complaints = tab, list[str]()
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        tab.on("requestfailed", lambda request: self.complaints.append(request.url))
        tab.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        tab.goto(file.as_uri())

    def texts(self, selector: str) -> list[str]:
        """Returns the texts of all elements of a selector, also of those that are out of sight."""
        found: list[str] = self.tab.locator(selector).all_text_contents()
        return found

    def pixels(self, kind: str, panel: int = 0) -> np.ndarray:
        """Returns the pixels of a panel's picture of a kind, h x w x 3, once what was asked for is drawn."""
        self.settle()
        canvas = self.tab.locator(".panel").nth(panel).locator(f"canvas.pixels[data-kind={kind}]")
        data = np.array(canvas.evaluate(READ_PIXELS), dtype=np.uint8)
        height, width = (canvas.evaluate(f"c => c.{side}") for side in ("height", "width"))
        assert (data[3::4] == 255).all()
        return data.reshape(height, width, 4)[..., :3]

    def settle(self) -> None:
        """Waits for two frames, in the first of which the page draws."""
        self.tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def open_image(self, name: str) -> None:
        """Opens an image of the gallery by its name."""
        self.tab.locator(".card", has_text=name).first.click()
        self.tab.locator(".panel canvas.pixels").first.wait_for()

    def set_step(self, step: int) -> None:
        """Moves the slider to a step."""
        self.tab.locator("#area").evaluate(
            "(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input')); }", step
        )


def opened_browser() -> Iterator[Any]:
    """Yields Chromium; skips the test if there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=options)
        yield browser
        browser.close()
