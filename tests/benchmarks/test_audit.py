"""The audit's benchmark on one image: truths and values by hand, what is stored, and what is refused."""

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inr_xai.classifier import shapes_in_context
from inr_xai.data import ShapesInContext
from tests.helpers.scripts import script_module, script_status

SETTING = "object_only"
COUNT = 100
"""Images of each setting in the part. An image depends on its name alone, its photo baseline on all names."""


def run(patch: pytest.MonkeyPatch, folder: Path) -> int:
    """Runs the program with one step on one image, and returns its exit status."""
    options = ("--settings", SETTING, "--methods", "inr", "--images", "1", "--steps", "1")
    return script_status(patch, "audit", *options, "--results", folder / "results", "--cache", folder / "cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results and our fits of one image, with a control of one image."""
    path = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script_module("audit"), "CONTROL_IMAGES", 1)
        assert run(patch, path) == 0
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "results" / "fresh" / f"{SETTING}.inr.csv").read_text().splitlines()))


@pytest.mark.slow
@torch.no_grad()
def test_the_truth_is_what_the_swaps_take(folder: Path) -> None:
    """It is a loss of the class's probability, as a mean over the seven other shapes, or the seven other textures."""
    data, classifier = ShapesInContext(SETTING, size=COUNT, seed=1), shapes_in_context(SETTING)

    def score(name: str, **kinds: int) -> Tensor:
        sample = data.swapped(name, classifier.preprocessing, **kinds)
        return classifier(sample.image[None]).softmax(1)[0, data.label(name)]

    measured = rows(folder)
    assert [row["sample_id"] for row in measured] == [data.ids[0]]
    for row in measured:
        name = row["sample_id"]
        kinds, whole = data.kinds(name), score(name)
        for column, factor, swap in (
            ("object_effect", "object_shape", "object"),
            ("background_effect", "background_texture", "background"),
        ):
            others = [score(name, **{swap: kind}) for kind in range(8) if kind != kinds[factor]]
            assert float(row[column]) == pytest.approx(float(whole - torch.stack(others).mean()), abs=1e-5)


@pytest.mark.slow
def test_values_are_those_of_four_baselines_and_all_sets_of_the_players(folder: Path) -> None:
    for row in rows(folder):
        for area in ("0.1", "0.2"):
            values = torch.tensor(
                [[float(value) for value in part.split()] for part in row[f"by_baseline/{area}"].split(";")]
            )
            assert values.shape == (4, 16)
            assert values[:, -1].tolist() == pytest.approx([float(values[0, -1])] * 4)
            shares = torch.tensor([float(value) for value in row[f"shares/{area}"].split()])
            sizes = torch.tensor([float(area)] * 3 + [1 - 3 * float(area)])
            assert ((shares >= 0) & (shares <= 1)).all()
            # The players are all of the image; hard masks have a whole number of its pixels.
            assert float(shares @ sizes) == pytest.approx(float(row["object_size"]), abs=2e-4)


@pytest.mark.slow
def test_what_is_there_is_not_measured_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = script_module("audit")
    monkeypatch.setattr(script, "measure_row", None)
    monkeypatch.setattr(script, "measure_regions", None)
    before = rows(folder)
    assert run(monkeypatch, folder) == 0
    assert rows(folder) == before


def test_an_image_that_fails_costs_its_row_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script = script_module("audit")
    first, second = ShapesInContext(SETTING, size=2, seed=1).ids

    def measure_row(setting: object, sample_id: str, regions: object) -> dict[str, float]:
        if sample_id == first:
            raise RuntimeError("the disc is gone")
        return {"object_effect": 0.5}

    monkeypatch.setattr(script, "measure_row", measure_row)
    options = ("--settings", SETTING, "--methods", "disc", "--images", "2", "--results", tmp_path)
    assert script_status(monkeypatch, "audit", *options) == 3
    assert f"{first} failed: RuntimeError: the disc is gone" in caplog.text
    stored = csv.DictReader((tmp_path / "fresh" / f"{SETTING}.disc.csv").read_text().splitlines())
    assert [row["sample_id"] for row in stored] == [second]


@pytest.mark.slow
def test_the_table_is_made_of_what_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The benchmark ends with the command that makes the table."""
    caplog.set_level("INFO")
    assert run(monkeypatch, folder) == 0
    assert f"python benchmarks/audit_table.py --results {folder / 'results'} makes the table" in caplog.text
    assert script_status(monkeypatch, "audit_table", "--results", folder / "results") == 0
    assert (folder / "results" / "table.csv").is_file()


def test_both_programs_agree_on_names_and_areas() -> None:
    benchmark, table = script_module("audit"), script_module("audit_table")
    assert (benchmark.OURS, benchmark.AREAS) == (table.OURS, table.AREAS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "2"), "--steps 2 would be mixed with the results of 60; give --results and --cache too"),
        (("--methods", "gradcan", "--images", "1"), "--methods names 'gradcan'; choose some of inr, "),
    ],
)
def test_refusals(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert script_status(monkeypatch, "audit", "--settings", SETTING, *arguments) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.csv"))
