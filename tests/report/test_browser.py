"""The page in a real browser: slider, filters, sorting, switches, keys, runs side by side, hostile names, phones."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inr_xai import load
from inr_xai.figures.pixels import left_out
from inr_xai.report.finished import open_runs, report_of
from inr_xai.report.packing import drawn_areas
from tests.helpers.browser import OpenedPage, opened_browser
from tests.helpers.report_pages import HOSTILE, SIDE, content_of_page, largest_values, made_up, made_up_page, unpacked
from tests.helpers.runs import explain

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.slow
Open = Callable[..., OpenedPage]

ENTRIES = [
    made_up("dogs/good", 0.7, seed=1, target="dog", audit={"evidence": "concentrated", "confidence": "0.9"}),
    made_up("cats/bad", 0.1, seed=2, right=False, predicted="dog"),
    made_up("cats/middle", 0.4, seed=3, nested=False, audit={"evidence": "spread", "shapley_1": "0.2"}),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from opened_browser()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page's text in a tab; at the end nothing must have gone wrong in it, and nothing been asked for."""
    opened: list[OpenedPage] = []

    def open_text(text: str, **options: Any) -> OpenedPage:
        file = tmp_path / f"{len(opened)}.html"
        file.write_text(text)
        opened.append(OpenedPage(browser.new_page(**options), file))
        return opened[-1]

    yield open_text
    for page in opened:
        assert page.complaints == []
        page.tab.close()


def test_at_five_steps_the_mask_is_that_of_the_run(open_page: Open, tmp_path: Path) -> None:
    explain(tmp_path / "run", "data.size=1", "inr.conditioning=none")
    (explained,) = load(tmp_path / "run", ["tests"]).values()
    text = report_of(open_runs([tmp_path / "run"], ["allow_targets=[tests]"]))
    page = open_page(text)
    page.tab.locator("input[value=outline]").check()
    photo = page.pixels("outline").astype(int)
    veiled = (255 * left_out(photo / 255)).round()
    page.tab.locator("input[value=kept]").check()
    areas = content_of_page(text)["tables"][0]
    drawn = [areas.index(round(area, 6)) for area in drawn_areas(explained.areas, 0.3, 24 * 24) if area < 0.3]
    for step in (drawn[3], drawn[12], areas.index(0.1), drawn[-2], areas.index(0.3)):
        page.set_step(step)
        for k in (1, 2):
            boxes = page.tab.locator("#explanations input")
            boxes.nth(k - 1).check()
            boxes.nth(2 - k).uncheck()
            kept, hard = page.pixels("kept"), largest_values(explained.mask(areas[step], explanation=k), areas[step])
            assert np.array_equal(kept[hard], photo[hard])
            assert np.abs(kept[~hard] - veiled[~hard]).max() <= 1
            assert (kept[~hard] != photo[~hard]).any(-1).mean() > 0.98


@pytest.mark.parametrize("nested", [True, False])
def test_the_slider_shows_the_packed_masks(open_page: Open, nested: bool) -> None:
    entry = made_up("a", nested=nested)
    page = open_page(made_up_page([entry]))
    page.tab.locator("input[value=outline]").check()
    photo = page.pixels("outline")
    page.tab.locator("input[value=removed]").check()
    for area in (0.05, 0.1, 0.25, 0.5):
        step = entry.masks.areas.index(area)
        page.set_step(step)
        left = page.pixels("removed")
        assert page.tab.locator("#area-text").inner_text() == f"{100 * area:g} %"
        assert np.array_equal((left == photo).all(-1), ~unpacked(entry.masks, 1, step))


def test_search_filters_and_sorting(open_page: Open) -> None:
    page = open_page(made_up_page(ENTRIES))
    assert page.texts(".card:not([hidden]) strong") == ["cats/bad", "cats/middle", "dogs/good"]
    page.tab.locator("#order").click()
    assert page.texts(".card:not([hidden]) strong") == ["dogs/good", "cats/middle", "cats/bad"]
    page.tab.locator("#sort").select_option(label="name")
    assert page.texts(".card:not([hidden]) strong") == ["cats/bad", "cats/middle", "dogs/good"]
    page.tab.locator("#sort").select_option("0/0/preservation_hard_mean")
    assert page.texts(".card:not([hidden]) strong") == ["cats/bad", "cats/middle", "dogs/good"]
    page.tab.locator("#search").fill("DOG")  # a name, and a prediction
    assert page.texts(".card:not([hidden]) strong") == ["cats/bad", "dogs/good"]
    assert page.tab.locator("#count").inner_text() == "2 of 3 images"
    page.tab.locator("#only-wrong").check()
    assert page.texts(".card:not([hidden]) strong") == ["cats/bad"]
    page.tab.locator("#only-wrong").uncheck()
    page.tab.locator("#search").fill("")
    page.tab.locator("#only-nothing").check()
    assert page.texts(".card:not([hidden]) strong") == ["cats/bad"]
    page.tab.locator("#only-nothing").uncheck()
    page.tab.locator("#verdict").select_option("spread")
    assert page.texts(".card:not([hidden]) strong") == ["cats/middle"]


def test_images_without_a_value_come_last_in_either_order(open_page: Open) -> None:
    entries = [made_up("none", whole=None, scores={}), *ENTRIES[:2]]
    page = open_page(made_up_page(entries))
    assert page.texts(".card:not([hidden]) strong") == ["cats/bad", "dogs/good", "none"]
    page.tab.locator("#order").click()
    assert page.texts(".card:not([hidden]) strong") == ["dogs/good", "cats/bad", "none"]


def test_switches_and_views(open_page: Open) -> None:
    entry = ENTRIES[0]
    page = open_page(made_up_page(ENTRIES))
    page.open_image("dogs/good")
    step = entry.masks.areas.index(0.1)
    masks = [unpacked(entry.masks, k, step) for k in (1, 2)]
    page.tab.locator("input[value=all]").check()
    photo = page.pixels("photo")
    for shown, mask in (
        ((True, False), masks[0]),
        ((True, True), masks[0] | masks[1]),
        ((False, False), masks[0] & False),
    ):
        for box, on in zip(page.tab.locator("#explanations input").all(), shown, strict=True):
            box.set_checked(on)
        kept, removed = page.pixels("kept"), page.pixels("removed")
        assert np.array_equal((kept == photo).all(-1), mask)
        assert np.array_equal((removed == photo).all(-1), ~mask)
        assert np.array_equal(page.pixels("outline"), photo)
        lines = page.tab.locator("figure:has([data-kind=outline]) canvas.lines")
        inked = lines.evaluate("c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)")
        assert inked == any(shown)


def test_numbers_of_an_image(open_page: Open) -> None:
    page = open_page(made_up_page(ENTRIES))
    page.open_image("cats/bad")
    assert page.tab.locator("#classes").inner_text() == "Explained: cat, p 0.80. Predicted: dog, p 0.80."
    assert page.tab.locator("#explanations").inner_text().split("\n")[1].strip() == "1 (no more than chance)"
    cells = page.texts(".panel .scroll:first-of-type tbody td")[:24]
    assert [cells[place : place + 6] for place in range(0, 24, 6)] == [
        ["1", "10 %", "0.10", "0.10", "0.40", "no"],
        ["1", "25 %", "0.10", "0.10", "0.40", "no"],
        ["2", "10 %", "0.20", "0.10", "0.40", "yes"],
        ["2", "25 %", "0.20", "0.10", "0.40", "yes"],
    ]
    page.tab.locator("#back").click()
    page.open_image("cats/middle")
    assert "Verdict: spread" in page.tab.locator(".panel").inner_text()
    assert "explanation 1 0.20" in (page.tab.locator(".shares").get_attribute("aria-label") or "")


def test_keys(open_page: Open) -> None:
    page = open_page(made_up_page(ENTRIES))
    keys, name = page.tab.keyboard, page.tab.locator("#name")
    keys.press("/")
    keys.type("cats/")  # the slash is text in the field
    assert page.texts(".card:not([hidden]) strong") == ["cats/bad", "cats/middle"]
    keys.press("Tab")
    page.tab.locator(".card").first.focus()
    keys.press("ArrowRight")
    keys.press("Enter")
    page.tab.locator(".panel").wait_for()
    assert name.inner_text() == "cats/middle"
    page.settle()
    keys.press("ArrowLeft")
    page.tab.locator("#name", has_text="cats/bad").wait_for()
    page.settle()
    before = page.tab.locator("#area").input_value()
    keys.press("ArrowUp")
    assert int(page.tab.locator("#area").input_value()) == int(before) + 1
    keys.press("2")
    assert page.tab.locator("#explanations input").nth(1).is_checked()
    keys.press("v")
    assert page.tab.locator("input[value=removed]").is_checked()
    keys.press("Escape")
    assert page.tab.locator("#viewer").is_hidden()
    assert page.tab.evaluate("document.activeElement.innerText").startswith("cats/bad")
    keys.press("Escape")
    assert len(page.texts(".card:not([hidden])")) == 3


def test_runs_side_by_side_sorted_by_difference(open_page: Open) -> None:
    other = [replace(made_up("cats/middle", 0.7, seed=9), photo=ENTRIES[2].photo), made_up("dogs/good", 0.6, seed=8)]
    page = open_page(made_up_page(ENTRIES, other, labels=("one", "two")))
    assert page.texts(".card:not([hidden]) strong") == [
        "cats/middle",
        "dogs/good",
        "cats/bad",
    ]  # the last one is in one run alone
    page.open_image("cats/middle")
    assert page.texts(".panel > div:first-child h3") == ["one", "two"]
    page.tab.locator("input[value=removed]").check()
    page.settle()
    for panel, entry in enumerate((ENTRIES[2], other[0])):
        step = int(page.tab.locator("canvas.pixels").nth(panel).get_attribute("data-step") or -1)
        assert entry.masks.areas[step] == 0.1
        page.tab.locator("input[value=outline]").check()
        photo = page.pixels("outline", panel)
        page.tab.locator("input[value=removed]").check()
        left = page.pixels("removed", panel)
        assert np.array_equal((left == photo).all(-1), ~unpacked(entry.masks, 1, step))


def test_a_card_names_the_prediction_that_is_wrong(open_page: Open) -> None:
    wrong = replace(ENTRIES[0], predicted="hedgehog", right=False)
    page = open_page(made_up_page([ENTRIES[0], ENTRIES[2]], [wrong, ENTRIES[2]]))
    assert page.texts(".card .badge") == ["predicted hedgehog"]


def test_a_hostile_name_stays_text(open_page: Open) -> None:
    entry = made_up(HOSTILE, target=HOSTILE, predicted=HOSTILE, right=False, audit={"evidence": HOSTILE})
    page = open_page(made_up_page([entry, *ENTRIES], labels=(HOSTILE,)))
    assert HOSTILE in page.texts(".card:not([hidden]) strong")
    page.tab.locator(".card", has_text="onerror").click()
    page.tab.locator(".panel canvas").first.wait_for()
    assert page.tab.locator("#name").inner_text() == HOSTILE
    assert page.tab.locator("img").count() == 0


def test_a_phone_scrolls_in_one_direction(open_page: Open) -> None:
    long = "a-name-without-a-space-" * 8
    options = {"viewport": {"width": 360, "height": 740}}
    page = open_page(made_up_page([replace(ENTRIES[0], name=long, target=long), *ENTRIES], ENTRIES), **options)
    wider = "document.documentElement.scrollWidth > innerWidth"
    assert not page.tab.evaluate(wider)
    page.open_image(long)
    page.tab.locator("input[value=all]").check()
    page.settle()
    assert not page.tab.evaluate(wider)


def test_a_single_image_is_shown_at_once_and_an_image_without_a_photo_too(open_page: Open) -> None:
    page = open_page(made_up_page([replace(ENTRIES[0], photo=None)]))
    page.tab.locator(".panel canvas").first.wait_for()
    assert page.tab.locator("#gallery").is_hidden()
    page.settle()
    assert "the photo is not at hand" in page.tab.locator("figcaption").first.inner_text()
    assert page.pixels("kept").shape == (SIDE, SIDE, 3)


def test_thumbnails_are_drawn_when_they_come_into_sight(open_page: Open) -> None:
    entries = [made_up(f"{place:03}", seed=place % 3) for place in range(90)]
    page = open_page(made_up_page(entries), viewport={"width": 400, "height": 500})
    page.tab.locator(".card canvas[data-drawn]").first.wait_for()
    assert page.tab.locator(".card").last.locator("canvas[data-drawn]").count() == 0
    page.tab.locator(".card").last.scroll_into_view_if_needed()
    page.tab.locator(".card").last.locator("canvas[data-drawn]").wait_for()


def test_a_broken_picture_costs_its_own_thumbnail_alone(open_page: Open) -> None:
    broken = replace(ENTRIES[1], masks=replace(ENTRIES[1].masks, maps=(b"no picture", b"no picture")))
    page = open_page(made_up_page([broken, *ENTRIES[::2]]))  # the worst comes first
    for card in page.tab.locator(".card").all()[1:]:
        card.locator("canvas[data-drawn]").wait_for()
    assert page.tab.locator(".card").first.locator("canvas[data-drawn]").count() == 0
    page.open_image("dogs/good")
    # The viewer is left before the frame in which the slider's masks are drawn.
    page.tab.locator("#area").evaluate(
        "slider => { slider.dispatchEvent(new Event('input')); document.getElementById('back').click(); }"
    )
    page.settle()
    (complaint,) = page.complaints
    assert "decoded" in complaint
    page.complaints.clear()


def test_every_control_has_a_name(open_page: Open) -> None:
    page = open_page(made_up_page(ENTRIES))
    page.open_image("dogs/good")
    unnamed = page.tab.evaluate(
        "[...document.querySelectorAll('input, select, button, [role=img]')].filter(e => "
        "!(e.labels && e.labels.length) && !e.textContent.trim() && !e.ariaLabel).map(e => e.outerHTML)"
    )
    assert unnamed == []
    assert page.tab.locator("canvas.pixels").get_attribute("aria-label") == (
        "dogs/good, kept: explanation 1 at 10 % of the image"
    )
