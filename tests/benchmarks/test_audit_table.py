"""The table of the audit's benchmark on games made by hand: truth, estimates, thresholds, verdicts, and refusals."""

import csv
from pathlib import Path
from types import ModuleType

import pytest
import torch
from scipy.stats import spearmanr

from inr_xai.audit.verdict import Thresholds
from inr_xai.errors import UserError
from inr_xai.evaluate.results import Results
from inr_xai.runs.files import format_csv, write_bytes
from inr_xai.types import Row
from tests.helpers.games import additive, make_game
from tests.helpers.runs import ROOT
from tests.helpers.scripts import script_module

SIZE = 0.25


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_module("audit_table")


def packed(values: torch.Tensor) -> str:
    return " ".join(f"{value:.6f}" for value in values.tolist())


def row(on_object: float, *, effects: tuple[float, float], worth: float = 0.6) -> Row:
    """Returns a row of three explanations: the first carries `worth`, and has the share `on_object`.

    The others carry nothing, and have as large a share on the object as the whole image.
    """
    game = make_game(3, additive(worth, 0.0, 0.0, 1 - worth)).values
    shares = torch.tensor([on_object, SIZE, SIZE, SIZE])
    cells: Row = {"target": 1, "difficult": 0, "object_effect": effects[0], "background_effect": effects[1]}
    cells |= {"object_size": SIZE}
    for area in ("0.1", "0.2"):
        cells |= {f"shares/{area}": packed(shares), f"by_baseline/{area}": "; ".join([packed(game[0])] * 4)}
        cells[f"chance/{area}"] = "; ".join(["0.1 0.1 0.1 0.1"] * 2)
    return cells | {"failed": ""}


def store(folder: Path, part: str, setting: str, shares: list[float], method: str = "inr") -> None:
    """Writes the results of a method: an image for each share on the object, which is its truth as well."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    results = Results(folder / part / f"{setting}.{method}.csv")
    for place, share in enumerate(shares):
        results.add(f"{place:05d}", row(share, effects=(share, 1 - share)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of all parts, with limits of the control for the fresh ones."""
    pure, mixed = {"object_only": [1.0, 0.9, 0.95], "context_only": [0.0, 0.1, 0.05]}, [0.5, 0.4, 0.6]
    for part in ("tuning", "fresh"):
        for setting, shares in {**pure, "both": mixed}.items():
            store(tmp_path, part, setting, shares)
    for setting in (*pure, "both"):
        limits = format_csv([{"bound/0.1": 0.2, "bound/0.2": 0.7}])
        write_bytes(tmp_path / "fresh" / f"{setting}.control.csv", limits.encode())
    store(tmp_path, "fresh", "both", [0.9, 0.1], method="gradcam")
    store(tmp_path, "confirmation", "both", [0.3, 0.2, 0.5, 0.4])
    return tmp_path


def test_truth_and_estimates_by_hand(script: ModuleType) -> None:
    image = script.MeasuredImage("both", {name: str(value) for name, value in row(0.7, effects=(0.3, -0.1)).items()})
    assert image.truth == pytest.approx(1)
    assert script.evidence(image, 0.1, 1) == pytest.approx(0.6 * (0.7 - SIZE) / (1 - SIZE), abs=1e-5)
    assert script.evidence(image, 0.1, 3) == pytest.approx(script.evidence(image, 0.1, 1), abs=1e-5)
    # The Shapley values of an additive game are the worth of its players.
    assert script.decomposition(image, 0.2, 3) == pytest.approx(0.6 * 0.6, abs=1e-5)
    assert script.removal(image, 0.1, 1) == pytest.approx(0.7 * 0.6, abs=1e-5)
    other = script.MeasuredImage(
        "both", {**image.row, "by_baseline/0.1": packed(make_game(3, additive(0.6, 0.2, 0.0, 0.2)).values[0])}
    )
    assert script.removal(other, 0.1, 3) == pytest.approx(0.7 * 0.6 + SIZE * 0.2, abs=1e-5)
    assert script.on_object(image, 0.1, 1) == pytest.approx(0.7)
    assert script.on_object(script.MeasuredImage("both", {**image.row, "mass": "0.25"}), 0.1, 1) == 0.25


@pytest.mark.slow
def test_the_table(script: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.write_table(folder)
    printed = capsys.readouterr().out
    means = {name: 0.6 * (share - SIZE) / (1 - SIZE) for name, share in [("o", 0.95), ("c", 0.05), ("b", 0.5)]}
    high, low = (means["o"] + means["b"]) / 2, (means["c"] + means["b"]) / 2
    assert f"thresholds: object {high:.2f}, context {low:.2f}" in printed
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    ours = [row for row in rows if row["method"] == "inr" and row["form"] == "evidence"]
    assert [(row["area"], row["explanations"]) for row in ours] == [
        (area, str(k)) for area in ("0.1", "0.2", "0.1 and 0.2") for k in (1, 2, 3)
    ]
    assert all((row["images"], row["pure"]) == ("9", "1.000") for row in ours)
    assert all(row["rank correlation"].startswith("1.000 [") for row in ours)
    assert {row["method"] for row in rows} == {
        "inr",
        "gradcam",
        "inr on those of gradcam",
        "inr on other images",
        "mean truth of the classifier",
    }
    assert {row["within"] for row in ours} == {"1.000"}
    assert (rows[-1]["rank correlation"][:5], rows[-1]["within"]) == ("0.949", "")  # three groups of three: sqrt(0.9)
    images = {row["method"]: row["images"] for row in rows}
    assert (images["inr on those of gradcam"], images["inr on other images"]) == ("2", "4")


def test_verdicts_are_those_of_the_audit(script: ModuleType, folder: Path) -> None:
    """At area 0.2 the control reaches more than any image, so that nothing is claimed."""
    text = script.verdict_table(script.read_images(folder / "fresh")["inr"], folder / "fresh")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    assert cells[0] == ["object_only", "0.1", "0.95", "0.56", "3", "0", "0", "0", "0"]
    assert [line[-5:] for line in cells if line[1] == "0.2"] == [["0", "0", "0", "3", "0"]] * 3
    assert sum(int(cell) for cell in cells[2][4:8]) == 3


def test_correlation_is_that_of_spearman_with_its_bootstrap(script: ModuleType) -> None:
    draw = torch.Generator().manual_seed(0)
    truth, values = torch.rand(2, 60, dtype=torch.float64, generator=draw)
    text = script.correlation(truth, truth + values)
    exact = float(spearmanr(truth, truth + values).statistic)
    value, low, high = (float(part.strip("[],")) for part in text.split())
    assert value == pytest.approx(exact, abs=5e-4)
    assert low < exact < high


def test_the_thresholds_of_the_audit_are_those_of_the_tuning_images(script: ModuleType) -> None:
    """The CSVs of the tuning images lie beside the benchmark's results."""
    images = script.read_images(ROOT / "benchmarks" / "results" / "audit" / "tuning")["inr"]
    used = Thresholds()
    assert f"object {used.object:.2f}, context {used.context:.2f}" in script.thresholds(images)


def test_what_is_missing_is_named(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fresh has no results; run benchmarks/audit\.py --part fresh"):
        script.write_table(tmp_path)
    store(tmp_path, "tuning", "object_only", [1.0])
    images = script.read_images(tmp_path / "tuning")["inr"]
    assert script.thresholds(images) == "the thresholds need --part tuning of context_only"


def test_within_is_the_mean_over_the_mixed_classifiers(script: ModuleType) -> None:
    """Differences between classifiers do not count, nor do the pure classifiers."""
    shares = {"both": [0.5, 0.4, 0.6], "object_context_95": [0.7, 0.8, 0.9], "object_only": [1.0, 0.9, 0.95]}
    images = [
        script.MeasuredImage(
            setting, {name: str(cell) for name, cell in row(share, effects=(share, 1 - share)).items()}
        )
        for setting, on_object in shares.items()
        for share in on_object
    ]
    truth = torch.tensor([image.truth for image in images], dtype=torch.float64)
    values = torch.tensor([0.5, 0.4, 0.6, 0.1, 0.0, 0.2, 0.0, 1.0, 0.5], dtype=torch.float64)
    expected = sum(float(spearmanr(truth[k : k + 3], values[k : k + 3]).statistic) for k in (0, 3)) / 2
    assert script.within(images, truth, values) == pytest.approx(expected)
    assert script.within(images[:2], truth[:2], values[:2]) is None
