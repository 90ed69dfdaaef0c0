"""What the page can ask for: what the classifier says of a photo, and masks of it, which form while others wait."""

import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from inr_xai.app.answer import PageAnswer, answer_of
from inr_xai.app.classifiers import Classifiers, class_choices, most_likely
from inr_xai.app.job import WatchedJob, picture_of_array
from inr_xai.app.line import MOST_WAITING, Line
from inr_xai.app.photo import draw_examples, read_photo
from inr_xai.app.question import Fields, question_of
from inr_xai.figures.pixels import pixels_of
from inr_xai.method import Method


@dataclass(frozen=True)
class Look:
    """What a classifier sees of a photo, and says of it.

    Args:
        picture: its input.
        likely: the most likely classes: index, name and probability.
        choices: what a list of classes shows, and the value of each entry.
    """

    picture: Image.Image
    likely: list[tuple[int, str, float]]
    choices: list[tuple[str, str]]


class Desk:
    """Everything behind the page. Its folder holds uploads, examples and results, and is removed by `close`.

    Args:
        classifiers: those that are offered.
        method: the options of the start, of which the page's fields replace some.
        threads: makes a context in which the threads of the CPU are as the start says.
        most: how many may wait.
    """

    def __init__(
        self,
        classifiers: Classifiers,
        method: Method,
        threads: Callable[[], AbstractContextManager[object]] = nullcontext,
        most: int = MOST_WAITING,
    ):
        self.classifiers, self.method, self._threads = classifiers, method, threads
        self.folder = Path(tempfile.mkdtemp(prefix="inr_xai_app_"))
        self.examples = draw_examples(self._new_folder())
        self._results: dict[str, Path] = {}
        self._writes = threading.Lock()
        self.line = Line(self._work, most)

    def look(self, photo: str | None, classifier: str) -> Look:
        """Asks a classifier what it sees in a photo. Raises UserError if either cannot be read."""
        known = self.classifiers[classifier]
        image = read_photo(photo).input_of(known.preprocessing)
        likely = most_likely(known, image)
        return Look(picture_of_array(pixels_of(image)), likely, class_choices(known, likely))

    def explain(self, fields: Fields, owner: str) -> WatchedJob:
        """Puts a question into the line, in place of the owner's earlier one.

        Raises:
            UserError: it cannot be answered, or too many wait.
        """
        job = WatchedJob(question_of(fields, self.classifiers, self.method), owner)
        self.line.join(job)
        return job

    def leave(self, owner: str) -> None:
        """Stops what an owner waits for, and removes what he got: he has closed the page."""
        self.line.stop(owner, leaves=True)
        with self._writes:
            self._remove_results(owner)

    def close(self) -> None:
        """Stops everything, and removes all files."""
        self.line.close()
        self.classifiers.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _work(self, job: WatchedJob) -> PageAnswer | None:
        """Does a job, and returns its answer; None if its owner left meanwhile, for whom nothing is written."""
        with self._threads():
            explanation = job.explain()
            with self._writes:  # an owner who leaves now waits, and then removes all
                if job.abandoned:
                    return None
                self._remove_results(job.owner)
                self._results[job.owner] = self._new_folder()
                return answer_of(explanation, self._results[job.owner])

    def _remove_results(self, owner: str) -> None:
        folder = self._results.pop(owner, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))
