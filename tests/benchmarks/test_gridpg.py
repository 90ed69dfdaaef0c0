"""The grid pointing game between methods: shares, stored fits and what is read from them, the table, and the script."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.grid_pointing import Player, Readings, play, readings, share_in_cell, table
from inr_xai.compare.methods.base import Maps
from inr_xai.compare.methods.ours import Fit
from inr_xai.compare.store import Rows
from inr_xai.data import Synthetic
from inr_xai.data.mosaic import Grid
from inr_xai.errors import UserError
from inr_xai.method import Method
from inr_xai.metrics.statistics.bootstrap import mean_interval, paired_difference
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.load import Explained
from inr_xai.types import Preprocessing, Sample
from tests.helpers.runs import ROOT
from tests.helpers.scripts import Script, script_module, script_program

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


class Given(Player):
    """Plays the same map in every mosaic, and counts how often it was asked."""

    def __init__(self, name: str, heatmap: torch.Tensor, settings: str = "a"):
        self._name, self._heatmap, self._settings, self.asked = name, heatmap, settings, 0

    @property
    def names(self) -> Sequence[str]:
        return (self._name,)

    @property
    def settings(self) -> str:
        return self._settings

    def maps(self, sample: Sample) -> Mapping[str, Maps]:
        self.asked += 1
        return {self._name: Maps(self._heatmap, passes=2.0, seconds=0.5)}


def lines(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_masks_are_summed_and_draws_averaged() -> None:
    maps = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0)) ** 4
    each = [share(heatmap.numpy(), 1) for heatmap in maps]
    cost = {"passes": 0.0, "seconds": 0.0}
    assert share_in_cell(Maps(maps, **cost, draws=True), 1, side=2) == pytest.approx(np.mean(each), abs=1e-6)
    assert share_in_cell(Maps(maps, **cost), 1, side=2) == pytest.approx(share(maps.sum(0).numpy(), 1), abs=1e-6)
    assert share_in_cell(Maps(maps[:1] - 0.1, **cost), 2, side=2) == pytest.approx(
        share(maps[0].numpy() - 0.1, 2), abs=1e-6
    )


def test_what_is_scored_is_not_asked_again_and_what_failed_is(tiny: FrozenClassifier, tmp_path: Path) -> None:
    rows, heatmap = Rows(tmp_path), torch.arange(48.0 * 48).reshape(1, 48, 48)
    good, bad = Given("good", heatmap), Given("bad", heatmap * torch.nan)
    assert play(Grid(SOURCE, PHOTOS, count=2), tiny, [good, bad], rows=rows) == 2
    grid = Grid(SOURCE, PHOTOS, count=3)
    assert play(grid, tiny, [good, bad], rows=rows) == 3
    assert (good.asked, bad.asked) == (3, 5)
    for row in lines(tmp_path / "good.csv"):
        cell = grid.cells[row["image_id"]]
        assert int(row["target"]) == PHOTOS[cell.photos[cell.place]]
        assert float(row["gridpg"]) == pytest.approx(share(heatmap[0].numpy(), cell.place), rel=1e-4)
    assert all("leave out the images that failed" in row["failed"] for row in lines(tmp_path / "bad.csv"))
    changed = Given("good", heatmap, settings="b")
    assert play(grid, tiny, [changed], rows=rows) == 0
    assert changed.asked == 3
    (line,) = table(rows, first="bad")
    assert (line["method"], line["mosaics"], line["failed"], line["passes"]) == ("good", 3, 0, 2.0)
    assert np.isnan(line["difference"])


def test_the_table_draws_mosaics_and_pairs_them(tmp_path: Path) -> None:
    shares = {
        "ours": {"m0@0": 0.9, "m0@2": 0.5, "m1@1": 0.6, "m2@3": 0.8},
        "other": {"m0@0": 0.3, "m0@2": 0.3, "m1@1": 0.5, "m3@3": 0.1},
    }
    for name, values in shares.items():
        rows = [f"{image_id},0,{value},1,2,,s," for image_id, value in values.items()]
        head = "image_id,target,gridpg,seconds,passes,layer,settings,failed"
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    ours, other = table(Rows(tmp_path), first="ours")
    expected = mean_interval(torch.tensor([0.7, 0.6, 0.8], dtype=torch.float64))
    assert (ours["method"], ours["mosaics"]) == ("ours", 3)
    assert (ours["gridpg"], ours["gridpg_low"], ours["gridpg_high"]) == pytest.approx(expected)
    assert np.isnan(ours["difference"])
    both = paired_difference(torch.tensor([0.3, 0.5]).double(), torch.tensor([0.7, 0.6]).double())
    assert other["gridpg"] == pytest.approx((0.3 + 0.5 + 0.1) / 3)
    assert (other["difference"], other["difference_low"], other["difference_high"]) == pytest.approx(both, abs=1e-7)
    with pytest.raises(UserError, match="holds no results"):
        table(Rows(tmp_path / "none"), first="ours")


def test_one_fit_gives_every_reading_also_those_added_later(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas, grid = (0.1, 0.25), Grid(SOURCE, PHOTOS, count=1)
    sample = grid.load(grid.ids[0], tiny.preprocessing)
    place = grid.cells[grid.ids[0]].place
    fit = Fit(Method(areas=areas, steps=2), tiny, device=torch.device("cpu"))
    folder = RunFolder(tmp_path / "fits")
    rows = Rows(tmp_path / "rows")
    assert play(grid, tiny, [Readings("inr", fit, read=readings(areas), folder=folder, facts={})], rows=rows) == 0
    record = folder.read(sample.sample_id)
    wanted = {
        "inr": Explained(record).importance(),
        "inr_mean": record.masks[0].float().mean(0),
        "inr_a0.1": record.masks[0, 0],
        "inr_a0.25": record.masks[0, 1],
    }
    assert rows.methods() == sorted(wanted)
    for name, heatmap in wanted.items():
        (row,) = lines(rows.file(name))
        assert float(row["gridpg"]) == pytest.approx(share(heatmap.numpy(), place), abs=1e-3)
    monkeypatch.setattr(fit, "run", None)  # a second fit would fail
    more = readings(areas) | {"_sixth": lambda fitted: fitted.mask(1 / 6)}
    again = Readings("inr", fit, read=more, folder=folder, facts={})
    sixth = again.maps(sample)["inr_sixth"].maps
    assert float(sixth.mean()) == pytest.approx(1 / 6, abs=1e-3)
    with pytest.raises(TypeError):
        Readings("inr", fit, read=more, folder=folder, facts={"classifier": "other"}).maps(sample)


@pytest.fixture
def gridpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    return script_program("gridpg", tmp_path, monkeypatch)


OPTIONS = ("data.size=16", "--least", "8", "trainer.accelerator=cpu")


def test_the_script_chooses_photos_once_plays_and_resumes(
    tmp_path: Path, gridpg: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "benchmarks" / "results" / "gridpg"
    assert gridpg("--choose", *OPTIONS) == 0
    told = json.loads((results / "photos.json").read_text())
    assert told["threshold"] in (0.99, 0.95, 0.9, 0.8)
    assert all(
        Synthetic(size=16).ids[int(name[:5])] == name and int(name[:5]) % 8 == target
        for name, target in told["photos"].items()
    )
    assert len(told["photos"]) >= 8
    assert [file.name for file in results.iterdir()] == ["photos.json"]

    assert gridpg("--methods", "disc,random", "--count", "2", *OPTIONS) == 0
    before = (results / "random.csv").read_text()
    assert gridpg("--methods", "random,disc", "--count", "3", *OPTIONS) == 0
    assert (results / "random.csv").read_text().startswith(before)
    assert [float(row["gridpg"]) for row in lines(results / "disc.csv")] == pytest.approx([0.25] * 3, abs=1e-4)
    told_lines = {line["method"]: line for line in lines(results / "tables" / "gridpg.csv")}
    difference = float(told_lines["disc"]["gridpg"]) - float(told_lines["random"]["gridpg"])
    assert float(told_lines["disc"]["difference"]) == pytest.approx(difference, abs=1e-4)
    assert told_lines["random"]["difference"] == ""
    capsys.readouterr()
    assert gridpg("--table", "--methods", "disc") == 0
    assert "| disc | 3 | 0 | 0.250 [0.250, 0.250] | - |" in capsys.readouterr().out

    assert gridpg("--methods", "disc", "--side", "3", *OPTIONS) == 2
    assert "was made with other side; give --set another name" in capsys.readouterr().err
    assert str(tmp_path) not in "".join(file.read_text() for file in results.rglob("*.*"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--table"], "holds no results; play without --table first"),
        (["--least", "17", "data.size=16"], "photos are recognised with a probability of 0.8, and 17 are wanted"),
        (["stepps=3"], "stepps"),
        (
            ["--thresholds", "0.9,", "data.size=16"],
            "--thresholds '0.9,' is no list of probabilities above 0; give such",
        ),
        (["--thresholds", "nan", "data.size=16"], "--thresholds 'nan' is no list of probabilities"),
    ],
)
def test_a_refusal_is_one_sentence(
    tmp_path: Path, gridpg: Script, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert gridpg(*arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert sentence in told
    assert told.count("\n") == 1
    assert not (tmp_path / "benchmarks").exists()


def test_a_photo_that_cannot_be_read_costs_its_mosaics_alone(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, load = Grid(SOURCE, PHOTOS, count=3), Grid.load
    lost = grid.ids[1]

    def sometimes(self: Grid, sample_id: str, preprocessing: Preprocessing) -> Sample:
        if sample_id == lost:
            raise UserError("cannot read '/photos/a.jpg'")
        return load(self, sample_id, preprocessing)

    monkeypatch.setattr(Grid, "load", sometimes)
    rows, heatmap = Rows(tmp_path), torch.arange(48.0 * 48).reshape(1, 48, 48)
    players = [Given("one", heatmap), Given("other", heatmap)]
    assert play(grid, tiny, players, rows=rows) == 2
    for name in ("one", "other"):
        told = {row["image_id"]: row for row in lines(tmp_path / f"{name}.csv")}
        assert [key for key in grid.ids if told[key]["gridpg"]] == [key for key in grid.ids if key != lost]
        assert told[lost]["failed"] == "cannot read 'a.jpg'"
        assert int(told[lost]["target"]) == grid.photos[grid.cells[lost].photos[grid.cells[lost].place]]


def test_another_choice_of_photos_is_refused(
    tmp_path: Path, gridpg: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "benchmarks" / "results" / "gridpg" / "photos.json"
    assert gridpg("--choose", *OPTIONS, "--thresholds", "0.8,0.9") == 0
    told = json.loads(file.read_text())
    assert told["choice"] == {"thresholds": [0.9, 0.8], "least": 8}
    capsys.readouterr()
    assert gridpg("--choose", *OPTIONS, "--least", "7", "--thresholds", "0.9") == 2
    assert "was made with other --thresholds, --least; give --set another name" in capsys.readouterr().err
    file.write_text(json.dumps({"photos": told["photos"]}))  # as one writes it for data=grid
    assert gridpg("--choose", *OPTIONS) == 2
    assert "was not written by this script, as it says no asked, threshold; give --set" in capsys.readouterr().err


def test_which_choice_is_another() -> None:
    """What is not given is as the list was made; older lists are asked for contradictions alone."""
    script = script_module("gridpg")
    published = script.told_photos(ROOT / "benchmarks" / "results" / "gridpg" / "photos.json")
    new = {"choice": {"thresholds": [0.9, 0.8], "least": 8}}
    for told, thresholds, least, other in (
        (published, None, None, []),
        (published, [0.99, 0.8], 40, []),
        (published, [0.8], 1000, ["--thresholds", "--least"]),
        (new, None, None, []),
        (new, script.probabilities("0.8,0.90"), 8, []),
        (new, [0.9], 7, ["--thresholds", "--least"]),
    ):
        assert script.other_choice(told, thresholds=thresholds, least=least) == other


@pytest.mark.slow
def test_the_methods_of_the_comparison_play(tmp_path: Path, gridpg: Script) -> None:
    pytest.importorskip("pytorch_grad_cam")
    pytest.importorskip("captum")
    methods = "inr,gradcam,layercam,integrated_gradients,occlusion"
    assert gridpg("--methods", methods, "--count", "1", "steps=2", *OPTIONS) == 0
    results = tmp_path / "benchmarks" / "results" / "gridpg"
    found = {line["method"]: float(line["gridpg"]) for line in lines(results / "tables" / "gridpg.csv")}
    assert found.keys() == {*methods.split(","), "inr_mean", "inr_a0.04", "inr_a0.1", "inr_a0.2"}
    assert found["gradcam"] != found["layercam"]
    assert len(list((tmp_path / "outputs").rglob("fits/inr/masks/*"))) == 1
