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
from tests.helpers.games import additive, played
from tests.helpers.runs import ROOT
from tests.helpers.scripts import script_module

SIZE = 0.25


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_module("audit_table")


def packed(values: torch.Tensor) -> str:
    return " ".join(f"{value:.6f}" for value in values.tolist())


def row(on_object: float, *, effects: tuple[float, float], worth: float = 0.6) -> Row:
    """Three explanations: the first carries `worth` and lies so much on the object, the others nothing, as it."""
    game = played(3, additive(worth, 0.0, 0.0, 1 - worth)).values
    shares = torch.tensor([on_object, SIZE, SIZE, SIZE])
    found: Row = {"target": 1, "difficult": 0, "object_effect": effects[0], "background_effect": effects[1]}
    found |= {"object_size": SIZE}
    for area in ("0.1", "0.2"):
        found |= {f"shares/{area}": packed(shares), f"by_baseline/{area}": "; ".join([packed(game[0])] * 4)}
        found[f"chance/{area}"] = "; ".join(["0.1 0.1 0.1 0.1"] * 2)
    return found | {"failed": ""}


def store(folder: Path, part: str, setting: str, shares: list[float], method: str = "inr") -> None:
    (folder / part).mkdir(parents=True, exist_ok=True)
    results = Results(folder / part / f"{setting}.{method}.csv")
    for place, share in enumerate(shares):
        results.add(f"{place:05d}", row(share, effects=(share, 1 - share)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
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
    one = script.Measured("both", {name: str(value) for name, value in row(0.7, effects=(0.3, -0.1)).items()})
    assert one.truth == pytest.approx(1)
    assert script.evidence(one, 0.1, 1) == pytest.approx(0.6 * (0.7 - SIZE) / (1 - SIZE), abs=1e-5)
    assert script.evidence(one, 0.1, 3) == pytest.approx(script.evidence(one, 0.1, 1), abs=1e-5)
    assert script.decomposition(one, 0.2, 3) == pytest.approx(0.6 * 0.6, abs=1e-5)  # of an additive game, the same
    assert script.removal(one, 0.1, 1) == pytest.approx(0.7 * 0.6, abs=1e-5)
    two = script.Measured(
        "both", {**one.row, "by_baseline/0.1": packed(played(3, additive(0.6, 0.2, 0.0, 0.2)).values[0])}
    )
    assert script.removal(two, 0.1, 3) == pytest.approx(0.7 * 0.6 + SIZE * 0.2, abs=1e-5)
    assert script.on_object(one, 0.1, 1) == pytest.approx(0.7)
    assert script.on_object(script.Measured("both", {**one.row, "mass": "0.25"}), 0.1, 1) == 0.25


def test_the_table(script: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.report(folder)
    said = capsys.readouterr().out
    means = {name: 0.6 * (share - SIZE) / (1 - SIZE) for name, share in [("o", 0.95), ("c", 0.05), ("b", 0.5)]}
    high, low = (means["o"] + means["b"]) / 2, (means["c"] + means["b"]) / 2
    assert f"thresholds: object {high:.2f}, context {low:.2f}" in said
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    ours = [one for one in rows if one["method"] == "inr" and one["form"] == "evidence"]
    assert [(one["area"], one["explanations"]) for one in ours] == [
        (area, str(k)) for area in ("0.1", "0.2", "0.1 and 0.2") for k in (1, 2, 3)
    ]
    assert all((one["images"], one["pure"]) == ("9", "1.000") for one in ours)
    assert all(one["rank correlation"].startswith("1.000 [") for one in ours)
    assert {one["method"] for one in rows} == {
        "inr",
        "gradcam",
        "inr on those of gradcam",
        "inr on other images",
        "mean truth of the classifier",
    }
    assert {one["within"] for one in ours} == {"1.000"}
    assert (rows[-1]["rank correlation"][:5], rows[-1]["within"]) == ("0.949", "")  # three groups of three: sqrt(0.9)
    images = {one["method"]: one["images"] for one in rows}
    assert (images["inr on those of gradcam"], images["inr on other images"]) == ("2", "4")


def test_verdicts_are_those_of_the_audit(script: ModuleType, folder: Path) -> None:
    """Of area 0.2 the control carries more than any image: nothing is claimed."""
    text = script.verdicts(script.read(folder / "fresh")["inr"], folder / "fresh")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    assert cells[0] == ["object_only", "0.1", "0.95", "0.56", "3", "0", "0", "0", "0"]
    assert [line[-5:] for line in cells if line[1] == "0.2"] == [["0", "0", "0", "3", "0"]] * 3
    assert sum(int(cell) for cell in cells[2][4:8]) == 3


def test_correlation_is_spearman_s_with_its_bootstrap(script: ModuleType) -> None:
    draw = torch.Generator().manual_seed(0)
    truth, values = torch.rand(2, 60, dtype=torch.float64, generator=draw)
    text = script.correlation(truth, truth + values)
    exact = float(spearmanr(truth, truth + values).statistic)
    value, low, high = (float(part.strip("[],")) for part in text.split())
    assert value == pytest.approx(exact, abs=5e-4)
    assert low < exact < high


def test_the_thresholds_of_the_audit_are_those_of_the_tuning_images(script: ModuleType) -> None:
    """As the CSVs beside the benchmark's results give them."""
    images = script.read(ROOT / "benchmarks" / "results" / "audit" / "tuning")["inr"]
    used = Thresholds()
    assert f"object {used.object:.2f}, context {used.context:.2f}" in script.thresholds(images)


def test_what_is_missing_is_named(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fresh has no results; run scripts/benchmark_audit\.py"):
        script.report(tmp_path)
    store(tmp_path, "tuning", "object_only", [1.0])
    found = script.read(tmp_path / "tuning")["inr"]
    assert script.thresholds(found) == "the thresholds need --part tuning of context_only"


def test_within_is_the_mean_over_the_mixed_classifiers(script: ModuleType) -> None:
    """Whatever lies between classifiers does not count, nor do the pure ones."""
    shares = {"both": [0.5, 0.4, 0.6], "object_context_95": [0.7, 0.8, 0.9], "object_only": [1.0, 0.9, 0.95]}
    images = [
        script.Measured(setting, {name: str(value) for name, value in row(share, effects=(share, 1 - share)).items()})
        for setting, own in shares.items()
        for share in own
    ]
    truth = torch.tensor([one.truth for one in images], dtype=torch.float64)
    values = torch.tensor([0.5, 0.4, 0.6, 0.1, 0.0, 0.2, 0.0, 1.0, 0.5], dtype=torch.float64)
    expected = sum(float(spearmanr(truth[k : k + 3], values[k : k + 3]).statistic) for k in (0, 3)) / 2
    assert script.within(images, truth, values) == pytest.approx(expected)
    assert script.within(images[:2], truth[:2], values[:2]) is None
