"""A multirun from the command line: its table is printed, written and logged, also if jobs fail or are continued."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from inr_xai.errors import UserError
from inr_xai.runs.folder import RunFolder
from tests.helpers import wandb_read
from tests.helpers.program import Program, needs_joblib, needs_optuna
from tests.helpers.runs import TINY, process, table

METRIC = "preservation_hard_mean_rel/k1"
NO_FILES = [f"callbacks.{name}=null" for name in ("figures", "progress")]


def rows(folder: Path) -> list[dict[str, str]]:
    """Returns the rows of a multirun's sweep.csv."""
    return table(folder, "sweep.csv")


@pytest.mark.slow
def test_the_table_has_a_row_for_each_job_also_for_refused_ones(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(cfg: DictConfig) -> None:
        if cfg.seed == 0:
            raise UserError("no photo there")
        (Path(cfg.out) / "summary.json").write_text(json.dumps({METRIC: cfg.seed / 4, "images": 2}))
        facts = {"config": {"sweep_metric": cfg.sweep_metric, "data": {}, "classifier": {}}, "wandb_id": "a1b2"}
        RunFolder(cfg.out).write_run(facts | {"scoring_pool": [], "donor_pool": []})

    program.act = act
    assert program("-m", "seed=-1,0,1,2", "+ablation=default", "out=here") == 2
    assert [(row["job"], row["seed"], row[METRIC], row["best"], row["status"]) for row in rows(Path("here"))] == [
        ("0", "-1", "", "", "failed: seed=-1 is out of range; it must be a whole number, at least 0"),
        ("1", "0", "", "", "failed: no photo there"),
        ("2", "1", "0.25", "", "done"),
        ("3", "2", "0.5", "best", "done"),
    ]
    assert list(rows(Path("here"))[0]) == ["job", "best", "seed", METRIC, "images", "status"]
    printed = capsys.readouterr().out
    assert printed.count("| job |") == 1
    assert "\n".join(Path("here/sweep.md").read_text().splitlines()[2:8]) in printed
    assert f"The table is in {Path('here').absolute() / 'sweep.md'} and sweep.csv.\n" in printed
    assert not Path("here/wandb").exists()


@pytest.mark.slow
def test_a_bug_and_an_interruption_leave_a_table(program: Program) -> None:
    def act(cfg: DictConfig) -> None:
        raise {0: KeyboardInterrupt(), 1: ZeroDivisionError("division by zero")}[cfg.seed]

    program.act = act
    with pytest.raises(ZeroDivisionError):
        program("-m", "seed=1,1", "out=bug")
    assert [row["status"] for row in rows(Path("bug"))] == ["failed: ZeroDivisionError('division by zero')"] * 2
    assert program("-m", "seed=0,1", "out=stopped") == 130
    assert [row["status"] for row in rows(Path("stopped"))] == ["interrupted"]


@pytest.mark.slow
def test_no_table_of_what_did_not_run(program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("-m", "seed=0,1", "dry_run=true") == 0
    assert program("-m", "inr=nothing,fourier", "out=here") == 2
    assert program("seed=3", "out=single") == 0
    assert "| job |" not in capsys.readouterr().out
    assert not list(tmp_path.rglob("job.json")) + list(tmp_path.rglob("sweep.*"))


@needs_optuna
def test_a_search_for_the_worst_is_refused(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program("sweep=optuna_search", "sweep_metric=deletion_hard_mean_rel/k1") == 2
    assert capsys.readouterr().err == (
        "error: hydra.sweeper.direction=maximize looks for the worst sweep_metric=deletion_hard_mean_rel/k1, of which "
        "less is better; give hydra.sweeper.direction=minimize\n"
    )
    assert program.started == []
    assert not list(tmp_path.iterdir())


def logged(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the W&B run of a multirun, and the table in it."""
    part = wandb_read.parts(folder)[-1]
    (run,) = wandb_read.records(part, "run")[:1]
    summary = wandb_read.summary(part)["summary"]
    return run | {"summary": summary}, json.loads((part / "files" / summary["sweep/table"]["path"]).read_text())


@pytest.mark.slow
def test_a_sweep_of_the_demo_has_one_table_in_its_folder_and_at_wandb(tmp_path: Path) -> None:
    options = ["sweep=steps", "steps=2,3", "areas=[0.1]", "data.size=2", *NO_FILES, "out=mine"]
    done = process(*options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "mine"
    jobs = rows(out)
    summaries = [RunFolder(out / str(job)).read_summary() for job in range(2)]
    assert [(row["job"], row["steps"], row["images"], row["failures"], row["status"]) for row in jobs] == [
        ("0", "2", "2", "0", "done"),
        ("1", "3", "2", "0", "done"),
    ]
    for row, summary in zip(jobs, summaries, strict=True):
        for key in (METRIC, "preservation_hard_mean_rel/k2", "deletion_hard_mean_rel/k1", "passes_per_image"):
            assert float(row[key]) == summary[key]
    best = max(range(2), key=lambda job: summaries[job][METRIC])
    assert [row["best"] for row in jobs] == ["best" if job == best else "" for job in range(2)]
    assert "\n".join((out / "sweep.md").read_text().splitlines()[2:6]) in done.stdout
    run, logged_table = logged(out)
    assert (run["job_type"], run["run_group"], run["display_name"]) == ("sweep", "mine", "mine")
    assert run["run_id"] == f"sweep-{RunFolder(out / '0').read_run()['wandb_id']}"
    assert run["summary"]["best/job"] == best
    with (out / "sweep.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    assert logged_table["columns"] == [*header, f"{METRIC} low", f"{METRIC} high"]
    assert [["" if cell is None else str(cell) for cell in row[:-2]] for row in logged_table["data"]] == lines
    for row, summary in zip(logged_table["data"], summaries, strict=True):
        assert row[-2] <= summary[METRIC] <= row[-1]
    assert {run["summary"][key]["count"] for key in ("sweep/bars", "sweep/parallel")} == {1}
    again = process(*options, "data.limit=1", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "1 of 1 images are done and skipped" in again.stdout
    assert rows(out) == jobs
    assert len(wandb_read.parts(out)) == 2
    assert logged(out)[0]["run_id"] == run["run_id"]


@needs_joblib
@pytest.mark.slow
def test_jobs_in_other_processes_have_their_table_although_one_is_refused(tmp_path: Path) -> None:
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = process(
        "-m", *TINY, "data.size=1", "+ablation=default,no_decay", "seed=0,-1", *launcher, "out=o", folder=tmp_path
    )
    assert done.returncode == 2
    failed = "failed: seed=-1 is out of range; it must be a whole number, at least 0"
    assert [(row["ablation"], row["seed"], row["status"]) for row in rows(tmp_path / "o")] == [
        ("default", "0", "done"),
        ("default", "-1", failed),
        ("no_decay", "0", "done"),
        ("no_decay", "-1", failed),
    ]
    assert [row["best"] for row in rows(tmp_path / "o")].count("best") == 1
    assert not (tmp_path / "o" / "wandb").exists()


@needs_joblib
@pytest.mark.slow
def test_a_worker_that_is_killed_ends_with_one_sentence_and_the_jobs_go_on_later(tmp_path: Path) -> None:
    options = [*TINY, "data.size=1", "explanations=1", "out=o"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    killed = "{_target_:tests.helpers.runs.Killed},null"
    done = process("-m", *options, *launcher, f"callbacks.scores={killed}", folder=tmp_path)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: a process that worked on a job was killed")
    assert line.endswith(f"continue with the same command and out={tmp_path / 'o'}")
    assert "Traceback" not in done.stdout + done.stderr
    assert rows(tmp_path / "o")[0]["status"] == "interrupted"
    again = process("-m", *options, "callbacks.scores=null,null", folder=tmp_path)
    assert (again.returncode, [row["status"] for row in rows(tmp_path / "o")]) == (0, ["done"] * 2)


@needs_optuna
@pytest.mark.slow
def test_a_search_is_seeded_and_has_its_table(tmp_path: Path) -> None:
    trials = []
    for out in ("first", "second"):
        options = ["sweep=optuna_search", "hydra.sweeper.n_trials=2", "area_rule.end=0.03", *TINY, "data.size=1"]
        done = process(*options, f"out={out}", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        trials.append([(float(row["total_variation"]), row[METRIC]) for row in rows(tmp_path / out)])
        assert "area_rule.end" not in rows(tmp_path / out)[0]
    assert trials[0] == trials[1]
    first, second = (value for value, _ in trials[0])
    assert first != second
    assert 0 <= min(first, second) < max(first, second) <= 0.5
    assert (tmp_path / "first" / "optimization_results.yaml").exists()
