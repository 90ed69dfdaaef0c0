"""The page itself: one HTML file with its style, its script and all pictures in it, which asks no server for anything.

The script is the file web/page.js as it is. Names of files and classes come as JSON and as text that is escaped; the
page's own policy lets no other script run, and nothing be loaded.
"""

import base64
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from inr_xai.figures.palette import COLOURS, DARK_EDGE, LIGHT_EDGE, NOTHING
from inr_xai.figures.pixels import CONTRAST, DARK, LIGHT, LUMA
from inr_xai.report.content import CHANCE, KEPT, REMOVED, SEEN_BY_NO_FIT, Entry

NAMES = {
    KEPT: "kept alone",
    CHANCE: "chance",
    SEEN_BY_NO_FIT: "kept alone, unseen fillings",
    REMOVED: "left without it",
}
"""Score -> what the page calls it; the others have the names of their columns."""

VERDICTS = {
    "concentrated": "Explanation 1 restores 80 % or more of what all explanations restore together.",
    "distributed": "Explanation 1 restores less than 80 % of what all explanations restore together.",
    "spread": "Together the explanations neither restore half of the class nor take half of it away.",
    "no claim": "The explanations carry no more than the audit's controls do.",
}
"""Verdict of an audit -> what it says (docs/audit.md)."""


@dataclass(frozen=True)
class PageRun:
    """The images of one run, or of one method's maps, on a page.

    Args:
        label: a short name.
        facts: name -> value, what the page says of the run as a whole.
    """

    label: str
    entries: Sequence[Entry]
    facts: Mapping[str, str] = field(default_factory=dict)


def page_html(
    title: str,
    runs: Sequence[PageRun],
    *,
    found: Sequence[str],
    not_concluded: Sequence[str],
    note: str = "",
) -> str:
    """Returns the page.

    Args:
        found, not_concluded: sentences.
        note: a sentence about what the page leaves out.
    """
    blobs = _Blobs()
    content = _content(runs, blobs)
    style, script = _web("page.css"), _web("page.js")
    return _template().render(
        title=title,
        runs=runs,
        found=found,
        not_concluded=not_concluded,
        note=note,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        content=Markup(_json(content)),
        blobs=blobs.parts,
        images=len(content["images"]),
    )


class _Blobs:
    """The pictures of a page in base64; equal ones stand there once."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._places: dict[bytes, int] = {}

    def add(self, data: bytes | None) -> int | None:
        """Returns the place of a picture."""
        if data is None:
            return None
        if data not in self._places:
            self._places[data] = len(self.parts)
            self.parts.append(base64.b64encode(data).decode())
        return self._places[data]


def _content(runs: Sequence[PageRun], blobs: _Blobs) -> dict[str, Any]:
    """Returns what the script reads: the runs, and all images with the entry of each run, the worst first."""
    by_name = [{entry.name: entry for entry in run.entries} for run in runs]
    names = {name: [run.get(name) for run in by_name] for run in by_name for name in run}
    ordered = sorted(names.items(), key=lambda item: _worst_first(item[1]))
    tables: dict[tuple[float, ...], int] = {}
    images = []
    for name, entries in ordered:  # photos and maps of the first images come first in the file
        plain = [None if entry is None else _plain(entry, blobs, tables) for entry in entries]
        images.append({"name": name, "entries": plain, "difference": _number(_difference(entries))})
    return {
        "runs": [run.label for run in runs],
        "images": images,
        "tables": [[round(area, 6) for area in table] for table in tables],
        "names": NAMES,
        "verdicts": VERDICTS,
        "columns": {"kept": KEPT, "chance": CHANCE, "removed": REMOVED, "unseen": SEEN_BY_NO_FIT},
        "colours": {"explanations": COLOURS, "nothing": NOTHING, "dark": DARK_EDGE, "light": LIGHT_EDGE},
        "veil": {"luma": LUMA, "contrast": CONTRAST, "dark": DARK, "light": LIGHT},
    }


def _worst_first(entries: Sequence[Entry | None]) -> float:
    gains = [entry.gain for entry in entries if entry is not None and not math.isnan(entry.gain)]
    return gains[0] if gains else math.inf


def _difference(entries: Sequence[Entry | None]) -> float:
    """Returns 1 - IoU of the first entry's mask and the one that differs most; NaN if there is none to compare."""
    first, *others = [entry for entry in entries if entry is not None]
    differences = [1 - first.overlap(other) for other in others]
    return max((value for value in differences if not math.isnan(value)), default=math.nan)


def _plain(entry: Entry, blobs: _Blobs, tables: dict[tuple[float, ...], int]) -> dict[str, Any]:
    """Returns an entry as plain values; numbers have four digits, and those that are unknown are null."""
    packed = entry.masks
    return {
        "target": entry.target,
        "predicted": entry.predicted,
        "wrong": entry.wrong,
        "whole": _number(entry.whole),
        "pPredicted": _number(entry.p_predicted),
        "gain": _number(entry.gain),
        "areas": list(entry.areas),
        "carries": list(entry.carries),
        "scores": {name: [[_number(value) for value in row] for row in table] for name, table in entry.scores.items()},
        "audit": {name: value for name, value in entry.audit.items() if name != "sample_id"},
        "metrics": {name: _number(value) for name, value in entry.metrics.items()},
        "photo": blobs.add(entry.photo),
        "kind": packed.kind,
        "table": tables.setdefault(packed.areas, len(tables)),
        "maps": [blobs.add(one) for one in packed.maps],
        "size": list(packed.size),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _json(content: Mapping[str, Any]) -> str:
    """Returns JSON that ends no element it stands in, and starts none."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def _web(name: str) -> str:
    return files("inr_xai.report").joinpath("web", name).read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_web("page.html"))


def _hash(text: str) -> str:
    """Returns the hash by which the page's policy knows its own script and style."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
