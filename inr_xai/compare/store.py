"""The files of a comparison: a small CSV of rows for each method, to publish, and the maps beside it, to score again.

Both are written photo by photo, so that an interrupted comparison loses one photo.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from inr_xai.compare.methods.base import MethodMaps
from inr_xai.compare.scorer import COMPARED_SCORES
from inr_xai.data.names import flat_id_file
from inr_xai.runs.csv_store import CsvStore, TextRow
from inr_xai.runs.files import write_bytes
from inr_xai.types import Row

COLUMNS = ("image_id", "target", "area", *COMPARED_SCORES, "layer", "settings", "failed")
REQUIRED = ("settings", "failed")
SUFFIX = "@wrong"
"""Ends the name under which the wrong-target control of a method is stored."""
MASK_TENSORS = {"free": "free", "first": "first_masks", "other": "other_seed_masks"}
"""Tensor in a file of maps -> field of MethodMaps."""

ROOT = r"(?:~|[A-Za-z]:)?[/\\]"  # how an absolute path begins
QUOTED = re.compile(rf"(['\"]){ROOT}(?:[^'\"]*[/\\])?")
BARE = re.compile(rf"(?<![\w.'\"]){ROOT}(?:[^\s'\"]*[/\\])?(?=[^\s/\\])")


class RowStore:
    """The rows of each method in `folder`/<method>.csv: several rows for one photo, or one that says why it failed.

    Args:
        columns: the columns of every file; the rows of a photo differ in `area` if that is one of them.
    """

    def __init__(self, folder: Path, columns: Sequence[str] = COLUMNS):
        self.folder, self._columns = folder, columns
        self._files: dict[str, CsvStore] = {}

    def methods(self) -> list[str]:
        """Returns the names of all methods that have rows, in alphabetical order."""
        return sorted(file.stem for file in self.folder.glob("*.csv"))

    def read(self, method: str) -> dict[str, list[TextRow]]:
        """Returns the rows of each photo as text; none if the method has no file."""
        if method not in self._files:
            key = [name for name in ("image_id", "area") if name in self._columns]
            self._files[method] = CsvStore(
                self.folder / f"{method}.csv", key=key, first=self._columns, required=REQUIRED
            )
        return self._files[method].groups

    def has(self, method: str, image_id: str, *, accepted: Collection[str], count: int) -> bool:
        """Returns whether the photo has `count` rows under accepted settings; a photo that failed has none."""
        rows = self.read(method).get(image_id, [])
        return len(rows) == count and all(row["settings"] in accepted and not row["failed"] for row in rows)

    def write(self, method: str, image_id: str, rows: Sequence[Row], *, settings: str) -> None:
        """Replaces the rows of a photo."""
        self.read(method)
        cells = [{name: format_cell(row.get(name)) for name in self._columns} | {"settings": settings} for row in rows]
        self._files[method].put(image_id, cells)

    def fail(self, method: str, image_id: str, reason: str, *, settings: str, target: int | None = None) -> None:
        """Replaces the rows of a photo by one that says why it has no scores."""
        row = {"image_id": image_id, "target": target, "failed": without_paths(reason)}
        self.write(method, image_id, [row], settings=settings)

    def tidy(self) -> None:
        """Puts the rows of every file in the order of the photos' ids."""
        for file in self._files.values():
            file.tidy()


@dataclass(frozen=True)
class StoredMaps:
    """Maps with the class that they explain and the settings under which they were made."""

    maps: MethodMaps
    target: int
    settings: str


class MapCache:
    """The maps of each method and photo, in `folder`/<method>/<image_id>.safetensors.

    Masks are stored as float16, as those of a run are. A heatmap is stored as float32: its pixels are ranked, and in
    half precision many of them would tie.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def file(self, method: str, image_id: str) -> Path:
        return flat_id_file(self.folder / method, image_id, ".safetensors")

    def read(self, method: str, image_id: str, *, target: int, accepted: Collection[str]) -> MethodMaps | None:
        """Returns the maps of this class under accepted settings, also those of another method's name; else None."""
        file = self.file(method, image_id)
        same_name = sorted(folder / file.name for folder in self.folder.iterdir()) if self.folder.is_dir() else []
        for candidate in (file, *same_name):
            stored = _read_maps(candidate)
            if stored is not None and stored.target == target and stored.settings in accepted:
                return stored.maps
        return None

    def write(self, method: str, image_id: str, stored: StoredMaps) -> MethodMaps:
        """Stores maps and returns them as a file gives them back, so that scoring again gives the same numbers."""
        maps = stored.maps
        tensors = {"maps": maps.maps.to(torch.float16) if maps.per_area else maps.maps.to(torch.float32)}
        masks = {name: getattr(maps, field) for name, field in MASK_TENSORS.items()}
        tensors |= {name: tensor for name, tensor in masks.items() if tensor is not None}
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
        written = _read_maps(file)
        assert written is not None
        return written.maps


def _read_maps(file: Path) -> StoredMaps | None:
    """Returns the maps of a file; None if there is no such file or it is damaged, so that the maps are made again."""
    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            facts = json.loads(opened.metadata()["inr_xai"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is no mapping
        maps = MethodMaps(
            tensors["maps"],
            passes=facts["passes"],
            seconds=facts["seconds"],
            draws=facts["draws"],
            layer=facts["layer"],
            **{field: tensors.get(name) for name, field in MASK_TENSORS.items()},
        )
        return StoredMaps(maps, target=facts["target"], settings=facts["settings"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        return None


def without_paths(text: str) -> str:
    """Makes a message fit to be published: absolute paths lose their folders, and several lines become one.

    >>> without_paths("cannot read '/home/me/my photos/a.jpg' (no file)")
    "cannot read 'a.jpg' (no file)"
    """
    return BARE.sub("", QUOTED.sub(r"\1", " ".join(text.split())))


def format_cell(value: Any) -> str:
    """Returns the text of a cell: numbers with five significant digits, None and NaN as an empty cell."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def numbers(rows: Sequence[Mapping[str, str]]) -> list[dict[str, float]]:
    """Returns the columns of numbers of rows of text; an empty cell is NaN."""
    return [{name: float(row[name] or "nan") for name in ("area", *COMPARED_SCORES)} for row in rows]
