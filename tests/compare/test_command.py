"""`inr-xai compare` on the demo: every setting of ours, a second session, and refusals."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inr_xai.compare.__main__ import main
from inr_xai.compare.methods.registry import METHODS
from inr_xai.loggers import WandbSettings
from inr_xai.loggers.tables import log_tables
from tests.helpers.wandb_read import parts, summary

pytest_plugins = ["tests.helpers.wandb_fixtures"]
LONG = ("inr_passes_200", "inr_passes_400", "inr_passes_800")
OURS = [name for name in METHODS if name.startswith("inr") and name not in LONG]


Compare = Callable[..., int]


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Runs the command with arguments in a folder of its own, and returns the exit status."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(arguments)


def lines(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "benchmarks" / "results" / "demo" / f"{name}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_every_setting_of_ours_is_compared_and_a_second_session_only_adds(
    tmp_path: Path, compare: Compare, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    short = ["data.limit=1", "steps=2", "trainer.accelerator=cpu", "--threads", "1"]
    assert compare("--methods", ",".join([*OURS, "chance_second", "disc"]), *short, "--sheet", "1") == 0
    for name in OURS:
        assert [row["area"] for row in lines(tmp_path, name)] == ["0.05", "0.1", "0.2", "0.4"]
        assert all(float(row["area_error"]) < 1e-3 for row in lines(tmp_path, name))
    assert all(row["nesting_violation"] == "0" for row in lines(tmp_path, "inr_nested"))
    assert [row["shared_pixels"] for row in lines(tmp_path, "inr_second")] == ["0"] * 4
    assert [row["passes"] for row in lines(tmp_path, "inr_hybrid")] == ["6"] * 4  # of 9 of inr, with a start each
    assert [row["passes"] for row in lines(tmp_path, "inr_passes_50")] == ["49"] * 4
    assert lines(tmp_path, "tables/methods")[0].keys() >= {"preservation", "preservation_low", "seed_iou"}
    assert len(lines(tmp_path, "tables/curve")) == 2
    assert [line["method"] for line in lines(tmp_path, "tables/second")].count("inr_second") == 1
    sheet = tmp_path / "outputs" / "compare" / "demo" / "sheet.png"
    assert sheet.read_bytes().startswith(b"\x89PNG")

    before = (tmp_path / "benchmarks" / "results" / "demo" / "inr.csv").read_text()
    caplog.clear()
    assert compare("--methods", "inr,random", *short, "data.limit=2") == 0
    assert sum("inr: preserves" in record.getMessage() for record in caplog.records) == 1
    after = (tmp_path / "benchmarks" / "results" / "demo" / "inr.csv").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 9

    assert compare("--table", "--common", "disc") == 0
    assert {line["photos"] for line in lines(tmp_path, "tables/methods")} == {"1"}
    assert str(tmp_path) not in "".join(file.read_text() for file in (tmp_path / "benchmarks").rglob("*.csv"))


@pytest.mark.slow
def test_variants_of_ours_are_methods_of_their_own(tmp_path: Path, compare: Compare) -> None:
    short = ["data.limit=1", "steps=1", "trainer.accelerator=cpu", "areas=[0.1]", "start=none"]
    variants = ["--variant", "longer=steps=2", "--variant", "other=inr=pyramid decay=1"]
    assert compare("--methods", "inr", *variants, *short) == 0
    passes = {name: lines(tmp_path, name)[0]["passes"] for name in ("inr", "inr_longer", "inr_other")}
    assert passes == {"inr": "1", "inr_longer": "2", "inr_other": "1"}
    assert len({lines(tmp_path, name)[0]["settings"] for name in passes}) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--methods", "inrr"], "error: --methods names 'inrr', which is no method; did you mean inr?"),
        (["steps=0"], "error: steps=0 is out of range; it must be a whole number, at least 1"),
        (["stepps=3"], "stepps"),
        (
            ["classifier=custom", "classifier.model._target_=torch.nn.Identity", "classifier.head=none"],
            "a comparison, whose tables are shares of p_full, needs probabilities of classes",
        ),
        (["--variant", "short"], "--variant='short' must be a name and options, such as short='steps=25 decay=1'"),
        (["--variant", "hybrid=steps=2"], "--variant names 'hybrid', which another method has already"),
        (["--table", "--set", "none"], "holds no results; run the comparison without --table first"),
    ],
)
def test_a_refusal_is_one_sentence(
    tmp_path: Path, compare: Compare, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert compare(*arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert sentence in message
    assert message.count("\n") == 1
    assert not (tmp_path / "benchmarks").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_the_tables_at_wandb(tmp_path: Path) -> None:
    tables = {
        "methods": [
            {"method": "inr", "kept": 0.5, "seed_iou": 0.25},
            {"method": "torchray", "kept": float("nan"), "seed_iou": "no random number"},
        ]
    }
    log_tables(tables, WandbSettings(), folder=tmp_path, name="photos")
    (folder,) = parts(tmp_path)
    logged = summary(folder)["summary"]["tables/methods"]
    assert (logged["_type"], logged["nrows"], logged["ncols"]) == ("table-file", 2, 3)
    table = json.loads((folder / "files" / logged["path"]).read_text())
    assert table["columns"] == ["method", "kept", "seed_iou"]
    assert table["data"] == [["inr", 0.5, 0.25], ["torchray", None, None]]
