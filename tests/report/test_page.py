"""What stands in a page: escaped names, no address of a server, every picture once, and the worst image first."""

import base64
import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

from inr_xai.audit.verdict import CONCENTRATED, DISTRIBUTED, NO_CLAIM, SPREAD
from inr_xai.errors import UserError
from inr_xai.report import page_of
from inr_xai.report.content import KEPT
from inr_xai.report.page import VERDICTS, PageRun, page_html
from inr_xai.report.sentences import compared, found, not_concluded
from tests.helpers.report_pages import HOSTILE, blob_of_page, content_of_page, made_up, made_up_page, unpacked


def test_hostile_names_stay_text() -> None:
    entry = made_up(HOSTILE, target=HOSTILE, predicted=HOSTILE, audit={"evidence": HOSTILE, HOSTILE: HOSTILE})
    runs = [PageRun(HOSTILE, [entry], {HOSTILE: HOSTILE})]
    page = page_html(HOSTILE, runs, found=[HOSTILE], not_concluded=[HOSTILE], note=HOSTILE)
    assert HOSTILE not in page
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 2 + 3  # content, script, a photo and two maps
    (image,) = content_of_page(page)["images"]
    assert (image["name"], image["entries"][0]["target"]) == (HOSTILE, HOSTILE)
    assert f"<title>{'&lt;/script&gt;'}" in page


def test_a_page_asks_no_server_and_lets_no_other_script_run() -> None:
    page = made_up_page([made_up("a")])
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<]*", re.sub(r'text/plain">[^<]*', "", page)))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG's elements
    assert not re.search(r"<(?:link|iframe|object|embed|base)\b|@import|\bsrc=|url\(", page)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; img-src data: blob:; ")
    for element in ("style", "script"):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_worst_image_comes_first_and_its_pictures_too() -> None:
    entries = [made_up("good", 0.7, seed=1), made_up("bad", 0.1, seed=2), made_up("middle", 0.4, seed=3)]
    page = made_up_page(entries)
    images = content_of_page(page)["images"]
    assert [image["name"] for image in images] == ["bad", "middle", "good"]
    assert images[1]["entries"][0]["gain"] == pytest.approx(0.4 - 0.1)
    first = images[0]["entries"][0]
    assert [first["photo"], *first["maps"]] == [0, 1, 2]
    assert blob_of_page(page, 0) == entries[1].photo
    assert [blob_of_page(page, place) for place in first["maps"]] == list(entries[1].masks.maps)


def test_runs_stand_side_by_side_and_share_the_photo() -> None:
    first = [made_up("a", seed=1), made_up("b", seed=2)]
    second = [replace(made_up("b", 0.7, seed=3), photo=first[1].photo), made_up("c", seed=4)]
    content = content_of_page(made_up_page(first, second))
    assert content["runs"] == ["first", "second"]
    has = {image["name"]: [entry is not None for entry in image["entries"]] for image in content["images"]}
    assert has == {"a": [True, False], "b": [True, True], "c": [False, True]}
    both = next(image["entries"] for image in content["images"] if image["name"] == "b")
    assert both[0]["photo"] == both[1]["photo"]
    assert both[0]["maps"] != both[1]["maps"]


def test_unknown_numbers_are_null() -> None:
    entry = made_up("a", scores={KEPT: np.array([[np.nan, 0.5], [np.inf, 0.123456]])}, right=None, predicted=None)
    (image,) = content_of_page(made_up_page([entry]))["images"]
    plain = image["entries"][0]
    assert plain["scores"] == {KEPT: [[None, 0.5], [None, 0.1235]]}
    assert (plain["wrong"], plain["gain"]) == (None, None)


def test_an_image_is_wrong_by_its_label_or_else_by_the_explained_class() -> None:
    assert made_up("a", right=False).wrong is True
    assert made_up("a", right=True, target="dog").wrong is False
    assert made_up("a", right=None, target="dog").wrong is True
    assert made_up("a", right=None, predicted=None).wrong is None


def test_the_summary_says_what_was_found() -> None:
    entries = [made_up("a", 0.4), made_up("b", 0.1, right=False), made_up("c", 0.7, right=False)]
    said = " ".join(found(entries))
    assert "3 images, each with up to 2 masks that share no pixel" in said
    assert "at 10 % of the image keeps 50 % of the class's score" in said  # (0.4 + 0.1 + 0.7) / (3 * 0.8)
    assert "random masks of that area keep 12 %" in said
    assert "50 % is left" in said
    assert "Explanation 1 carries more than random masks in 2 of 3 images, explanation 2 carries more" in said
    assert "Two parts" not in said  # explanation 2 keeps a quarter
    assert "The most likely class is the label in 1 of 3 images" in said
    assert "share no pixel" not in " ".join(found([replace(entry, disjoint=False) for entry in entries]))


def test_the_summary_says_what_may_not_be_concluded() -> None:
    entries = [made_up("a", 0.4), made_up("b", 0.1)]
    said = " ".join(not_concluded(entries))
    assert "Here 50 % is left without explanation 1" in said
    assert "the masks of b: they carry no more" in said
    assert "no audit" in said
    assert "2 images are few" in said
    audited = [replace(entry, audit={"evidence": "spread", "where": "both"}) for entry in entries]
    assert "no audit" not in " ".join(not_concluded(audited))
    assert "spread 2" in " ".join(found(audited))
    many = [made_up(f"{place}", 0.4) for place in range(30)]
    assert "few" not in " ".join(not_concluded(many))


def test_evidence_that_stands_twice_is_said_of_strong_explanations_alone() -> None:
    scores = {KEPT: np.array([[0.3, 0.5], [0.1, 0.41]])}
    (twice,) = (sentence for sentence in found([made_up("a", scores=scores)]) if sentence.startswith("Two parts"))
    assert "here" in twice
    assert not [one for one in found([made_up("a", scores=scores, disjoint=False)]) if one.startswith("Two parts")]
    assert not [one for one in found([made_up("a", scores=scores, whole=0.9)]) if one.startswith("Two parts")]
    for second in (False, None):
        weak = made_up("a", scores=scores, carries=(True, second))
        assert not [one for one in found([weak]) if one.startswith("Two parts")]


def test_runs_are_compared_on_the_images_that_both_have() -> None:
    first = {name: made_up(name, kept) for name, kept in (("a", 0.3), ("b", 0.4), ("c", 0.5))}
    better = {name: made_up(name, entry.mean(KEPT) + 0.16) for name, entry in first.items()}
    overlap, said = compared(["one", "two"], [first, better | {"d": made_up("d", 0.1)}])
    assert "At 10 % of the image" in overlap
    assert "IoU of 1.00, a mean over 3 images" in overlap
    assert "two keeps a score of 0.46, that of one 0.30" in said
    assert "+0.16 (95 % interval +0.16 to +0.16 over 3 images)" in said
    same = compared(["one", "two"], [first, first])[-1]
    assert "do not tell them apart" in same
    (none,) = compared(["one", "two"], [first, {"d": made_up("d")}])
    assert "no scores of images" in none


def test_masks_are_compared_by_their_overlap_at_the_middle_area() -> None:
    first, second = made_up("a", seed=1), made_up("a", seed=2, nested=False)
    masks = [unpacked(entry.masks, 1, entry.masks.areas.index(0.1)) for entry in (first, second)]
    iou = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    assert 0 < iou < 1
    assert first.overlap(second) == pytest.approx(iou)
    assert first.overlap(first) == 1
    (image,) = content_of_page(made_up_page([first], [second]))["images"]
    assert image["difference"] == pytest.approx(1 - iou, rel=1e-3)
    other = replace(first, masks=replace(first.masks, size=(17, 16)))  # of a run with another input
    for runs in (([first], [other], [second]), ([first], [second], [other])):
        (image,) = content_of_page(made_up_page(*runs))["images"]
        assert image["difference"] == pytest.approx(1 - iou, rel=1e-3)


def test_every_verdict_of_an_audit_is_explained() -> None:
    assert set(VERDICTS) == {CONCENTRATED, DISTRIBUTED, SPREAD, NO_CLAIM}


def test_a_page_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="explanations is empty"):
        page_of([])
