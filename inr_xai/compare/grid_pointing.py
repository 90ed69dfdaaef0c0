"""The grid pointing game between methods: how much of each map lies in the cell that shows the class.

Boehle, Fritz, Schiele, CVPR 2021; Rao, Boehle, Schiele, CVPR 2022. From one fit of ours several maps may be read.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.comparison import MapMaker
from inr_xai.compare.methods.base import Explainer, Maps
from inr_xai.compare.methods.ours import Fit
from inr_xai.compare.store import Rows, cell, without_paths
from inr_xai.compare.tables import Line, spread
from inr_xai.data.mosaic import Grid
from inr_xai.digests import digest
from inr_xai.errors import UserError
from inr_xai.metrics.localisation.grid_pointing import grid_pointing_game
from inr_xai.metrics.statistics.bootstrap import Interval, mean_interval, paired_difference
from inr_xai.runs.files import format_csv, write_bytes
from inr_xai.runs.folder import RunFolder, SampleRecord
from inr_xai.runs.load import Explained, describe_drawing
from inr_xai.types import Row, Sample

COLUMNS = ("image_id", "target", "gridpg", "seconds", "passes", "layer", "settings", "failed")
VERSION = 1  # counts the changes of what is scored
log = logging.getLogger(__name__)

Reading = Callable[[Explained], Float[Tensor, "h w"]]
"""A fitted explanation -> one map of it."""


def readings(areas: Sequence[float]) -> dict[str, Reading]:
    """What is read from a fit, by the ending of its name: the importance map, the mean of the masks, and each mask.

    A reading that is changed needs another name, by which it is known to be new.

    >>> list(readings((0.04, 0.1)))
    ['', '_mean', '_a0.04', '_a0.1']
    """
    each: dict[str, Reading] = {f"_a{area:g}": partial(Explained.mask, area=area) for area in areas}
    return {"": Explained.importance, "_mean": lambda fitted: fitted.masks[0].float().mean(0)} | each


class Player(ABC):
    """What takes part in the game, under one name or, with several maps of one computation, under several."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Of its maps."""

    @property
    @abstractmethod
    def settings(self) -> str:
        """Short hash of everything that the maps depend on but the mosaic."""

    @abstractmethod
    def maps(self, sample: Sample) -> Mapping[str, Maps]:
        """By name. Of several masks it is their sum that plays; of several draws, each, and the mean counts."""


class Single(Player):
    """A method of the comparison, with the maps that are stored of it."""

    def __init__(self, name: str, explainer: Explainer, *, maker: MapMaker):
        self._name, self._explainer, self._maker = name, explainer, maker

    @property
    def names(self) -> Sequence[str]:
        return (self._name,)

    @property
    def settings(self) -> str:
        return self._maker.settings(self._explainer)

    def maps(self, sample: Sample) -> Mapping[str, Maps]:
        assert sample.target is not None
        made = self._maker.maps(self._name, self._explainer, sample.image, sample.target, sample.sample_id)
        return {self._name: made}


class Readings(Player):
    """A fit of ours, stored with its network, so that other maps can be read from it without another fit.

    Args:
        read: by the ending of their names.
        folder: where fits are stored.
        facts: what fits depend on beside the method: the classifier, and which mosaics these are; plain values.
    """

    def __init__(
        self, name: str, fit: Fit, *, read: Mapping[str, Reading], folder: RunFolder, facts: Mapping[str, object]
    ):
        self._fit, self._folder = fit, folder
        self._read = {name + ending: reading for ending, reading in read.items()}
        self._settings = digest({"method": fit.settings, "facts": facts})

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._read)

    @property
    def settings(self) -> str:
        return self._settings

    def maps(self, sample: Sample) -> Mapping[str, Maps]:
        record = self._stored(sample)
        if record is None:
            self._folder.commit(self._fitted(sample))
            record = self._folder.read(sample.sample_id)
        fitted, passes = Explained(record), float(self._fit.method.passes)
        return {
            name: Maps(reading(fitted)[None], passes=passes, seconds=record.seconds)
            for name, reading in self._read.items()
        }

    def _stored(self, sample: Sample) -> SampleRecord | None:
        if not self._folder.masks_file(sample.sample_id).exists():
            return None
        record = self._folder.read(sample.sample_id)
        same = (record.target, record.extra["settings"]) == (sample.target, self.settings)
        return record if same else None

    def _fitted(self, sample: Sample) -> SampleRecord:
        assert sample.target is not None
        method = self._fit.method
        fitted, seconds = self._fit.run(sample.image, sample.target, sample.sample_id)
        return SampleRecord(
            sample_id=sample.sample_id,
            target=sample.target,
            frame=sample.frame,
            areas=list(method.areas),
            masks=fitted.masks[0],
            inrs=fitted.networks[0],
            losses=fitted.losses[0],
            rows=[],
            drawing=describe_drawing(method),
            seconds=seconds,
            extra={"settings": self.settings},
        )


def play(grid: Grid, classifier: FrozenClassifier, players: Sequence[Player], *, rows: Rows) -> int:
    """Scores every player on every mosaic, and says how often one failed. What has rows is left as it is."""
    ids, failures = grid.ids[:: grid.every][: grid.limit], 0
    for position, sample_id in enumerate(ids):
        waiting = [player for player in players if not _done(player, sample_id, rows)]
        if waiting:
            log.info("mosaic %d of %d, %s", position + 1, len(ids), sample_id)
            try:
                sample = grid.load(sample_id, classifier.preprocessing)
            except Exception as error:  # a photo that cannot be read costs its mosaics alone
                for player in waiting:
                    _fail(player, sample_id, grid, rows, error)
                failures += len(waiting)
            else:
                failures += sum(not _played(player, sample, grid, rows) for player in waiting)
    return failures


def share_in_cell(maps: Maps, place: int, *, side: int) -> float:
    """The share of a method's map in one cell."""
    played = heatmaps(maps)
    places = torch.full((len(played),), place, device=played.device)
    return float(grid_pointing_game(played, places, side=side).mean())


def heatmaps(maps: Maps) -> Float[Tensor, "q h w"]:
    """What is read as importance: a heatmap as it is, the sum of several masks, or each of several draws."""
    return maps.maps if maps.draws else maps.maps.float().sum(0, keepdim=True)


def table(rows: Rows, *, first: str) -> list[Line]:
    """A line per method, the best first; `difference` is its share less that of the method `first`.

    The mosaic is what is drawn with replacement: its cells are averaged before, where several are explained.

    Raises:
        UserError: there are no results at all.
    """
    methods = rows.methods()
    if not methods:
        raise UserError(f"{rows.folder} holds no results; play without --table first")
    shares = {name: _by_mosaic(rows, name) for name in methods}
    lines = [_line(rows, name, shares[name], shares.get(first, {}), alone=name == first) for name in methods]
    return sorted((line for line in lines if line["mosaics"]), key=lambda line: -line["gridpg"])


def _done(player: Player, sample_id: str, rows: Rows) -> bool:
    return all(rows.has(name, sample_id, settings=_row_settings(player), areas=1) for name in player.names)


def _row_settings(player: Player) -> str:
    return digest({"maps": player.settings, "version": VERSION})


def _played(player: Player, sample: Sample, grid: Grid, rows: Rows) -> bool:
    """Whether the player has a share of this mosaic now; why not is noted in its rows."""
    facts = _facts(player, sample.sample_id, grid)
    try:
        for name, maps in player.maps(sample).items():
            share = share_in_cell(maps, grid.cells[sample.sample_id].place, side=grid.side)
            cost = {"seconds": maps.seconds, "passes": maps.passes, "layer": maps.layer}
            _write(rows, name, facts | {"gridpg": share} | cost)
            log.info("  %s: %.3f in its cell, %.1f s", name, share, maps.seconds)
    except Exception as error:  # whatever another package raises costs this method this mosaic alone
        _fail(player, sample.sample_id, grid, rows, error)
        return False
    return True


def _fail(player: Player, sample_id: str, grid: Grid, rows: Rows, error: Exception) -> None:
    """Notes why the player has no share of this mosaic."""
    expected = isinstance(error, UserError | OSError)
    log.warning("%s failed: %s", player.names[0], error, exc_info=None if expected else error)
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    for name in player.names:
        _write(rows, name, _facts(player, sample_id, grid) | {"failed": without_paths(reason)})


def _facts(player: Player, sample_id: str, grid: Grid) -> Row:
    cell = grid.cells[sample_id]
    target = grid.photos[cell.photos[cell.place]]
    return {"image_id": sample_id, "target": target, "settings": _row_settings(player)}


def _write(rows: Rows, name: str, row: Row) -> None:
    """Puts the row in the place of the one that its mosaic had."""
    told = rows.read(name) | {row["image_id"]: [{column: cell(row.get(column)) for column in COLUMNS}]}
    lines = [line for image_id in sorted(told) for line in told[image_id]]
    write_bytes(rows.file(name), format_csv(lines, COLUMNS).encode())


def _by_mosaic(rows: Rows, name: str) -> dict[str, float]:
    """The mean share over the cells of each mosaic."""
    found: dict[str, list[float]] = {}
    for image_id, (row,) in sorted(rows.read(name).items()):
        if not row["failed"]:
            found.setdefault(image_id.partition("@")[0], []).append(float(row["gridpg"]))
    return {mosaic: math.fsum(values) / len(values) for mosaic, values in found.items()}


def _line(rows: Rows, name: str, shares: Mapping[str, float], first: Mapping[str, float], *, alone: bool) -> Line:
    """A method's line; the difference is over the mosaics that both have."""
    lines = [row for some in rows.read(name).values() for row in some]
    scored = [row for row in lines if not row["failed"]]
    line: Line = {"method": name, "mosaics": len(shares), "failed": len(lines) - len(scored)}
    if not shares:
        return line
    line |= spread("gridpg", mean_interval(torch.tensor(list(shares.values()), dtype=torch.float64)))
    shared = [] if alone else sorted(shares.keys() & first.keys())
    pairs = torch.tensor([[shares[mosaic], first[mosaic]] for mosaic in shared], dtype=torch.float64)
    line |= spread("difference", paired_difference(*pairs.T) if shared else Interval(*[math.nan] * 3))
    for column in ("seconds", "passes"):
        line[column] = math.fsum(float(row[column]) for row in scored) / len(scored)
    return line
