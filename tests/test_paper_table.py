"""The table of a paper: means, class means, the images that all methods have, the paired test, and its two texts."""

from pathlib import Path

import pytest
import torch

from inr_xai.errors import UserError
from inr_xai.evaluation.rows import Results
from inr_xai.evaluation.table import make_table
from inr_xai.evaluation.texts import latex, markdown
from inr_xai.metrics.bootstrap import mean_interval, sign_flip_p_value
from tests.runs import process

DIRECTIONS = {"road": True, "deletion_auc": False, "pointing_game": True, "iou": True, "sparseness": None}
VALUES = [0.1, 0.7, 0.4, 0.9, 0.3, 0.5, 0.8, 0.6]


def results(folder: Path, name: str, rows: dict[str, dict[str, object]]) -> Results:
    made = Results(folder / f"{name}.csv")
    for sample_id, row in rows.items():
        made.add(sample_id, {"target": 0, "difficult": 0, **row, "failed": ""})
    return Results(made.file)


@pytest.fixture
def methods(tmp_path: Path) -> dict[str, Results]:
    """Two methods on eight images; the second lacks the last."""
    ours = {f"i{place}": {"road": value, "deletion_auc": 1 - value} for place, value in enumerate(VALUES)}
    other = {f"i{place}": {"road": value / 2} for place, value in enumerate(VALUES[:-1])}
    return {"ours": results(tmp_path, "ours", ours), "other": results(tmp_path, "other", other)}


def test_means_over_the_images_that_all_have(methods: dict[str, Results]) -> None:
    table = make_table(methods, DIRECTIONS)
    common = torch.tensor(VALUES[:-1], dtype=torch.float64)
    ours, other = (cells[table.columns.index("road")] for cells in table.rows.values())
    assert ours is not None
    assert other is not None
    assert ours.value == pytest.approx(mean_interval(common))
    assert other.value == pytest.approx(mean_interval(common / 2))
    assert (ours.images, ours.best, other.best, ours.p) == (7, True, False, None)
    assert other.p == pytest.approx(sign_flip_p_value(common / 2, common)) == 2 / 2**7
    alone = table.rows["other"][table.columns.index("deletion_auc")]
    assert alone is None


def test_lower_may_be_better(tmp_path: Path) -> None:
    made = {
        name: results(tmp_path, name, {"a": {"deletion_auc": value}, "b": {"deletion_auc": value}})
        for name, value in {"high": 0.5, "low": 0.25}.items()
    }
    best = {name: cells[0].best for name, cells in make_table(made, DIRECTIONS).rows.items() if cells[0] is not None}
    assert best == {"high": False, "low": True}


def test_the_pointing_game_is_a_mean_over_classes_and_difficult_images_stand_apart(tmp_path: Path) -> None:
    """Three hits of three in one class, none of one in the other: 1/2, and not 3/4."""
    rows: dict[str, dict[str, object]] = {
        f"a{place}": {"target": 0, "difficult": place == 0, "pointing_game": 1.0} for place in range(3)
    }
    rows["b"] = {"target": 1, "difficult": True, "pointing_game": 0.0}
    for row in rows.values():
        row["difficult"] = int(bool(row["difficult"]))
    table = make_table({"ours": results(tmp_path, "ours", rows)}, DIRECTIONS)
    assert table.columns == ["pointing_game", "pointing_game (difficult)"]
    every, hard = table.rows["ours"]
    assert every is not None
    assert hard is not None
    assert (every.value.value, every.images) == (0.5, 4)
    assert (hard.value.value, hard.images) == (0.5, 2)
    assert 0 <= every.value.low < every.value.high <= 1


def test_areas_have_their_mean(tmp_path: Path) -> None:
    rows: dict[str, dict[str, object]] = {
        "a": {"iou/a0.1": 0.2, "iou/a0.2": 0.4},
        "b": {"iou/a0.1": 0.0, "iou/a0.2": 0.6},
    }
    table = make_table({"ours": results(tmp_path, "ours", rows)}, DIRECTIONS)
    assert table.columns == ["iou/a0.1", "iou/a0.2", "iou/mean"]
    assert [round(cell.value.value, 6) for cell in table.rows["ours"] if cell is not None] == [0.1, 0.5, 0.3]


def test_a_metric_that_none_has_is_refused(methods: dict[str, Results]) -> None:
    with pytest.raises(UserError, match="no method has the metric 'iou'; they have road, deletion_auc"):
        make_table(methods, DIRECTIONS, ["iou"])


def test_texts(methods: dict[str, Results]) -> None:
    table = make_table(methods, DIRECTIONS, ["road", "deletion_auc"])
    lines = markdown(table).splitlines()
    assert lines[0] == "| method | road ↑ | deletion_auc ↓ |"
    assert lines[2].startswith("| ours | **0.529** [0.")
    assert lines[3].startswith("| other | 0.264* [0.")
    assert lines[3].endswith("] | - |")
    assert lines[-1].endswith("Images: road 7, deletion_auc 8.")
    text = latex(table)
    assert r"method & road $\uparrow$ & deletion\_auc $\downarrow$ \\" in text
    assert r"ours & \textbf{0.529} {\scriptsize [0." in text
    assert r"other & 0.264$^{*}$" in text


@pytest.mark.slow
def test_the_script(methods: dict[str, Results], tmp_path: Path) -> None:
    program = "import runpy; runpy.run_path('scripts/table.py', run_name='__main__')"
    from tests.runs import ROOT

    arguments = [
        f"mine={tmp_path / 'ours.csv'}",
        str(tmp_path / "other.csv"),
        "--metrics",
        "road",
        "--out",
        str(tmp_path / "t"),
    ]
    ended = process(*arguments, folder=ROOT, program=program)
    assert ended.returncode == 0, ended.stderr
    assert "| mine | **0.529**" in ended.stdout
    assert (tmp_path / "t.md").read_text() == ended.stdout
    assert r"\toprule" in (tmp_path / "t.tex").read_text()
    refused = process(str(tmp_path / "none.csv"), folder=ROOT, program=program)
    assert refused.returncode == 2
    assert "python -m inr_xai.evaluate RUN" in refused.stderr
