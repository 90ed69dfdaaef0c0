"""The grid pointing game between methods: shares, stored fits and what is made of them, and the table."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.grid_pointing import (
    FitMaps,
    Participant,
    make_game_table,
    maps_of_fit,
    mosaic_rows,
    run_game,
    share_in_cell,
)
from inr_xai.compare.methods.base import MethodMaps
from inr_xai.compare.methods.ours import MaskFitter
from inr_xai.data import Synthetic
from inr_xai.data.mosaic import Grid
from inr_xai.errors import UserError
from inr_xai.method import Method
from inr_xai.metrics.statistics.bootstrap import mean_interval, paired_difference
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.load import Explained
from inr_xai.types import Preprocessing, Sample

SOURCE = Synthetic(size=16)
PHOTOS = {name: index % 5 for index, name in enumerate(SOURCE.ids)}


def share(heatmap: np.ndarray, place: int, side: int = 2) -> float:
    """The share in one cell, pixel by pixel."""
    height, width = heatmap.shape[0] // side, heatmap.shape[1] // side
    inside = total = 0.0
    for (y, x), value in np.ndenumerate(heatmap.astype(np.float64)):
        total += max(value, 0)
        inside += max(value, 0) * (y // height * side + x // width == place)
    return inside / total


class FixedMap(Participant):
    """Has the same map for every mosaic, and counts how often it was called."""

    def __init__(self, name: str, heatmap: torch.Tensor, settings: str = "a"):
        self._name, self._heatmap, self._settings, self.calls = name, heatmap, settings, 0

    @property
    def names(self) -> Sequence[str]:
        return (self._name,)

    @property
    def accepted_settings(self) -> Sequence[str]:
        return (self._settings,)

    def maps(self, sample: Sample) -> Mapping[str, MethodMaps]:
        self.calls += 1
        return {self._name: MethodMaps(self._heatmap, passes=2.0, seconds=0.5)}


def lines(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_masks_are_summed_and_draws_averaged() -> None:
    maps = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0)) ** 4
    shares = [share(heatmap.numpy(), 1) for heatmap in maps]
    cost = {"passes": 0.0, "seconds": 0.0}
    draws, masks = MethodMaps(maps, **cost, draws=True), MethodMaps(maps, **cost)
    assert share_in_cell(draws, 1, side=2) == pytest.approx(np.mean(shares), abs=1e-6)
    assert share_in_cell(masks, 1, side=2) == pytest.approx(share(maps.sum(0).numpy(), 1), abs=1e-6)
    assert share_in_cell(MethodMaps(maps[:1] - 0.1, **cost), 2, side=2) == pytest.approx(
        share(maps[0].numpy() - 0.1, 2), abs=1e-6
    )


def test_what_is_scored_is_not_computed_again_and_what_failed_is(tiny: FrozenClassifier, tmp_path: Path) -> None:
    rows, heatmap = mosaic_rows(tmp_path), torch.arange(48.0 * 48).reshape(1, 48, 48)
    good, bad = FixedMap("good", heatmap), FixedMap("bad", heatmap * torch.nan)
    assert run_game(Grid(SOURCE, PHOTOS, count=2), tiny, [good, bad], rows=rows) == 2
    grid = Grid(SOURCE, PHOTOS, count=3)
    assert run_game(grid, tiny, [good, bad], rows=rows) == 3
    assert (good.calls, bad.calls) == (3, 5)
    for row in lines(tmp_path / "good.csv"):
        cell = grid.cells[row["image_id"]]
        assert int(row["target"]) == PHOTOS[cell.photos[cell.place]]
        assert float(row["gridpg"]) == pytest.approx(share(heatmap[0].numpy(), cell.place), rel=1e-4)
    assert all("leave out the images that failed" in row["failed"] for row in lines(tmp_path / "bad.csv"))
    changed = FixedMap("good", heatmap, settings="b")
    assert run_game(grid, tiny, [changed], rows=rows) == 0
    assert changed.calls == 3
    (row,) = make_game_table(rows, first="bad")
    assert (row["method"], row["mosaics"], row["failed"], row["passes"]) == ("good", 3, 0, 2.0)
    assert np.isnan(row["difference"])


def test_the_table_draws_mosaics_and_pairs_them(tmp_path: Path) -> None:
    shares = {
        "ours": {"m0@0": 0.9, "m0@2": 0.5, "m1@1": 0.6, "m2@3": 0.8},
        "other": {"m0@0": 0.3, "m0@2": 0.3, "m1@1": 0.5, "m3@3": 0.1},
    }
    for name, values in shares.items():
        rows = [f"{image_id},0,{value},1,2,,s," for image_id, value in values.items()]
        head = "image_id,target,gridpg,seconds,passes,layer,settings,failed"
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    ours, other = make_game_table(mosaic_rows(tmp_path), first="ours")
    expected = mean_interval(torch.tensor([0.7, 0.6, 0.8], dtype=torch.float64))
    assert (ours["method"], ours["mosaics"]) == ("ours", 3)
    assert (ours["gridpg"], ours["gridpg_low"], ours["gridpg_high"]) == pytest.approx(expected)
    assert np.isnan(ours["difference"])
    paired = paired_difference(torch.tensor([0.3, 0.5]).double(), torch.tensor([0.7, 0.6]).double())
    assert other["gridpg"] == pytest.approx((0.3 + 0.5 + 0.1) / 3)
    difference = (other["difference"], other["difference_low"], other["difference_high"])
    assert difference == pytest.approx(paired, abs=1e-7)
    with pytest.raises(UserError, match="holds no results"):
        make_game_table(mosaic_rows(tmp_path / "none"), first="ours")


def test_one_fit_gives_every_map_also_those_added_later(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas, grid = (0.1, 0.25), Grid(SOURCE, PHOTOS, count=1)
    sample = grid.load(grid.ids[0], tiny.preprocessing)
    place = grid.cells[grid.ids[0]].place
    fitter = MaskFitter(Method(areas=areas, steps=2), tiny, device=torch.device("cpu"))
    folder, rows = RunFolder(tmp_path / "fits"), mosaic_rows(tmp_path / "rows")
    participant = FitMaps("inr", fitter, maps=maps_of_fit(areas), folder=folder, facts={})
    assert run_game(grid, tiny, [participant], rows=rows) == 0
    record = folder.read(sample.sample_id)
    expected = {
        "inr": Explained(record).importance(),
        "inr_mean": record.masks[0].float().mean(0),
        "inr_a0.1": record.masks[0, 0],
        "inr_a0.25": record.masks[0, 1],
    }
    assert rows.methods() == sorted(expected)
    for name, heatmap in expected.items():
        (row,) = lines(tmp_path / "rows" / f"{name}.csv")
        assert float(row["gridpg"]) == pytest.approx(share(heatmap.numpy(), place), abs=1e-3)
    monkeypatch.setattr(fitter, "fit", None)  # a second fit would fail
    more = maps_of_fit(areas) | {"_sixth": lambda fitted: fitted.mask(1 / 6)}
    later = FitMaps("inr", fitter, maps=more, folder=folder, facts={})
    sixth = later.maps(sample)["inr_sixth"].maps
    assert float(sixth.mean()) == pytest.approx(1 / 6, abs=1e-3)
    with pytest.raises(TypeError):
        FitMaps("inr", fitter, maps=more, folder=folder, facts={"classifier": "other"}).maps(sample)


def test_fits_and_rows_of_the_time_when_segmentations_were_in_the_settings_are_used(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas, grid = (0.1, 0.25), Grid(SOURCE, PHOTOS, count=1)
    fitter = MaskFitter(Method(areas=areas, steps=2), tiny, device=torch.device("cpu"))
    folder, rows = RunFolder(tmp_path / "fits"), mosaic_rows(tmp_path / "rows")

    def participant(data: Mapping[str, object], endings: int) -> FitMaps:
        maps = dict(list(maps_of_fit(areas).items())[:endings])
        return FitMaps("inr", fitter, maps=maps, folder=folder, facts={"data": data})

    assert run_game(grid, tiny, [participant({"classes": None, "segmentations": None}, 1)], rows=rows) == 0
    before = lines(tmp_path / "rows" / "inr.csv")
    monkeypatch.setattr(fitter, "fit", None)  # a second fit would fail
    now = participant({"classes": None}, 2)
    assert run_game(grid, tiny, [participant({"classes": None}, 1)], rows=rows) == 0
    assert lines(tmp_path / "rows" / "inr.csv") == before
    assert run_game(grid, tiny, [now], rows=rows) == 0
    (row,) = lines(tmp_path / "rows" / "inr_mean.csv")
    assert row["settings"] == now.accepted_row_settings[0] != before[0]["settings"]
    assert run_game(grid, tiny, [participant({"classes": "other"}, 1)], rows=rows) == 1


def test_a_photo_that_cannot_be_read_costs_its_mosaics_alone(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, load = Grid(SOURCE, PHOTOS, count=3), Grid.load
    lost = grid.ids[1]

    def load_others(self: Grid, sample_id: str, preprocessing: Preprocessing) -> Sample:
        if sample_id == lost:
            raise UserError("cannot read '/photos/a.jpg'")
        return load(self, sample_id, preprocessing)

    monkeypatch.setattr(Grid, "load", load_others)
    rows, heatmap = mosaic_rows(tmp_path), torch.arange(48.0 * 48).reshape(1, 48, 48)
    names = ("first", "second")
    assert run_game(grid, tiny, [FixedMap(name, heatmap) for name in names], rows=rows) == 2
    for name in names:
        stored = {row["image_id"]: row for row in lines(tmp_path / f"{name}.csv")}
        assert [key for key in grid.ids if stored[key]["gridpg"]] == [key for key in grid.ids if key != lost]
        assert stored[lost]["failed"] == "cannot read 'a.jpg'"
        assert int(stored[lost]["target"]) == grid.photos[grid.cells[lost].photos[grid.cells[lost].place]]
