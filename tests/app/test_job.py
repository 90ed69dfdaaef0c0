"""A job: its masks are those of `explain`, they are seen while they form, and a stop keeps what had ended."""

from pathlib import Path

import pytest
import torch

from inr_xai import explain
from inr_xai.app import job as module
from inr_xai.app.desk import Desk
from inr_xai.app.job import Snapshot, WatchedJob
from inr_xai.app.question import question_of
from inr_xai.errors import UserError
from tests.app.conftest import fields_of


class Seen(WatchedJob):
    """A job that keeps every snapshot, and is stopped after some of them."""

    def __init__(self, *arguments: object, after: int | None = None):
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.all: list[Snapshot] = []
        self.after = after

    def show(self, snapshot: Snapshot) -> None:
        super().show(snapshot)
        self.all.append(snapshot)
        if len(self.all) == self.after:
            self.stop()


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows every step."""
    monkeypatch.setattr(module, "EVERY", 0.0)


@pytest.mark.slow
def test_its_masks_are_those_of_explain_and_form_step_by_step(desk: Desk, photo: Path) -> None:
    question = question_of(fields_of(photo), desk.classifiers, desk.method)
    job = Seen(question)
    explanation = job.explain()
    options = {"areas": (0.1, 0.3), "explanations": 2, "steps": 6, "progress": False}
    same = explain(desk.classifiers["tiny"], photo, **options)
    assert torch.equal(explanation.masks, same.masks)
    assert (explanation.name, explanation.target, explanation.rows) == ("a photo", same.target, same.rows)
    places = [(snapshot.explanation, snapshot.step) for snapshot in job.all]
    assert places == [(k, step) for k in (1, 2) for step in range(1, 7)]
    assert [snapshot.share for snapshot in job.all] == pytest.approx([step / 12 for step in range(1, 13)])
    assert job.all[-1].seconds_left == 0 < job.all[0].seconds_left
    assert {tuple(snapshot.pictures) for snapshot in job.all} == {(0.1, 0.3)}
    assert job.all[0].pictures != job.all[5].pictures
    assert sorted(job.snapshots) == [1, 2]


@pytest.mark.parametrize(("after", "kept"), [(6, 1), (8, 1), (10, 1), (11, 2)])
@pytest.mark.slow
def test_a_stop_keeps_what_had_ended(desk: Desk, photo: Path, after: int, kept: int) -> None:
    """Also a stop at the last step of an explanation, or while it gets its scores."""
    job = Seen(question_of(fields_of(photo), desk.classifiers, desk.method), after=after)
    explanation = job.explain()
    assert len(explanation.masks) == kept
    assert job.stopped == (kept < 2)
    assert len(job.all) == (after if kept < 2 else 12)


def test_a_stop_before_anything_has_ended(desk: Desk, photo: Path) -> None:
    job = Seen(question_of(fields_of(photo), desk.classifiers, desk.method), after=3)
    with pytest.raises(UserError, match="stopped before its first explanation"):
        job.explain()
    assert job.stopped
