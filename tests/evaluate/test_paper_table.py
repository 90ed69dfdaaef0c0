"""The table of a paper: means, class means, the images that all methods have, the paired test, and its two texts."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inr_xai.errors import UserError
from inr_xai.evaluate.paper_table import make_table
from inr_xai.evaluate.results import Results
from inr_xai.evaluate.table_text import latex, markdown
from inr_xai.metrics.statistics.bootstrap import AT_ONCE, mean_interval, resamples, sign_flip_p_value
from inr_xai.runs.files import format_csv
from tests.helpers.runs import ROOT, process

DIRECTIONS = {"road": True, "deletion_auc": False, "pointing_game": True, "iou": True, "sparseness": None}
VALUES = [0.1, 0.7, 0.4, 0.9, 0.3, 0.5, 0.8, 0.6]


def results(folder: Path, name: str, rows: dict[str, dict[str, object]]) -> Results:
    """Returns the results of one method, written and read again."""
    method = Results(folder / f"{name}.csv")
    for sample_id, row in rows.items():
        method.add(sample_id, {"target": 0, "difficult": 0, **row, "failed": ""})
    return Results(method.file)


@pytest.fixture
def methods(tmp_path: Path) -> dict[str, Results]:
    """Two methods on eight images, of which the second method lacks the last."""
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
    methods = {
        name: results(tmp_path, name, {"a": {"deletion_auc": value}, "b": {"deletion_auc": value}})
        for name, value in {"high": 0.5, "low": 0.25}.items()
    }
    best = {name: cells[0].best for name, cells in make_table(methods, DIRECTIONS).rows.items() if cells[0] is not None}
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


def seeded(images: int, classes: int) -> tuple[dict[str, dict[str, object]], dict[str, dict[str, object]]]:
    """Returns rows of two methods that hit or miss; class 0 has most of the images."""
    random = np.random.default_rng(0)
    targets = np.maximum(random.integers(-classes, classes, images), 0)
    both = random.random((2, images)) < np.array([[0.6], [0.5]])
    ours, other = (
        {f"i{place:03d}": {"target": targets[place], "pointing_game": float(hit)} for place, hit in enumerate(hits)}
        for hits in both
    )
    return ours, other


def class_mean(values: Sequence[float], targets: Sequence[int]) -> float:
    """Returns the mean over classes of each class's mean, by loops."""
    means = []
    for target in sorted(set(targets)):
        of_class = [value for value, other in zip(values, targets, strict=True) if other == target]
        means.append(sum(of_class) / len(of_class))
    return sum(means) / len(means)


def test_the_interval_of_a_mean_over_classes_against_loops(tmp_path: Path) -> None:
    ours, _ = seeded(40, 5)
    table = make_table({"ours": results(tmp_path, "ours", ours)}, DIRECTIONS)
    (cell,) = table.rows["ours"]
    assert cell is not None
    values = [float(str(row["pointing_game"])) for row in ours.values()]
    targets = [int(str(row["target"])) for row in ours.values()]
    means = [
        class_mean([values[place] for place in photos], [targets[place] for place in photos])
        for rows in resamples(40, draws=2000, seed=0)
        for photos in rows.tolist()
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    assert cell.value == pytest.approx((class_mean(values, targets), low, high), abs=1e-12)


def test_the_memory_of_a_mean_over_classes_does_not_grow_with_them(tmp_path: Path) -> None:
    """Photos times classes times resamples would be 4 GB."""
    rows = [
        {"sample_id": f"{place:03d}", "target": place % 500, "pointing_game": place % 2, "failed": ""}
        for place in range(500)
    ]
    (tmp_path / "ours.csv").write_text(format_csv(rows))
    method = Results(tmp_path / "ours.csv")
    tracked: list[int] = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
            result = function(*arguments, **(options or {}))
            if isinstance(result, torch.Tensor):
                tracked.append(result.numel())
            return result

    with Watching():
        (cell,) = make_table({"ours": method}, DIRECTIONS).rows["ours"]
    assert cell is not None
    assert cell.value.value == 0.5
    assert 0 < max(tracked) <= AT_ONCE


def test_the_test_of_a_mean_over_classes_is_of_that_mean(tmp_path: Path) -> None:
    """All sign patterns by loops. The second method is ahead in the mean over images, but not in that over classes."""
    targets = [0] * 7 + [1, 1, 2]
    mine, other = [0, 0, 0, 0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0, 1, 0]
    rows = [
        {f"i{place}": {"target": targets[place], "pointing_game": hit} for place, hit in enumerate(hits)}
        for hits in (mine, other)
    ]
    methods = {name: results(tmp_path, name, of_one) for name, of_one in zip(("mine", "other"), rows, strict=True)}
    first, second = (cells[0] for cells in make_table(methods, DIRECTIONS).rows.values())
    assert first is not None
    assert second is not None
    assert (first.best, second.best) == (True, False)
    difference = [b - a for a, b in zip(mine, other, strict=True)]
    bound = abs(class_mean(difference, targets))
    patterns = list(itertools.product((1, -1), repeat=10))
    flipped = [class_mean([s * d for s, d in zip(signs, difference, strict=True)], targets) for signs in patterns]
    expected = sum(abs(mean) >= bound - 1e-9 for mean in flipped) / len(patterns)
    assert second.p == pytest.approx(expected)
    over_images = sign_flip_p_value(torch.tensor(other).double(), torch.tensor(mine).double())
    assert expected != pytest.approx(over_images)


def test_classes_are_those_of_the_methods_that_have_the_metric(tmp_path: Path) -> None:
    ours, other = seeded(20, 3)
    without = {key: {"target": "", "road": 0.5} for key in ours}
    both = {"ours": results(tmp_path, "ours", ours), "other": results(tmp_path, "other", other)}
    of_two = make_table(both, DIRECTIONS).rows
    of_three = make_table({"none": results(tmp_path, "none", without), **both}, DIRECTIONS, ["pointing_game"]).rows
    assert of_three["none"] == [None]
    for name in both:
        first, second = of_two[name][0], of_three[name][0]
        assert first is not None
        assert second is not None
        assert (first.value, first.best) == (second.value, second.best)


def test_a_mean_over_different_classes_is_refused(tmp_path: Path) -> None:
    ours, other = seeded(20, 3)
    other["i005"]["target"] = 7
    methods = {"ours": results(tmp_path, "ours", ours), "theirs": results(tmp_path, "theirs", other)}
    with pytest.raises(UserError, match=r"^'ours' explains class \d of 'i005' and 'theirs' class 7, .*the same class"):
        make_table(methods, DIRECTIONS)
    other["i005"]["pointing_game"] = ""  # takes the image out of the comparison
    methods["theirs"] = results(tmp_path, "again", other)
    assert make_table(methods, DIRECTIONS).rows["theirs"][0] is not None


def test_a_mean_over_areas_is_of_those_that_all_have(tmp_path: Path) -> None:
    """The third method has no area and the fourth only one: without the fourth the mean is over 0.2 and 0.4."""
    areas = {
        "ours": {"iou/a0.1": 0.9, "iou/a0.2": 0.2, "iou/a0.4": 0.4},
        "other": {"iou/a0.2": 0.3, "iou/a0.4": 0.4, "iou/a0.8": 0.0},
        "none": {"road": 0.5},
        "one": {"iou/a0.2": 0.3},
    }
    methods = {name: results(tmp_path, name, {"a": dict(row), "b": dict(row)}) for name, row in areas.items()}
    few = {name: methods[name] for name in ("ours", "other", "none")}
    table = make_table(few, DIRECTIONS, ["iou"])
    assert table.columns == ["iou/a0.1", "iou/a0.2", "iou/a0.4", "iou/a0.8", "iou/mean"]
    ours, other, none = (table.rows[name][-1] for name in few)
    assert ours is not None
    assert other is not None
    assert (ours.value.value, other.value.value, none) == (pytest.approx(0.3), pytest.approx(0.35), None)
    assert (ours.best, other.best) == (False, True)
    assert "iou/mean" not in make_table(methods, DIRECTIONS, ["iou"]).columns


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
    assert "(of the pointing game means over classes" in lines[-1]
    text = latex(table)
    assert r"method & road $\uparrow$ & deletion\_auc $\downarrow$ \\" in text
    assert r"ours & \textbf{0.529} {\scriptsize [0." in text
    assert r"other & 0.264$^{*}$" in text


@pytest.mark.slow
def test_the_command_prints_and_writes_the_table(methods: dict[str, Results], tmp_path: Path) -> None:
    program = "import runpy; runpy.run_module('inr_xai.evaluate.table', run_name='__main__')"
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
    assert "make it with inr-xai evaluate RUN" in refused.stderr
