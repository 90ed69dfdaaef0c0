"""What the page shows, one view after another: the fields' first answer, and a job from its place in the line on."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inr_xai.app.answer import DOWNLOADS
from inr_xai.app.desk import Desk
from inr_xai.app.question import Fields
from inr_xai.app.words import end_of, framed, hint, refusal, seen, state_of
from inr_xai.errors import UserError, in_python
from inr_xai.runs.loop import is_unexpected, reason_of

START = "Drop a photo or take a drawn scene; the classifier then says which classes it sees."
EVERY = 1.0
"""Seconds after which a view is made anew at the latest."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """What the page shows of a job. What is None stays as it is.

    Args:
        state: how far it is, HTML.
        answer: its result in a frame, HTML.
        files: for each of DOWNLOADS its file, or None if there is none.
        works: whether it can be stopped.
    """

    state: str
    answer: str | None = None
    files: tuple[Path | None, ...] | None = None
    works: bool = False


NO_FILES = (None,) * len(DOWNLOADS)


def sight_of(desk: Desk, photo: str | None, classifier: str) -> tuple[str, list[tuple[str, str]]]:
    """Returns what a classifier sees of a photo and says of it, as HTML, and the choices of classes."""
    if photo is None:
        return hint(START), []
    try:
        look = desk.look(photo, classifier)
    except Exception as error:  # a classifier may raise anything
        return _refused(error), []
    return seen(look.picture, look.likely), look.choices


def _refused(error: Exception) -> str:
    """Returns why something cannot be done, as HTML; the log has it too if it is no refusal."""
    if isinstance(error, UserError):
        return refusal(str(error))
    log.warning("a question is not answered: %s", reason_of(error), exc_info=is_unexpected(error))
    return refusal(in_python(reason_of(error)))


def views_of(desk: Desk, fields: Fields, owner: str) -> Iterator[View]:
    """Asks what the fields say, and yields a view whenever there is something new to see, until the job has ended."""
    try:
        job = desk.explain(fields, owner)
    except Exception as error:  # as above
        yield View(_refused(error))
        return
    yield View(state_of(job, desk.line.place(job)), "", NO_FILES, works=True)
    while not job.has_ended:
        job.wait(EVERY)
        if not job.has_ended:
            yield View(state_of(job, desk.line.place(job)), works=True)
    if job.answer is None:
        yield View(end_of(job))
        return
    files = tuple(job.answer.files[suffix] for suffix in DOWNLOADS)
    yield View(end_of(job), framed(job.answer.page, job.answer.said), files)
