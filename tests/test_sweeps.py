"""The table of a multirun's jobs, from made-up folders: which columns, which values, which row is the best."""

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from inr_xai.runs.files import write_json
from inr_xai.sweeps import (
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    Job,
    conclude_multirun,
    main,
    note_job,
    read_jobs,
    sweep_table,
    write_sweep_table,
)
from tests.helpers.runs import FACTS, messages

METRIC = "preservation_hard_mean_rel/k1"
SCORES = {
    "preservation_hard_mean_rel/k1": 0.75,
    "preservation_hard_mean_rel/k1/a0.1": 0.5,
    "deletion_hard_mean_rel/k1": 0.125,
    "preservation_hard_blur_rel/k1": 0.5,
    "preservation_hard_grey_rel/k1": 0.625,
    "preservation_hard_noise_rel/k1": 0.875,
    "preservation_hard_photo_rel/k1": 1.0,
    "chance_rel/k1": 0.25,
    "grayness/k1": 0.0625,
    "area_error/k1": 0.00025,
    "images": 3,
    "failures": 1,
    "seconds_per_image": 12.5,
    "passes_per_image": 400,
}
KEYS = [key for key in SCORES if not key.startswith("chance") and "/a" not in key]
FIGURES = [key for key in KEYS if "/" in key]
COUNTS = ["seconds_per_image", "passes_per_image", "images", "failures"]


def job(
    root: Path, number: int, overrides: list[str], *, metric: str = METRIC, explanations: Any = 1, **scores: Any
) -> Path:
    """Writes a finished job's folder, with SCORES of which some may be given (`__` stands for a slash)."""
    folder = root / str(number)
    note_job(folder, number, overrides, DONE)
    given = {key.replace("__", "/"): value for key, value in scores.items()}
    write_json(folder / "summary.json", SCORES | given)
    config = FACTS["config"] | {"sweep_metric": metric, "explanations": explanations}
    write_json(folder / "run.json", FACTS | {"config": config})
    return folder


def rows(root: Path) -> list[dict[str, Any]]:
    """Returns the rows of the table, by column."""
    table = sweep_table(read_jobs(root))
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_only_what_differs_is_a_column_and_the_values_are_those_of_the_jobs(tmp_path: Path) -> None:
    for number, (steps, rule) in enumerate([(25, "projection"), (25, "rank_penalty"), (50, "projection")]):
        value = [0.75, 0.5, 1.25][number]
        overrides = ["seed=3", f"steps={steps}", f"area_rule={rule}", f"out='{tmp_path}'"]
        job(tmp_path, number, overrides, preservation_hard_mean_rel__k1=value)
    table = sweep_table(read_jobs(tmp_path))
    assert table.columns == ["job", "best", "steps", "area_rule", *FIGURES, *COUNTS, "status"]
    values = {key: SCORES[key] for key in (*FIGURES, *COUNTS)}
    assert rows(tmp_path)[2] == {
        "job": 2,
        "best": "best",
        "steps": 50,
        "area_rule": "projection",
        **(values | {METRIC: 1.25}),
        "status": "done",
    }
    assert [(row["job"], row["best"], row["steps"], row["area_rule"]) for row in rows(tmp_path)] == [
        (0, None, 25, "projection"),
        (1, None, 25, "rank_penalty"),
        (2, "best", 50, "projection"),
    ]


def test_jobs_are_in_their_order_also_beyond_ten(tmp_path: Path) -> None:
    for number in (10, 2, 0, 1):
        job(tmp_path, number, [f"seed={number}"])
    assert [row["job"] for row in rows(tmp_path)] == [0, 1, 2, 10]


def test_an_ablation_is_named_in_its_column(tmp_path: Path) -> None:
    for number, name in enumerate(["default", "no_jitter"]):
        job(tmp_path, number, [f"+ablation={name}"])
    assert [row["ablation"] for row in rows(tmp_path)] == ["default", "no_jitter"]


def test_values_are_numbers_if_all_are_and_a_list_stays_whole(tmp_path: Path) -> None:
    job(tmp_path, 0, ["inr.sigma=0.25", "areas=[0.1,0.2]", "out=a=b", "x=1"])
    job(tmp_path, 1, ["inr.sigma=4", "areas=[0.1]", "out=a=c", "x=none"])
    values = [(row["inr.sigma"], row["areas"], row["out"], row["x"]) for row in rows(tmp_path)]
    assert values == [(0.25, "[0.1,0.2]", "a=b", "1"), (4.0, "[0.1]", "a=c", "none")]


def test_a_job_that_failed_or_was_killed_has_a_row_that_says_so(tmp_path: Path) -> None:
    job(tmp_path, 0, ["steps=1"], preservation_hard_mean_rel__k1=0.25)
    refused = job(tmp_path, 1, ["steps=0"])  # its files are those of an earlier attempt
    note_job(refused, 1, ["steps=0"], FAILED, "steps=0 is out of range;\n it must be | at least 1")
    note_job(tmp_path / "2", 2, ["steps=2"], RUNNING)
    job(tmp_path, 3, ["steps=3"], preservation_hard_mean_rel__k1=0.5)
    (job(tmp_path, 4, ["steps=4"]) / "summary.json").write_text("{torn")
    table = rows(tmp_path)
    assert [row["status"] for row in table[:4]] == [
        "done",
        "failed: steps=0 is out of range; it must be | at least 1",
        "unfinished",
        "done",
    ]
    note = json.loads((tmp_path / "2" / "job.json").read_text())
    assert note["process"][1] == os.getpid()
    note["process"][2] = -1  # another process has its number now
    (tmp_path / "2" / "job.json").write_text(json.dumps(note))
    assert read_jobs(tmp_path)[2].status == "interrupted"
    note["process"][0] = "another"
    (tmp_path / "2" / "job.json").write_text(json.dumps(note))
    assert read_jobs(tmp_path)[2].status == "unfinished"
    note_job(tmp_path / "2", 2, ["steps=2"], INTERRUPTED)
    assert read_jobs(tmp_path)[2].status == "interrupted"
    assert table[4]["status"].startswith(f"failed: {tmp_path / '4' / 'summary.json'} is damaged")
    assert [row[METRIC] for row in table] == [0.25, None, None, 0.5, None]
    assert [row["best"] for row in table] == [None, None, None, "best", None]
    assert [row["steps"] for row in table] == [1, 0, 2, 3, 4]
    assert "out of range; it must be \\| at least 1 |" in sweep_table(read_jobs(tmp_path)).markdown()


def test_all_jobs_failed(tmp_path: Path) -> None:
    for number in range(2):
        note_job(tmp_path / str(number), number, [f"seed={number}"], FAILED, "no photo")
    table = sweep_table(read_jobs(tmp_path))
    assert table.columns == ["job", "best", "seed", "status"]
    assert (table.metric, table.best) == (None, None)


def test_later_explanations_have_their_preservation(tmp_path: Path) -> None:
    job(tmp_path, 0, ["explanations=1"])
    later = {f"preservation_hard_mean_rel__k{k}": 1 / k for k in (2, 3, 10)}
    job(tmp_path, 1, ["explanations=10"], **later, deletion_hard_mean_rel__k2=0.5)
    table = sweep_table(read_jobs(tmp_path))
    added = [f"preservation_hard_mean_rel/k{k}" for k in (2, 3, 10)]
    assert table.columns == ["job", "best", "explanations", *FIGURES, *added, *COUNTS, "status"]
    assert [[row[key] for key in added] for row in rows(tmp_path)] == [[None] * 3, [0.5, 1 / 3, 0.1]]
    assert "preservation k3" in table.markdown().splitlines()[0]


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("preservation_hard_mean_rel/k1", [0.5, 0.75, 0.25], 1),
        ("chance_rel/k1", [0.5, 0.75, 0.25], 1),
        ("deletion_hard_mean_rel/k1", [0.5, 0.75, 0.25], 2),
        ("area_error/k1/a0.1", [0.5, 0.75, 0.25], 2),
        ("grayness/k1", [math.nan, 0.75, 0.5], 2),
        ("grayness/k1", [math.nan, 0.75, math.inf], None),
        ("p_full/k1", [0.5, 0.5, 0.25], 0),
    ],
)
def test_the_best_row_is_the_one_of_the_metric(
    tmp_path: Path, metric: str, values: list[float], best: int | None
) -> None:
    for number, value in enumerate(values):
        job(tmp_path, number, [f"seed={number}"], metric=metric, **{metric.replace("/", "__"): value})
    table = sweep_table(read_jobs(tmp_path))
    assert (table.metric, table.best) == (metric, best)
    assert metric in table.columns
    assert [row["best"] for row in rows(tmp_path)] == ["best" if place == best else None for place in range(3)]


def test_a_column_that_no_job_has_is_left_out(tmp_path: Path) -> None:
    job(tmp_path, 0, ["seed=0"])
    assert "nesting_violation/k1" not in sweep_table(read_jobs(tmp_path)).columns
    job(tmp_path, 1, ["seed=1"], nesting_violation__k1=0.5)
    assert [row["nesting_violation/k1"] for row in rows(tmp_path)] == [None, 0.5]


def test_the_mean_number_of_explanations_is_shown_if_images_decide_it(tmp_path: Path) -> None:
    job(tmp_path, 0, ["explanations=1"], explanations__mean=1.0)
    assert "explanations/mean" not in sweep_table(read_jobs(tmp_path)).columns
    job(tmp_path, 1, ["explanations=auto"], explanations="auto", explanations__mean=1.5)
    assert [row["explanations/mean"] for row in rows(tmp_path)] == [1.0, 1.5]


def test_the_files(tmp_path: Path) -> None:
    job(tmp_path, 0, ["inr.sigma=1.23456789"])
    job(tmp_path, 1, ["inr.sigma=2.0"], preservation_hard_mean_rel__k1=0.8)
    note_job(tmp_path / "deep" / "2", 2, ["inr.sigma=0"], FAILED, "a reason that is long enough to widen no column")
    table = sweep_table(read_jobs(tmp_path))
    write_sweep_table(tmp_path, table)
    with (tmp_path / "sweep.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["inr.sigma"] for line in lines] == ["1.23456789", "2.0", "0.0"]
    assert [line["best"] for line in lines] == ["", "best", ""]
    assert lines[2][METRIC] == ""
    assert lines[0] == {key: "" if cell is None else str(cell) for key, cell in rows(tmp_path)[0].items()}
    text = (tmp_path / "sweep.md").read_text().splitlines()
    assert text[0] == f"# {tmp_path.name}"
    assert text[-1].endswith(f"Best: the highest {METRIC}.")
    expected = """
| job |      | inr.sigma | preservation | deletion |  blur |  grey | noise | photo | grayness | area error | s/image |
| --: | ---- | --------: | -----------: | -------: | ----: | ----: | ----: | ----: | -------: | ---------: | ------: |
|   0 |      |     1.235 |        0.750 |    0.125 | 0.500 | 0.625 | 0.875 | 1.000 |    0.062 |     0.0003 |    12.5 |
|   1 | best |         2 |        0.800 |    0.125 | 0.500 | 0.625 | 0.875 | 1.000 |    0.062 |     0.0003 |    12.5 |
|   2 |      |         0 |              |          |       |       |       |       |          |            |         |
"""
    cut = len(expected.strip().splitlines()[0])
    assert [line[:cut] for line in text[2:7]] == expected.strip().splitlines()
    assert [line[cut:] for line in text[2:7]] == [
        " passes/image | images | failures | status |",
        " -----------: | -----: | -------: | ------ |",
        "          400 |      3 |        1 | done   |",
        "          400 |      3 |        1 | done   |",
        "              |        |          | failed: a reason that is long enough to widen no column |",
    ]


def test_the_command_writes_and_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        job(tmp_path, number, [f"seed={number}"])
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == sweep_table(read_jobs(tmp_path)).markdown()
    assert (tmp_path / "sweep.csv").exists()


def test_a_folder_without_jobs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path / 'none'} holds no job.json of a job; give the folder of a multirun"
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [(["--help"], 0, "the folder of a multirun"), ([], 2, "the following arguments are required: folder")],
)
def test_the_command_prints_help_and_refuses_a_missing_folder(
    arguments: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    printed = capsys.readouterr()
    assert text in printed.out + printed.err


def test_a_job_without_run_json_is_known_by_its_note_alone(tmp_path: Path) -> None:
    note_job(tmp_path / "0", 0, ["seed=0"], RUNNING)
    assert read_jobs(tmp_path) == [Job(tmp_path / "0", 0, {"seed": "0"}, "unfinished", {}, {})]


def test_a_failure_of_wandb_costs_neither_the_table_nor_the_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = job(tmp_path, 0, ["steps=1"])
    facts = json.loads((folder / "run.json").read_text())
    facts["config"]["logger"] = {"wandb": {"_target_": "inr_xai.loggers.WandbSettings", "mode": "sometimes"}}
    write_json(folder / "run.json", facts)
    table = conclude_multirun(tmp_path)
    assert table is not None
    assert table in (tmp_path / "sweep.md").read_text()
    (message,) = messages(caplog.records)
    assert message.startswith("W&B does not get the table of the jobs: ")
