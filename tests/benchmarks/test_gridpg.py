"""The program of the grid pointing game: the choice of photos, a second session, the table, and what it refuses."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inr_xai.data import Synthetic
from tests.helpers.runs import ROOT
from tests.helpers.scripts import script_module

GridPG = Callable[..., int]
OPTIONS = ("data.size=16", "--least", "8", "trainer.accelerator=cpu")


@pytest.fixture
def gridpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GridPG:
    """Runs the program with arguments in a folder of its own, and returns the exit status."""
    program = script_module("gridpg")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: program.main(arguments)


def lines(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_photos_are_chosen_once_and_a_second_session_only_adds(
    tmp_path: Path, gridpg: GridPG, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "benchmarks" / "results" / "gridpg"
    assert gridpg("--choose", *OPTIONS) == 0
    stored = json.loads((results / "photos.json").read_text())
    assert stored["threshold"] in (0.99, 0.95, 0.9, 0.8)
    assert all(
        Synthetic(size=16).ids[int(name[:5])] == name and int(name[:5]) % 8 == target
        for name, target in stored["photos"].items()
    )
    assert len(stored["photos"]) >= 8
    assert [file.name for file in results.iterdir()] == ["photos.json"]

    assert gridpg("--methods", "disc,random", "--count", "2", *OPTIONS) == 0
    before = (results / "random.csv").read_text()
    assert gridpg("--methods", "random,disc", "--count", "3", *OPTIONS) == 0
    assert (results / "random.csv").read_text().startswith(before)
    assert [float(row["gridpg"]) for row in lines(results / "disc.csv")] == pytest.approx([0.25] * 3, abs=1e-4)
    table = {line["method"]: line for line in lines(results / "tables" / "gridpg.csv")}
    difference = float(table["disc"]["gridpg"]) - float(table["random"]["gridpg"])
    assert float(table["disc"]["difference"]) == pytest.approx(difference, abs=1e-4)
    assert table["random"]["difference"] == ""
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
    tmp_path: Path, gridpg: GridPG, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert gridpg(*arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert sentence in message
    assert message.count("\n") == 1
    assert not (tmp_path / "benchmarks").exists()


@pytest.mark.slow
def test_another_choice_of_photos_is_refused(
    tmp_path: Path, gridpg: GridPG, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "benchmarks" / "results" / "gridpg" / "photos.json"
    assert gridpg("--choose", *OPTIONS, "--thresholds", "0.8,0.9") == 0
    stored = json.loads(file.read_text())
    assert stored["choice"] == {"thresholds": [0.9, 0.8], "least": 8}
    capsys.readouterr()
    assert gridpg("--choose", *OPTIONS, "--least", "7", "--thresholds", "0.9") == 2
    assert "was made with other --thresholds, --least; give --set another name" in capsys.readouterr().err
    file.write_text(json.dumps({"photos": stored["photos"]}))  # as a user writes it for data=grid
    assert gridpg("--choose", *OPTIONS) == 2
    assert "was not written by this script, as it says no asked, threshold; give --set" in capsys.readouterr().err


def test_which_choice_is_another() -> None:
    """An option that is not given changes nothing; of older lists only what contradicts them does."""
    program = script_module("gridpg")
    published = program.read_photo_list(ROOT / "benchmarks" / "results" / "gridpg" / "photos.json")
    new = {"choice": {"thresholds": [0.9, 0.8], "least": 8}}
    for stored, thresholds, least, changed in (
        (published, None, None, []),
        (published, [0.99, 0.8], 40, []),
        (published, [0.8], 1000, ["--thresholds", "--least"]),
        (new, None, None, []),
        (new, program.parse_thresholds("0.8,0.90"), 8, []),
        (new, [0.9], 7, ["--thresholds", "--least"]),
    ):
        assert program.changed_choices(stored, thresholds=thresholds, least=least) == changed


@pytest.mark.slow
def test_the_methods_of_the_comparison_take_part(tmp_path: Path, gridpg: GridPG) -> None:
    pytest.importorskip("pytorch_grad_cam")
    pytest.importorskip("captum")
    methods = "inr,gradcam,layercam,integrated_gradients,occlusion"
    assert gridpg("--methods", methods, "--count", "1", "steps=2", *OPTIONS) == 0
    results = tmp_path / "benchmarks" / "results" / "gridpg"
    shares = {line["method"]: float(line["gridpg"]) for line in lines(results / "tables" / "gridpg.csv")}
    assert shares.keys() == {*methods.split(","), "inr_mean", "inr_a0.04", "inr_a0.1", "inr_a0.2"}
    assert shares["gradcam"] != shares["layercam"]
    assert len(list((tmp_path / "outputs").rglob("fits/inr/masks/*"))) == 1
