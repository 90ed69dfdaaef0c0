"""What the comparison keeps: per method a small CSV of rows to publish, and beside it the maps, for rescoring.

Every file is written aside and renamed into place, photo by photo, so that an interrupted comparison loses one photo.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from inr_xai.compare.methods.base import Maps
from inr_xai.compare.scorer import SCORES, Row
from inr_xai.runs.files import format_csv, write_bytes

COLUMNS = ("image_id", "target", "area", *SCORES, "layer", "settings", "failed")
START = r"(?:~|[A-Za-z]:)?[/\\]"  # of an absolute path
QUOTED = re.compile(rf"(['\"]){START}(?:[^'\"]*[/\\])?")
BARE = re.compile(rf"(?<![\w.'\"]){START}(?:[^\s'\"]*[/\\])?(?=[^\s/\\])")
SUFFIX = "@wrong"
"""Of the name under which the wrong-target control of a method is stored."""
PARTS = ("free", "first", "other")
Table = dict[str, list[dict[str, str]]]


class Rows:
    """The rows of each method in `folder`/<method>.csv, several for one photo: one an area, or one that failed."""

    def __init__(self, folder: Path):
        self.folder = folder

    def file(self, method: str) -> Path:
        return self.folder / f"{method}.csv"

    def methods(self) -> list[str]:
        """All that have rows, in alphabetical order."""
        return sorted(file.stem for file in self.folder.glob("*.csv"))

    def read(self, method: str) -> Table:
        """Rows of text by photo; empty where there are none."""
        found: Table = {}
        if self.file(method).is_file():
            with self.file(method).open(newline="") as stream:
                for row in csv.DictReader(stream):
                    found.setdefault(row["image_id"], []).append(row)
        return found

    def has(self, method: str, image_id: str, *, settings: str, areas: int) -> bool:
        """Whether the photo is scored under these settings; one that failed is tried again."""
        rows = self.read(method).get(image_id, [])
        return len(rows) == areas and all(row["settings"] == settings and not row["failed"] for row in rows)

    def write(self, method: str, image_id: str, rows: Sequence[Mapping[str, Any]], *, settings: str) -> None:
        """Puts a photo's rows in the place of those it had."""
        table = self.read(method)
        table[image_id] = [{name: cell(row.get(name)) for name in COLUMNS} | {"settings": settings} for row in rows]
        lines = [row for name in sorted(table) for row in table[name]]
        write_bytes(self.file(method), format_csv(lines, COLUMNS).encode())

    def fail(self, method: str, image_id: str, reason: str, *, settings: str) -> None:
        """One row that says why the photo has no scores."""
        self.write(method, image_id, [{"image_id": image_id, "failed": without_paths(reason)}], settings=settings)


@dataclass(frozen=True)
class Stored:
    """Maps with the class that they explain and the settings under which they came to be."""

    maps: Maps
    target: int
    settings: str


class MapCache:
    """The maps of each method and photo, in `folder`/<method>/<image_id>.safetensors.

    Masks are float16, as those of a run are. A heatmap is float32: it has one value per pixel to rank by, and in half
    precision many pixels would tie.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def file(self, method: str, image_id: str) -> Path:
        return self.folder / method / f"{image_id.replace('/', '__')}.safetensors"

    def read(self, method: str, image_id: str, *, target: int, settings: str) -> Maps | None:
        """The maps, also where another method made the same; None where they are of another class or settings."""
        own = self.file(method, image_id)
        others = sorted(folder / own.name for folder in self.folder.iterdir()) if self.folder.is_dir() else []
        for file in (own, *others):
            stored = _open(file)
            if stored is not None and (stored.target, stored.settings) == (target, settings):
                return stored.maps
        return None

    def write(self, method: str, image_id: str, stored: Stored) -> Maps:
        """Stores maps and returns them as they are stored, so that rescoring gives the same numbers."""
        maps = stored.maps
        tensors = {"maps": maps.maps.to(torch.float16) if maps.per_area else maps.maps.to(torch.float32)}
        tensors |= {name: value for name in PARTS if (value := getattr(maps, name)) is not None}
        facts = {
            "target": stored.target,
            "settings": stored.settings,
            "seconds": maps.seconds,
            "passes": maps.passes,
            "draws": maps.draws,
            "layer": maps.layer,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        file = self.file(method, image_id)
        write_bytes(file, safetensors.torch.save(tensors, metadata={"inr_xai": json.dumps(facts)}))
        again = _open(file)
        assert again is not None
        return again.maps


def _open(file: Path) -> Stored | None:
    """None where there is no such file, or none that can be read: then the maps are made again."""
    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            facts = json.loads(opened.metadata()["inr_xai"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is no mapping
        maps = Maps(
            tensors["maps"],
            passes=facts["passes"],
            seconds=facts["seconds"],
            draws=facts["draws"],
            layer=facts["layer"],
            **{name: tensors.get(name) for name in PARTS},
        )
        return Stored(maps, target=facts["target"], settings=facts["settings"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        return None


def without_paths(text: str) -> str:
    """A sentence for a file that is published: absolute paths lose their folders, lines become one.

    >>> without_paths("cannot read '/home/me/my photos/a.jpg' (no file)")
    "cannot read 'a.jpg' (no file)"
    """
    return BARE.sub("", QUOTED.sub(r"\1", " ".join(text.split())))


def cell(value: Any) -> str:
    """Text as it is, numbers with five significant digits, NaN as an empty cell."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def numbers(rows: Sequence[Row]) -> list[dict[str, float]]:
    """The columns of numbers of rows of text, NaN where a cell is empty."""
    return [{name: float(row[name] or "nan") for name in ("area", *SCORES)} for row in rows]
