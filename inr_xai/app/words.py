"""What the page says and shows of a job, as HTML: its place in the line, the masks that form, a refusal."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from inr_xai.app.job import Snapshot, WatchedJob, jpeg_of

ENTITIES = {ord(sign): f"&#{ord(sign)};" for sign in "&\"'<>{}$`"}
"""Signs that mean something in an attribute of HTML, or in a template of the page."""


def refusal(reason: str) -> str:
    """Returns the sentence of something that cannot be done."""
    return f'<p class="inr-refusal" role="alert">{_text(_sentence(reason))}</p>'


def hint(text: str) -> str:
    """Returns what is to be done next."""
    return f'<p class="inr-hint">{_text(text)}</p>'


def scene_buttons(examples: Sequence[tuple[Path, str]]) -> str:
    """Returns a button for each drawn scene, with its number and its picture.

    Args:
        examples: the file of each, and what it shows.
    """
    buttons = []
    for index, (path, kind) in enumerate(examples):
        with Image.open(path) as picture:
            shown = f'<img alt="{_text(kind)}" title="{_text(kind)}" src="{_data(jpeg_of(picture))}">'
        buttons.append(f'<button type="button" data-index="{index}">{shown}</button>')
    return f'<p class="inr-hint">or take a drawn scene:</p><div class="inr-scenes">{"".join(buttons)}</div>'


def state_of(job: WatchedJob, place: int) -> str:
    """Returns how far a job is that has not ended.

    Args:
        place: how many jobs come before it.
    """
    if place:
        others = "one other photo is" if place == 1 else f"{place} other photos are"
        return f'<p role="status">You are number {place + 1} in the line: {others} explained before yours.</p>'
    if not job.snapshots:
        return '<p role="status">The classifier looks at the photo.</p>'
    last = job.snapshots[max(job.snapshots)]
    words = "It stops at the next step." if job.is_stopping else progress_words(last)
    bar = f'<progress max="1" value="{last.share:.3f}" aria-label="part of the steps that is done"></progress>'
    return f"<p>{words}</p>{bar}{_rows(job)}"


def progress_words(snapshot: Snapshot) -> str:
    """Returns how far the masks have come."""
    left = round(snapshot.seconds_left)
    time = f"{left // 60}:{left % 60:02d} minutes" if left >= 60 else f"{left} s"
    if snapshot.step == snapshot.steps:
        rest = f"; about {time} are left" if snapshot.explanation < snapshot.explanations else ""
        return f"Explanation {snapshot.explanation} of {snapshot.explanations} is fitted and gets its scores{rest}."
    return (
        f"Explanation {snapshot.explanation} of {snapshot.explanations} forms: step {snapshot.step} of "
        f"{snapshot.steps}, about {time} left."
    )


def end_of(job: WatchedJob) -> str:
    """Returns how a job has ended."""
    if job.answer is None:
        return hint(_sentence(job.error or "")) if job.stopped else refusal(job.error or "")
    kept = "It was stopped, and what had ended until then is kept" if job.stopped else "Done"
    below = "below stands what was found, and what may not be concluded from it."
    return f'<p role="status">{kept}: {below}</p>{_rows(job, job.answer.explanations)}'


def seen(picture: Image.Image, likely: Sequence[tuple[int, str, float]]) -> str:
    """Returns the classifier's input and the classes that it finds most likely.

    Args:
        picture: the input.
        likely: index, name and probability of each.
    """
    width, height = picture.size
    lines = "".join(
        f'<tr><td>{_text(name)}</td><td><meter min="0" max="1" value="{p:.3f}"></meter></td><td>{p:.2f}</td></tr>'
        for _, name, p in likely
    )
    table = f"<table><tbody>{lines}</tbody></table>" if likely else "<p>It gives scores of no classes.</p>"
    caption = f"The classifier sees these {height} &times; {width} pixels, and says:"
    shown = f'<img alt="the classifier\'s input" src="{_data(jpeg_of(picture))}">'
    return f'<div class="inr-seen">{shown}<div><p>{caption}</p>{table}</div></div>'


def framed(page: str, title: str) -> str:
    """Returns a whole page in a frame, whose height the page around it can read.

    The page's own policy lets no script run but its own.
    """
    return f'<iframe class="inr-answer" title="{_attribute(title)}" srcdoc="{_attribute(page)}"></iframe>'


def _rows(job: WatchedJob, most: int | None = None) -> str:
    """Returns a row of pictures for each explanation that has begun, or for the first ones."""
    rows = []
    for k, snapshot in sorted(job.snapshots.items())[:most]:
        pictures = "".join(
            f'<figure><img alt="explanation {k} at {100 * area:.3g} %" src="{_data(picture)}">'
            f"<figcaption>{100 * area:.3g} %</figcaption></figure>"
            for area, picture in snapshot.pictures.items()
        )
        rows.append(f'<div class="inr-row"><span>{k}</span>{pictures}</div>')
    return f'<div class="inr-rows">{"".join(rows)}</div>'


def _data(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _attribute(text: str) -> str:
    """Returns a text for an attribute of HTML that goes through Gradio's templates."""
    return text.translate(ENTITIES)


def _text(words: str) -> str:
    return escape(words).translate({ord(sign): f"&#{ord(sign)};" for sign in "{}$`"})


def _sentence(words: str) -> str:
    """Returns words with the capital letter and the full stop of a sentence.

    >>> _sentence("no photo yet")
    'No photo yet.'
    """
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith(('.', '?', '!')) else '.'}"
