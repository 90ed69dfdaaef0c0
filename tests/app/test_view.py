"""The views of the page: the sentences of each state, and that names from outside stay text."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inr_xai.app.desk import Desk
from inr_xai.app.job import Snapshot, WatchedJob
from inr_xai.app.question import question_of
from inr_xai.app.view import NO_FILES, START, View, sight_of, views_of
from inr_xai.app.words import end_of, framed, hint, progress_words, refusal, scene_buttons, state_of
from inr_xai.errors import UserError
from tests.app.conftest import fields_of

HOSTILE = "<script>alert(1)</script>${1+1}{{x}}`\"'&"


def test_a_photo_is_seen_with_its_classes_and_a_broken_one_is_a_sentence(desk: Desk, photo: Path) -> None:
    shown, choices = sight_of(desk, str(photo), "tiny")
    assert "these 24 &times; 24 pixels" in shown
    assert shown.count("<tr>") == len(choices) == 5
    assert float(re.findall(r"p = (\S+)", choices[0][0])[0]) >= float(re.findall(r"p = (\S+)", choices[1][0])[0])
    photo.write_text("no photo")
    shown, choices = sight_of(desk, str(photo), "tiny")
    assert re.search(r'role="alert">A photo.png cannot be read as a photo .*; drop another one\.</p>$', shown)
    assert choices == []
    assert sight_of(desk, None, "tiny") == (hint(START), [])


@pytest.mark.parametrize(
    ("error", "words", "traced"),
    [
        (MemoryError(), "The memory is used up", False),
        (RuntimeError("a bug"), "RuntimeError: a bug", True),
        (UserError("no weights"), "No weights.", None),
    ],
)
def test_whatever_a_classifier_raises_is_a_sentence(
    error: Exception, words: str, traced: bool | None, photo: Path, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> Any:
        raise error

    desk.look = desk.explain = fail  # type: ignore[method-assign]
    shown, choices = sight_of(desk, str(photo), "tiny")
    (view,) = views_of(desk, fields_of(photo), "me")
    assert words in shown
    assert choices == []
    assert view == View(shown)
    assert [bool(record.exc_info) for record in caplog.records] == ([] if traced is None else [traced] * 2)


def test_who_leaves_during_the_fit_gets_nothing_written(
    desk: Desk, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = WatchedJob(question_of(fields_of(photo), desk.classifiers, desk.method), "me")
    monkeypatch.setattr(job, "explain", lambda: desk.leave("me"))  # an explanation had ended by then
    before = set(desk.folder.iterdir())
    desk.line.join(job)
    while not job.has_ended:
        job.wait(1)
    assert (job.abandoned, job.answer, job.error) == (True, None, None)
    assert desk._results == {}
    assert set(desk.folder.iterdir()) == before
    desk.leave("me")


@pytest.mark.slow
def test_the_views_of_a_job_lead_to_its_answer(desk: Desk, photo: Path) -> None:
    *before, last = views_of(desk, fields_of(photo), "me")
    assert (before[0].answer, before[0].files, before[0].works) == ("", NO_FILES, True)
    assert all(view.works and view.answer is None for view in before[1:])
    assert any("forms: step" in view.state for view in before)
    assert "Done: below stands what was found" in last.state
    assert last.state.count("<figure>") == 4
    assert not last.works
    assert last.files is not None
    assert all(path is not None and path.is_file() for path in last.files)
    assert last.answer is not None
    assert "What may not be concluded" in unescape(last.answer)
    folder = last.files[0].parent
    list(views_of(desk, fields_of(photo), "me"))
    assert not folder.exists()  # one result for each owner
    desk.leave("me")
    assert desk._results == {}


def test_a_refusal_never_waits(desk: Desk, photo: Path) -> None:
    (view,) = views_of(desk, fields_of(photo, areas="2"), "me")
    assert view == View(refusal("areas must lie in (0, 1), each the fraction of the image that a mask keeps; got 2.0"))
    (view,) = views_of(desk, fields_of(None), "me")
    assert "There is no photo yet; drop one, or take an example." in view.state


def test_each_state_is_a_sentence(desk: Desk, photo: Path) -> None:
    job = WatchedJob(question_of(fields_of(photo), desk.classifiers, desk.method))
    assert "You are number 2 in the line: one other photo is explained before yours." in state_of(job, 1)
    assert "You are number 4 in the line: 3 other photos are explained before yours." in state_of(job, 3)
    assert "The classifier looks at the photo." in state_of(job, 0)
    forming = Snapshot(2, 2, 3, 6, {0.05: b"jpeg"}, 75.2)
    job.show(forming)
    shown = state_of(job, 0)
    assert "Explanation 2 of 2 forms: step 3 of 6, about 1:15 minutes left." in shown
    assert 'value="0.750"' in shown
    assert 'alt="explanation 2 at 5 %"' in shown
    assert progress_words(Snapshot(1, 2, 6, 6, {}, 9)) == (
        "Explanation 1 of 2 is fitted and gets its scores; about 9 s are left."
    )
    assert progress_words(Snapshot(2, 2, 6, 6, {}, 0)) == "Explanation 2 of 2 is fitted and gets its scores."
    job.stop()
    assert "It stops at the next step." in state_of(job, 0)
    job.end(error="the memory is used up")
    assert end_of(job) == refusal("the memory is used up")
    job.stopped = True
    assert end_of(job) == hint("The memory is used up.")


@pytest.mark.parametrize("words", [refusal, hint])
def test_names_from_outside_stay_text(words: object, tmp_path: Path) -> None:
    shown = words(HOSTILE)  # type: ignore[operator]
    assert HOSTILE + "." in unescape(shown) or HOSTILE in unescape(shown)
    assert not {"<script>", "${", "{{", "`"} & {part for part in ("<script>", "${", "{{", "`") if part in shown}
    frame = framed(f"<p>{HOSTILE}</p>", HOSTILE)
    assert frame.count("<") == 2  # the frame's own
    assert unescape(re.findall(r'srcdoc="([^"]*)"', frame)[0]) == f"<p>{HOSTILE}</p>"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert "<script>" not in scene_buttons([(tmp_path / "a.png", HOSTILE)])
