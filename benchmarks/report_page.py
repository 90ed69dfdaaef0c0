"""What a page of many images costs: seconds to write, bytes on the disk, and how a browser copes with it.

    python benchmarks/report_page.py RUN --images 500     the images of a run of 224 x 224 pixels, over and over

Each image of the run is drawn as `inr-xai report` draws it; then it is repeated, shifted and mirrored, until there are
enough, so that no two pictures of the page are equal. In Chromium (with playwright) it measures the time until the
first picture is drawn, and the longest time between two frames while the page is used.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inr_xai.report.content import QUALITY, Entry
from inr_xai.report.finished import entries_of, open_runs
from inr_xai.report.packing import png_of
from inr_xai.report.page import PageRun, page_html

USES = {
    "scroll": "window.scrollBy(0, 60)",
    "search": "(s => { s.value = 'a0'.slice(0, i % 3); s.dispatchEvent(new Event('input')); })"
    "(document.querySelector('#search'))",
    "open": "document.querySelector('.card').click()",
    "slide": "(s => { s.value = 5 * i; s.dispatchEvent(new Event('input')); })(document.querySelector('#area'))",
    "next": "document.querySelector('#next').click()",
}
"""Use of the page -> what is done at each of 60 frames, i counting them; `open` is done once."""
FRAMES = """async (frames) => {
  const act = (i) => { ACTION };
  const times = [];
  let before = performance.now();
  for (let i = 0; i < frames; i += 1) {
    act(i);
    const now = await new Promise(requestAnimationFrame);
    times.push(performance.now() - before);
    before = performance.now();
  }
  times.sort((a, b) => a - b);
  return [times[Math.floor(times.length / 2)], times[times.length - 1]];
}"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("overrides", nargs="*", help="options of the run to change, such as data.root=PATH")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--out", type=Path, help="keep the page in this file")
    args = parser.parse_intermixed_args(arguments)
    (finished,) = open_runs([args.run], args.overrides)
    start = time.monotonic()
    left_out: dict[str, str] = {}
    entries = entries_of(finished, list(finished.run), note=left_out.__setitem__)
    if left_out:
        parser.error(f"masks cannot be drawn: {left_out}")
    say("drawing and packing, s/image", (time.monotonic() - start) / len(entries))
    entries = [varied(entries[place % len(entries)], place) for place in range(args.images)]
    start = time.monotonic()
    page = page_html("benchmark", [PageRun("run", entries)], found=[], not_concluded=[]).encode()
    say("writing the rest, s", time.monotonic() - start)
    say("page, MB", len(page) / 1e6)
    for name, parts in (
        ("photo", [[entry.photo] for entry in entries]),
        ("masks", [entry.masks.maps for entry in entries]),
    ):
        sizes = [4 / 3 * len(part or b"") for pictures in parts for part in pictures]
        say(f"{name}, KB each", sum(sizes) / len(sizes) / 1e3)
    with tempfile.TemporaryDirectory() as folder:
        file = args.out or Path(folder) / "page.html"
        file.write_bytes(page)
        browse(file)


def varied(entry: Entry, place: int) -> Entry:
    """Returns an entry under another name, with its pictures shifted sideways, and every other one mirrored."""
    masks = entry.masks
    maps = [change(np.asarray(Image.open(io.BytesIO(part))), place) for part in masks.maps]
    numbers = [part[..., 0].astype(np.uint16) << 8 | part[..., 1] for part in maps]
    photo = io.BytesIO()
    pixels = change(np.asarray(Image.open(io.BytesIO(entry.photo or b""))), place)
    Image.fromarray(pixels).save(photo, "jpeg", quality=QUALITY)
    packed = replace(masks, maps=tuple(map(png_of, numbers)))
    return replace(entry, name=f"a{place:05}/{entry.name}", masks=packed, photo=photo.getvalue())


def change(pixels: np.ndarray, place: int) -> np.ndarray:
    """Returns a picture, h x w x 3, shifted by a few columns, and mirrored if the place is odd."""
    return np.roll(pixels[:, :: 1 - 2 * (place % 2)], place // 2 % pixels.shape[1], axis=1).copy()


def browse(file: Path) -> None:
    """Uses the page in Chromium, and prints how long it lets one wait."""
    from playwright.sync_api import sync_playwright

    from tests.helpers.browser import CHROMIUM

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=options)
        tab: Any = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.monotonic()
        tab.goto(file.as_uri(), wait_until="commit", timeout=120_000)
        tab.locator(".card canvas[data-drawn]").first.wait_for(timeout=120_000)
        say("first picture after, s", time.monotonic() - start)
        tab.wait_for_load_state("load", timeout=120_000)
        say("whole file read after, s", time.monotonic() - start)
        tab.wait_for_timeout(2000)
        for name, action in USES.items():
            median, longest = tab.evaluate(FRAMES.replace("ACTION", action), 1 if name == "open" else 60)
            say(f"{name}: median frame, ms", median)
            say(f"{name}: longest frame, ms", longest)
            tab.wait_for_timeout(500)
        browser.close()


def say(name: str, value: float) -> None:
    """Prints one figure."""
    sys.stdout.write(f"{name:32} {value:10.2f}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
