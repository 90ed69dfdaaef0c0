"""The grid pointing game between methods: how much of each map lies in the cell that shows the class.

Boehle, Fritz, Schiele, CVPR 2021; Rao, Boehle, Schiele, CVPR 2022. One fit of ours gives several maps.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.comparison import MapMaker, accepted_digests
from inr_xai.compare.methods.base import Explainer, MethodMaps
from inr_xai.compare.methods.ours import MaskFitter
from inr_xai.compare.store import RowStore
from inr_xai.data.mosaic import Grid, mosaic_of
from inr_xai.digests import digest
from inr_xai.errors import UserError
from inr_xai.metrics.localisation.grid_pointing import grid_pointing_game
from inr_xai.metrics.statistics.bootstrap import Interval, interval_columns, mean_interval, paired_difference
from inr_xai.runner import sample_plan
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.load import Explained, describe_drawing
from inr_xai.runs.loop import each_image, each_part
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Row, Sample

COLUMNS = ("image_id", "target", "gridpg", "seconds", "passes", "layer", "settings", "failed")
VERSION = 1  # counts the changes of scoring
log = logging.getLogger(__name__)

MapOfFit = Callable[[Explained], Float[Tensor, "h w"]]
"""Makes one map of a fitted explanation."""


def maps_of_fit(areas: Sequence[float]) -> dict[str, MapOfFit]:
    """Returns the maps of a fit by the ending of their names: the importance map, the mean of the masks, and each mask.

    Rows are kept by these names, so a map that is computed in another way needs another name.

    >>> list(maps_of_fit((0.04, 0.1)))
    ['', '_mean', '_a0.04', '_a0.1']
    """
    masks: dict[str, MapOfFit] = {f"_a{area:g}": partial(Explained.mask, area=area) for area in areas}
    return {"": Explained.importance, "_mean": lambda fitted: fitted.masks[0].float().mean(0)} | masks


class Participant(ABC):
    """A participant of the game: one method, with one map or with several maps of one computation."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """The names of the participant's maps."""

    @property
    @abstractmethod
    def accepted_settings(self) -> Sequence[str]:
        """Short hashes of everything that the maps depend on except the mosaic, today's first (`accepted_digests`)."""

    @abstractmethod
    def maps(self, sample: Sample) -> Mapping[str, MethodMaps]:
        """Returns the maps of one mosaic, by their names."""

    @property
    def accepted_row_settings(self) -> Sequence[str]:
        """Short hashes of everything that the participant's rows depend on except the mosaic, today's first."""
        return [digest({"maps": maps, "version": VERSION}) for maps in self.accepted_settings]


class SingleMap(Participant):
    """A method of the comparison, with the maps that are stored for it."""

    def __init__(self, name: str, explainer: Explainer, *, maker: MapMaker):
        self._name, self._explainer, self._maker = name, explainer, maker

    @property
    def names(self) -> Sequence[str]:
        return (self._name,)

    @property
    def accepted_settings(self) -> Sequence[str]:
        return self._maker.accepted_settings(self._explainer)

    def maps(self, sample: Sample) -> Mapping[str, MethodMaps]:
        assert sample.target is not None
        maps = self._maker.maps(self._name, self._explainer, sample.image, sample.target, sample.sample_id)
        return {self._name: maps}


class FitMaps(Participant):
    """Several maps of one fit of ours. The fit is stored with its network, so that further maps need no other fit.

    Args:
        maps: the functions that make the maps of a fit, by the ending of the map's name (`maps_of_fit`).
        folder: the run folder in which fits are stored.
        facts: what fits depend on beside the method, as plain values: the classifier, and which mosaics these are.
    """

    def __init__(
        self,
        name: str,
        fitter: MaskFitter,
        *,
        maps: Mapping[str, MapOfFit],
        folder: RunFolder,
        facts: Mapping[str, Any],
    ):
        self._fitter, self._folder = fitter, folder
        self._maps = {name + ending: make for ending, make in maps.items()}
        self._accepted_settings = accepted_digests(fitter.settings, facts)

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._maps)

    @property
    def accepted_settings(self) -> Sequence[str]:
        return self._accepted_settings

    def maps(self, sample: Sample) -> Mapping[str, MethodMaps]:
        record = self._stored(sample)
        if record is None:
            self._folder.masks_file(sample.sample_id).unlink(missing_ok=True)  # a fit with other settings, if any
            self._folder.commit(self._fit(sample))
            record = self._folder.read(sample.sample_id)
        fitted, passes = Explained(record), record.extra.get("passes", self._fitter.method.image_passes())
        return {
            name: MethodMaps(make(fitted)[None], passes=passes, seconds=record.seconds)
            for name, make in self._maps.items()
        }

    def _stored(self, sample: Sample) -> SampleRecord | None:
        """Returns the fit of a mosaic if it is stored with the same class and accepted settings, else None."""
        if self._folder.images.find(sample.sample_id) is None:
            return None
        record = self._folder.read(sample.sample_id)
        same = record.target == sample.target and record.extra["settings"] in self.accepted_settings
        return record if same else None

    def _fit(self, sample: Sample) -> SampleRecord:
        assert sample.target is not None
        method = self._fitter.method
        result, seconds = self._fitter.fit(sample.image, sample.target, sample.sample_id)
        return SampleRecord(
            sample_id=sample.sample_id,
            target=sample.target,
            frame=sample.frame,
            areas=list(method.areas),
            masks=result.masks[0],
            inrs=result.networks[0],
            losses=result.losses[0],
            rows=[],
            drawing=describe_drawing(method),
            seconds=seconds,
            extra={"settings": self.accepted_settings[0], "passes": self._fitter.passes(result)},
        )


def mosaic_rows(folder: Path) -> RowStore:
    """Returns the rows of the game: one for each map and mosaic."""
    return RowStore(folder, COLUMNS)


def run_game(grid: Grid, classifier: FrozenClassifier, participants: Sequence[Participant], *, rows: RowStore) -> int:
    """Scores every participant on every mosaic, and returns how often one failed.

    A mosaic that has rows under the same settings is left as it is.

    Args:
        rows: the store of the shares (`mosaic_rows`).

    Raises:
        UserError: a file of rows is damaged.
    """
    for name in (name for participant in participants for name in participant.names):
        rows.read(name)

    def play_mosaic(sample_id: str, place: str) -> int:
        due = {
            participant.names[0]: participant
            for participant in participants
            if not _has_rows(rows, participant, sample_id)
        }
        if not due:
            return 0
        log.info("%s", place)
        cell = grid.cells[sample_id]
        target = grid.photos[cell.photos[cell.place]]

        def note(participant: str, reason: str) -> None:
            settings = due[participant].accepted_row_settings[0]
            for name in due[participant].names:
                rows.fail(name, sample_id, reason, settings=settings, target=target)

        return each_part(
            sample_id,
            due,
            read=lambda: grid.load(sample_id, classifier.preprocessing),
            work=lambda name, sample: _score(rows, due[name], sample, place=cell.place, side=grid.side),
            note=note,
        )

    failures = each_image(sample_plan(grid), play_mosaic, note=lambda sample_id, reason: None, what="mosaic")
    rows.tidy()
    return failures


def share_in_cell(maps: MethodMaps, place: int, *, side: int) -> float:
    """Returns the share of a method's map in one cell; if there are several heatmaps, the mean of their shares.

    Args:
        place: the place of the cell, counted row by row from 0.
        side: the number of cells of a row and of a column.
    """
    heatmaps = maps.heatmaps
    places = torch.full((len(heatmaps),), place, device=heatmaps.device)
    return float(grid_pointing_game(heatmaps, places, side=side).mean())


def make_game_table(rows: RowStore, *, first: str) -> list[Row]:
    """Returns a row for each map, the best first; `difference` is its share less that of the map `first`.

    The bootstrap draws mosaics: if several cells of a mosaic are explained, their mean counts.

    Raises:
        UserError: there are no results at all.
    """
    names = rows.methods()
    if not names:
        raise UserError(f"{rows.folder} holds no results; play without --table first")
    shares = {name: _share_of_mosaics(rows, name) for name in names}
    lines = [_game_row(rows, name, shares[name], {} if name == first else shares.get(first, {})) for name in names]
    return sorted((line for line in lines if line["mosaics"]), key=lambda line: -line["gridpg"])


def _has_rows(rows: RowStore, participant: Participant, sample_id: str) -> bool:
    accepted = participant.accepted_row_settings
    return all(rows.has(name, sample_id, accepted=accepted, count=1) for name in participant.names)


def _score(rows: RowStore, participant: Participant, sample: Sample, *, place: int, side: int) -> None:
    """Writes the share of each of the participant's maps."""
    for name, maps in participant.maps(sample).items():
        share = share_in_cell(maps, place, side=side)
        row = {"image_id": sample.sample_id, "target": sample.target, "gridpg": share}
        row |= {"seconds": maps.seconds, "passes": maps.passes, "layer": maps.layer}
        rows.write(name, sample.sample_id, [row], settings=participant.accepted_row_settings[0])
        log.info("  %s: %.3f in its cell, %.1f s", name, share, maps.seconds)


def _share_of_mosaics(rows: RowStore, name: str) -> dict[str, float]:
    """Returns the mean share over the cells of each mosaic."""
    shares: dict[str, list[float]] = {}
    for image_id, (row,) in sorted(rows.read(name).items()):
        if not row["failed"]:
            shares.setdefault(mosaic_of(image_id), []).append(float(row["gridpg"]))
    return {mosaic: math.fsum(values) / len(values) for mosaic, values in shares.items()}


def _game_row(rows: RowStore, name: str, shares: Mapping[str, float], others: Mapping[str, float]) -> Row:
    """Returns the row of a map; the difference is over the mosaics of `shares` that `others` has too."""
    lines = [line for of_mosaic in rows.read(name).values() for line in of_mosaic]
    scored = [line for line in lines if not line["failed"]]
    row: Row = {"method": name, "mosaics": len(shares), "failed": len(lines) - len(scored)}
    if not shares:
        return row
    row |= interval_columns("gridpg", mean_interval(torch.tensor(list(shares.values()), dtype=torch.float64)))
    shared = sorted(shares.keys() & others.keys())
    pairs = torch.tensor([[shares[mosaic], others[mosaic]] for mosaic in shared], dtype=torch.float64)
    row |= interval_columns("difference", paired_difference(*pairs.T) if shared else Interval(*[math.nan] * 3))
    for column in ("seconds", "passes"):
        row[column] = math.fsum(float(line[column]) for line in scored) / len(scored)
    return row
