"""The page of explanations that `inr_xai.explain` returned, or that were loaded, without a run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from inr_xai.errors import UserError
from inr_xai.explanation.explanation import Explanation
from inr_xai.report.content import Entry, entry_of
from inr_xai.report.page import PageRun, page_html
from inr_xai.report.sentences import found, not_concluded


def page_of(explanations: Sequence[Explanation]) -> str:
    """Returns a page of explanations: one HTML file that needs no other, the viewer of `inr-xai report`.

    A single explanation is shown at once, several as a gallery.

    Raises:
        UserError: there is no explanation, or its masks cannot be drawn, see `Explanation.mask`.
    """
    if not explanations:
        raise UserError("explanations is empty; give at least one")
    entries: list[Entry] = []
    seen: Counter[str] = Counter()
    for entry in map(_entry, explanations):  # one photo may be there for several classes
        seen[entry.name] += 1
        times = seen[entry.name]
        entries.append(entry if times == 1 else replace(entry, name=f"{entry.name} ({times})"))
    title = entries[0].name if len(entries) == 1 else f"{len(entries)} explanations"
    return page_html(
        title, [PageRun("explanations", entries)], found=found(entries), not_concluded=not_concluded(entries)
    )


def _entry(explanation: Explanation) -> Entry:
    predicted = None if explanation.predicted is None else explanation.class_name(explanation.predicted)
    return entry_of(
        explanation.record,
        explanation.image,
        explanation.target_name,
        predicted,
        allow_targets=explanation.allow_targets,
    )
