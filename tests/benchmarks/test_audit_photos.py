"""The audit on photos: what is measured of drawn scenes, the two losses by hand, and what the tables say of them."""

import csv
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from inr_xai.classifier import demo
from inr_xai.columns import BASELINES
from inr_xai.compare.methods.base import MethodMaps
from inr_xai.data import Synthetic
from inr_xai.evaluate.results import Results
from inr_xai.runs.files import format_csv, write_bytes, write_json
from inr_xai.types import Frame, Row, Sample
from tests.helpers.games import additive, make_game
from tests.helpers.scripts import script_module, script_status

DATA = ("data=synthetic", "data.size=16", "trainer.accelerator=cpu")
KINDS = ("mean", "blur", "texture")


@pytest.fixture(scope="module")
def truths() -> ModuleType:
    return script_module("photo_truth")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a few drawn scenes, whose names begin with numbers of their own."""
    path = tmp_path_factory.mktemp("truth")
    with pytest.MonkeyPatch.context() as patch:
        assert script_status(patch, "audit_photos", "demo", *DATA, "--quick", "--results", path) == 0
    return path


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def cells(**changes: str) -> Row:
    """Returns a row in which nothing changes the probability .8 but what is given, with dots for slashes."""
    names = [f"{stays}/{kind}" for stays in ("ground", "back", "rest") for kind in KINDS]
    names += [f"{stays}/{kind}" for stays in ("object", "blob") for kind in ("grounds", "mean", "blur")]
    row: Row = {"target": 1, "difficult": 0, "object_area": "0.2", "object_size": "0.3", "blob_area": "0.2"}
    row |= dict.fromkeys(["photo", "grounds alone", "ground/objects", *names], "0.8")
    return row | {name.replace("_", "/", 1): value for name, value in changes.items()}


def test_quick_measures_the_first_photos(measured: Path) -> None:
    data, classifier = Synthetic(size=16), demo()
    found = rows(measured / "demo.csv")
    assert [row["sample_id"] for row in found] == sorted(data.ids)[:2]
    for row in found:
        sample = data.load(row["sample_id"], classifier.preprocessing)
        with torch.no_grad():
            logits = classifier(sample.image[None])[0]
        assert float(row["photo"]) == pytest.approx(float(logits.softmax(0)[sample.target]), abs=2e-6)
        assert int(row["right"]) == int(logits.argmax() == sample.target)
        assert float(row["object_area"]) == pytest.approx(float(sample.segmentation.double().mean()), abs=1e-5)
        assert len(row["object/grounds"].split()) == len(row["grounds alone"].split()) == 8
        assert len(row["ground/objects"].split()) == 4


def test_what_is_there_is_not_measured_again(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = script_module("audit_photos")
    before = (measured / "demo.csv").read_text()
    monkeypatch.setattr(program, "measure_row", None)
    assert script_status(monkeypatch, "audit_photos", "demo", *DATA, "--quick", "--results", measured) == 0
    assert (measured / "demo.csv").read_text() == before


def test_a_row_of_another_seed_is_measured_anew(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = script_module("audit_photos")
    seen: list[str] = []

    def measure_row(photos: object, sample_id: str, *_: object, **__: object) -> Row:
        seen.append(sample_id)
        return cells()

    write_bytes(tmp_path / "demo.csv", (measured / "demo.csv").read_bytes())
    monkeypatch.setattr(program, "measure_row", measure_row)
    options = (*DATA, "--quick", "--results", tmp_path)
    assert script_status(monkeypatch, "audit_photos", "demo", "seed=1", *options) == 0
    assert seen == [row["sample_id"] for row in rows(measured / "demo.csv")]
    assert script_status(monkeypatch, "audit_photos", "demo", "seed=1", *options) == 0
    assert len(seen) == 2


def test_losses_and_truth_by_hand(truths: ModuleType) -> None:
    row = cells(
        ground_mean="0.2", ground_blur="0.4", ground_texture="0.1", ground_objects="0.0 0.1 0.2 0.3",
        object_mean="0.9", object_blur="0.6", object_grounds="0.8 0.4 0.6 0.4",
    )  # fmt: skip
    sample = truths.MeasuredPhoto("net", "n01/0012_crop1", row)
    # The object: .8 less the mean of .2, .4, .1 and .15; the ground: .8 less the mean of .9, .6 and .55.
    assert sample.losses() == pytest.approx((0.8 - 0.2125, 0.8 - 2.05 / 3))
    assert sample.truth() == pytest.approx(0.5875 / (0.5875 + 0.8 - 2.05 / 3))
    assert (sample.photo, sample.has_truth) == ("0012", True)
    swaps = truths.Kinds(("objects",), ("grounds",))
    assert sample.losses(swaps) == pytest.approx((0.65, 0.25))
    assert sample.losses(truths.Kinds(("objects",), ("grounds",), 0)) == pytest.approx((0.75, 0.2))
    assert sample.losses(truths.Kinds(("objects", "mean"), ("grounds",), 1)) == pytest.approx((0.575, 0.3))
    gains = truths.MeasuredPhoto("net", "a", cells(object_grounds="0.9", ground_mean="0.0"))
    assert gains.truth() == 1  # a ground that helps takes nothing


@pytest.mark.parametrize(
    ("changes", "has_truth"),
    [
        ({"ground_mean": "0.59"}, True),  # a loss of .21 / 4
        ({"ground_mean": "0.61"}, False),
        ({"object_mean": "0.64"}, True),  # a loss of .16 / 3
        ({"ground_mean": "0.61", "object_mean": "0.66"}, False),
    ],
)
def test_a_truth_needs_a_loss(truths: ModuleType, changes: dict[str, str], has_truth: bool) -> None:
    assert truths.MeasuredPhoto("net", "a", cells(**changes)).has_truth == has_truth


def test_a_truth_needs_a_class_that_is_seen(truths: ModuleType) -> None:
    row = cells(ground_mean="-5", ground_blur="-5")
    assert truths.MeasuredPhoto("net", "a", row | {"photo": "0.1"}).has_truth
    assert not truths.MeasuredPhoto("net", "a", row | {"photo": "0.09"}).has_truth


def test_floors_by_hand(truths: ModuleType) -> None:
    sample = truths.MeasuredPhoto("net", "a", cells(back_mean="0.7", rest_blur="0.85", blob_mean="0.1"))
    expected = {"back/mean": 0.1, "rest/blur": -0.05, "blob/mean": 0.7}
    assert {name: value for name, value in sample.floors.items() if abs(value) > 1e-9} == pytest.approx(expected)
    # The object: .8 less a mean of .8, .8, .8 and .4; the floor: a mean of .1, 0 and 0.
    floor = truths.MeasuredPhoto("net", "a", cells(back_mean="0.7", ground_mean="0.4"))
    assert floor.floor_part() == pytest.approx(0.1 / (0.1 + 0.1 / 3))
    for lost, within in (("0.53", True), ("0.47", False)):  # losses of .09 and .11, beside a floor of .1
        row = cells(object_mean=lost, back_blur="0.9")
        assert truths.MeasuredPhoto("net", "a", row).within_floor == within
    small = truths.MeasuredPhoto("net", "a", cells(rest_blur="0.85") | {"blob_area": "0.18"})
    assert {name.split("/")[0] for name in small.floors} == {"back"}


def test_intervals_are_over_photos() -> None:
    """Ten crops of each of two photos are two photos: a resample has one of them, the other, or both."""
    photos = [str(number) for number in (1, 2) for _ in range(10)]
    interval = script_module("photo_intervals").mean_over_photos(photos, [0.0] * 10 + [1.0] * 10)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)


def test_correlations_are_spearmans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of resamples, in which a photo comes several times with all its crops."""
    script = script_module("photo_intervals")
    monkeypatch.setattr(script, "DRAWS", 50)
    draw = torch.Generator().manual_seed(0)
    photos, groups = [str(number % 20) for number in range(40)], ["a"] * 20 + ["b"] * 20
    first, second = (torch.randint(0, 9, (40,), generator=draw).double() for _ in range(2))  # with ties
    first[20:] += 50  # far from the other classifier's
    second[20:] -= 50

    def expected(chosen: list[int]) -> float:
        return float(spearmanr(first[chosen], second[chosen]).statistic)

    weights = script.photo_weights(photos)
    repeated = [[place for place in range(40) for _ in range(int(row[place]))] for row in weights]
    assert sorted(photos[place] for place in repeated[1]) != sorted(photos)
    every = script.correlation(photos, first.tolist(), second.tolist())
    assert every.value == pytest.approx(expected(list(range(40))))
    ends = np.quantile([expected(places) for places in repeated[1:]], [0.025, 0.975])
    assert (every.low, every.high) == pytest.approx(tuple(ends))
    within = script.correlation_within(photos, first.tolist(), second.tolist(), groups)
    means = [
        (expected([place for place in places if place < 20]) + expected([place for place in places if place >= 20])) / 2
        for places in repeated
    ]
    assert within.value == pytest.approx(means[0])
    assert (within.low, within.high) == pytest.approx(tuple(np.quantile(means[1:], [0.025, 0.975])))


def store(folder: Path, classifier: str) -> None:
    """Writes the rows of 24 samples of 12 photos: the object's loss grows with the sample's number."""
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder / f"{classifier}.csv")
    for number in range(24):
        row = cells(ground_mean=str(0.4 - number / 100), object_mean="0.2")
        results.add(f"n/{number // 2:04d}_crop{number % 2}", row | {"object_area": str((number * 7) % 24 / 24)})


def test_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        store(tmp_path, name)
    found = [
        {"sample_id": f"n/{number // 2:04d}_crop{number % 2}", "on the object": 0.5, "removal test": number}
        for number in range(20)
    ]
    write_bytes(tmp_path / "maps" / "one.gradcam.csv", format_csv(found).encode())
    assert script_status(monkeypatch, "audit_photos_table", "--results", tmp_path) == 0
    lines = rows(tmp_path / "table.csv")
    ranks = {(row["what"], row["classifier"]): row for row in lines if row["table"].startswith("Rank")}
    area = [(number * 7) % 24 for number in range(24)]
    odd = [number for number in range(24) if number // 2 % 2]
    assert float(ranks["the object's area", "one"]["all photos"]) == pytest.approx(spearmanr(area, range(24))[0])
    expected = spearmanr([area[number] for number in odd], odd)[0]
    assert float(ranks["the object's area", "two"]["odd photos"]) == pytest.approx(expected)
    assert {"mean within", "all together"} <= {name for what, name in ranks if what == "the object's area"}
    gradcam = ranks["gradcam: removal test", "one"]
    assert (gradcam["n, all"], gradcam["n, odd"], gradcam["all photos"]) == ("20", "10", "1.0")
    beside = ranks["the object's area, of the samples of gradcam", "one"]
    assert float(beside["all photos"]) == pytest.approx(spearmanr(area[:20], range(20))[0])
    losses = {
        (row["what"], row["photos"]): float(row["mean"])
        for row in lines
        if row["table"] == "What is lost" and row["classifier"] == "one"
    }
    assert losses["loss of the object", "all photos"] == pytest.approx((0.8 - 0.4 + 0.115) / 4)
    assert losses["no object, mean", "odd photos"] == pytest.approx(0.4 + sum(odd) / 1200)
    assert losses["floor: object back, ground, blur", "all photos"] == pytest.approx(0, abs=1e-9)
    printed = capsys.readouterr().out
    assert "| the object's area | one | 12 |" in printed
    assert "| gradcam: on the object | one | 10 | - |" in printed  # the same of every sample


def test_own_estimates_are_those_of_the_games_without_the_photos(tmp_path: Path) -> None:
    """The forms are those of the benchmark on drawn scenes; the rows of the baseline of photos count nothing."""
    size, share = 0.25, 0.7
    game = make_game(2, *[additive(0.6, 0.1, 0.3)] * 3, additive(0.0, 0.0, 1.0)).values
    assert BASELINES[3] == "photo"
    stored = {"values": [game.tolist()], "on_object": [[share, 0.4, 0.1]], "object_share": size}
    write_json(tmp_path / "audit" / "plays" / "n" / "1_a.json", stored | {"chances": [], "area": 0.1})
    values = script_module("photo_estimates").own_estimates(tmp_path, "n/1_a")
    first = 0.6 * (share - size) / (1 - size)
    assert values == pytest.approx(
        {
            "ours: on the object": share,
            "ours: removal test": share * 0.6,
            "ours: evidence, 1": first,
            "ours: evidence, 2": first + 0.1 * (0.4 - size) / (1 - size),
        }
    )
    assert script_module("photo_estimates").own_estimates(tmp_path, "n/2_a") == {}


def test_names_of_classifiers_may_have_dots(tmp_path: Path) -> None:
    for name, value in (("net", 1), ("net.a", 2), ("net.a.b", 3)):
        row = {"sample_id": "n/1_a", "on the object": value, "removal test": value}
        write_bytes(tmp_path / "maps" / f"{name}.gradcam.csv", format_csv([row]).encode())
    values = script_module("photo_estimates").other_estimates(tmp_path, "net.a")
    assert values == {"n/1_a": {"gradcam: on the object": 2, "gradcam: removal test": 2}}


def test_what_a_map_says_by_hand() -> None:
    """The object is the left half; its seam is a column more. The baseline of photos counts nothing."""
    part = torch.zeros(16, 16, dtype=torch.bool)
    part[:, :8] = True
    sample = Sample(torch.zeros(3, 16, 16), 0, "a", Frame((16, 16), (16, 16), 0, 0, (16, 16)), part)
    heat = torch.zeros(1, 16, 16)
    heat[0, 0, :12] = 1
    heat[0, 5, :] = -1
    region = torch.zeros(1, 16, 16, dtype=torch.bool)
    region[0, :2, 4:14] = True
    scored = {"p_full": "0.8", **{f"deletion_hard_{name}": "0.2" for name in BASELINES}, "deletion_hard_photo": "0.8"}
    row = script_module("audit_photos_maps").map_row(sample, MethodMaps(heat, passes=1, seconds=0), region, scored)
    assert float(row["on the object"]) == pytest.approx(9 / 12)
    assert float(row["removal test"]) == pytest.approx(0.5 * 0.75)


def test_even_and_odd_photos() -> None:
    program = script_module("audit_photos")
    assert program.in_split("n/000000000034_crop2", "even")
    assert not program.in_split("n/000000000034_crop2", "odd")
    assert program.in_split("n/000000000143_crop3", "odd")
    assert program.in_split("n/000000000143_crop3", "all")
    assert program.first_of_each_photo(["b/2_a", "a/1_b", "c/2_b", "a/1_a"]) == ["a/1_a", "b/2_a"]


def test_a_sheet_shows_a_row_for_each_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    assert script_status(monkeypatch, "audit_photos_sheet", tmp_path / "sheet.png", *DATA, "--count", "2") == 0
    with Image.open(tmp_path / "sheet.png") as picture:
        side = demo().preprocessing.size[0] + 4
        assert picture.size == (26 * side, 2 * side)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "one"), "--run='one' must be NAME=RUN"),
        ((), "has no measured photo; run benchmarks/audit_photos.py"),
    ],
)
def test_refusals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert script_status(monkeypatch, "audit_photos_table", "--results", tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err
