"""The line: jobs are worked on one at a time, in the order in which they came."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from inr_xai.app.job import WatchedJob
from inr_xai.errors import UserError, in_python
from inr_xai.runs.loop import is_unexpected, reason_of

MOST_WAITING = 16
"""Jobs that may wait."""
STOPPED = "stopped before the first explanation had ended, so there is nothing to show"
log = logging.getLogger(__name__)


class Line:
    """A thread that works on jobs, and those that wait for it. Whoever joins again leaves his earlier place.

    Args:
        work: does a job, and returns its answer.
        most: how many may wait.
    """

    def __init__(self, work: Callable[[WatchedJob], Any], most: int = MOST_WAITING):
        self._work, self._most = work, most
        self._jobs: list[WatchedJob] = []  # the first one is worked on
        self._changed, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="inr-xai app", daemon=True)
        self._thread.start()

    def join(self, job: WatchedJob) -> None:
        """Puts a job at the end. Raises UserError if too many wait."""
        self.stop(job.owner)
        with self._changed:
            if len(self._jobs) > self._most:
                raise UserError(f"{self._most} others wait already; try again in a few minutes")
            self._jobs.append(job)
            self._changed.notify_all()

    def place(self, job: WatchedJob) -> int:
        """Returns how many jobs come before this one; 0 if it is worked on, or has ended."""
        with self._changed:
            return self._jobs.index(job) if job in self._jobs else 0

    def stop(self, owner: str, *, leaves: bool = False) -> None:
        """Stops the job of an owner, wherever it is; if he leaves, nobody waits for what had ended."""
        with self._changed:
            for job in [job for job in self._jobs if job.owner == owner]:
                job.abandoned = job.abandoned or leaves
                job.stop()
                if job is not self._jobs[0]:
                    self._jobs.remove(job)
                    job.stopped = True
                    job.end(error=STOPPED)

    def close(self) -> None:
        """Stops all jobs, and returns when nothing is worked on any more."""
        with self._changed:
            self._closed = True
            owners = {job.owner for job in self._jobs}
            self._changed.notify_all()
        for owner in owners:
            self.stop(owner)
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    return
                job = self._jobs[0]
            self._do(job)
            with self._changed:
                self._jobs.remove(job)

    def _do(self, job: WatchedJob) -> None:
        """Does a job; whatever it raises costs it alone."""
        try:
            job.end(self._work(job))
        except Exception as error:  # a classifier may raise anything
            if job.stopped and not job.has_fitted and isinstance(error, UserError):
                job.end(error=STOPPED)
                return
            log.warning(
                "%s is not explained: %s", job.question.photo.name, reason_of(error), exc_info=is_unexpected(error)
            )
            job.end(error=in_python(reason_of(error)))
