"""The program of variants: options of each, the table's paired differences, and a sample of it on the demo."""

import csv
from pathlib import Path

import pytest

from inr_xai.columns import UNSEEN
from inr_xai.compare.tables import ScoredPhotos
from inr_xai.config import composed
from tests.helpers.runs import ROOT
from tests.helpers.scripts import script_module

program = script_module("variants")


def scored(*preservations: float, passes: float = 100.0) -> ScoredPhotos:
    """Photos of p_full .5 that keep these probabilities."""
    return ScoredPhotos(
        {
            f"photo{number}": [
                {
                    "area": 0.1,
                    "p_full": 0.5,
                    "preservation_hard_mean": value,
                    **{f"preservation_hard_{baseline}": value / 2 for baseline in UNSEEN},
                    "deletion_hard_mean": 0.1,
                    "nesting_violation": 0.0,
                    "seconds": 10.0,
                    "passes": passes,
                }
            ]
            for number, value in enumerate(preservations)
        }
    )


def test_rows_have_the_paired_difference_to_the_default() -> None:
    rows = program.rows_of_set("s", {("default", 100): scored(0.2, 0.4), ("other", 100): scored(0.3, 0.5)})
    assert [(row["variant"], row["preservation"], row["unseen"]) for row in rows] == [
        ("other", pytest.approx(0.8), pytest.approx(0.4)),
        ("default", pytest.approx(0.6), pytest.approx(0.3)),
    ]
    assert [rows[0][f"more{end}"] for end in ("", "_low", "_high")] == pytest.approx([0.2] * 3)
    assert rows[1]["more"] != rows[1]["more"]
    assert rows[0]["seconds_a_step"] == pytest.approx(0.1)  # 100 passes of one area are 100 steps
    assert rows[0]["deletion"] == pytest.approx(0.2)


@pytest.mark.parametrize("name", [name for name in program.VARIANTS if name != "extremal"])
@pytest.mark.slow
def test_every_variant_is_a_configuration(name: str) -> None:
    assert composed(*program.VARIANTS[name].split(), "explanations=1").explanations == 1


@pytest.mark.slow
def test_the_demo_is_measured_at_two_budgets_and_only_what_is_missing_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    options = ["--variants", "default,former,no_start", "--passes", "2,4", "data.size=2", "areas=[0.1]"]
    assert program.main([*options, *folders, "trainer.accelerator=cpu"]) == 0
    with (tmp_path / "results" / "variants.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted({(row["set"], row["passes"], row["variant"], row["photos"]) for row in rows}) == [
        ("demo", passes, variant, "2") for passes in "24" for variant in ("default", "former", "no_start")
    ]
    assert (tmp_path / "results" / "demo" / "curve.png").read_bytes().startswith(b"\x89PNG")
    before = {file: file.read_bytes() for file in (tmp_path / "results").rglob("*.csv")}
    assert program.main(["--table", *folders]) == 0
    assert {file: file.read_bytes() for file in (tmp_path / "results").rglob("*.csv")} == before
    assert program.main(["--table", "--results", str(tmp_path / "none")]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_named_ablations_exist() -> None:
    files = {file.stem for file in (ROOT / "conf" / "ablation").glob("*.yaml")}
    assert {"default", "no_area", "no_start", "no_decay", "jitter", "reveal", "even_mixture"} <= files
