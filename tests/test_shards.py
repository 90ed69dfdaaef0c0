"""`shards=n`: n jobs for each configuration in one run folder, one row of the sweep's table, and what is refused."""

import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from inr_xai.config import check, register
from inr_xai.config.shards import expand_shards, folder_of_job
from inr_xai.errors import UserError
from inr_xai.runs.files import write_json
from inr_xai.sweeps import DONE, FAILED, INTERRUPTED, RUNNING, conclude_multirun, note_job, read_jobs, sweep_table
from tests.helpers.program import Program, needs_submitit
from tests.helpers.runs import FACTS, ROOT, configured_fast, table

METRIC = "preservation_hard_mean_rel/k1"


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    """What Hydra composes for a multirun, with its own node."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", return_hydra_config=True)


def multirun(composed: DictConfig, *overrides: str, **values: Any) -> DictConfig:
    """Returns the configuration of a multirun with these options, of which those that are no sweep are `values` too."""
    cfg = copy.deepcopy(composed)
    with open_dict(cfg):
        cfg.merge_with(values)
        cfg.hydra.job.name = "inr_xai"
        cfg.hydra.overrides.task, cfg.hydra.overrides.hydra = list(overrides), []
    return cfg


def test_the_shorthand_becomes_the_dimension_that_changes_fastest(composed: DictConfig) -> None:
    cfg = multirun(composed, "shards=3", "steps=50,100", shards=3)
    assert expand_shards(cfg) == 3
    assert cfg.hydra.overrides.task == [
        *("shards=3", "steps=50,100"),
        *("shard.count=3", "shard.steal=true", "shard.index=range(3)"),
    ]
    parsed = OverridesParser.create().parse_overrides(list(cfg.hydra.overrides.task))
    last = BasicSweeper.split_arguments(parsed, None)[0][-1]
    assert last == ["shards=3", "steps=100", "shard.count=3", "shard.steal=True", "shard.index=2"]
    assert [folder_of_job(number, 3) for number in range(6)] == [0, 0, 0, 1, 1, 1]
    subdir, name = OmegaConf.to_container(cfg.hydra.overrides.hydra, resolve=False)
    assert subdir == "hydra.sweep.subdir='${shards_folder:${hydra.job.num},3}'"
    assert name == "hydra.job.name='inr_xai-${shard.index}-of-${shard.count}'"
    assert expand_shards(multirun(composed, "steps=50,100")) is None


def test_shards_of_an_experiment_file_count_too(composed: DictConfig) -> None:
    cfg = multirun(composed, "+experiment=mine", shards=2)
    assert expand_shards(cfg) == 2
    assert list(cfg.hydra.overrides.task) == [
        *("+experiment=mine", "shard.count=2"),
        *("shard.steal=true", "shard.index=range(2)"),
    ]


BOTH = "shards=2 sets shard.index and shard.count itself; give either shards or these two"
ONE = "shards is one number for all jobs of a multirun; give shards=N, or two commands"
SEARCH = {"_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper", "params": None}


@pytest.mark.parametrize(
    ("overrides", "values", "message"),
    [
        (["shards=0"], {"shards": 0}, "shards=0 is out of range; it must be a whole number, at least 1"),
        ([], {"shards": 100_001}, "shards=100001 is out of range; it must be a whole number, at most 100000"),
        (["shards=2,4"], {}, f"shards=2,4: {ONE}"),
        ([], {"hydra": {"sweeper": {"params": {"shards": "4"}}}}, f"hydra.sweeper.params.shards: {ONE}"),
        (["shard.index=0,1"], {"shards": 2}, BOTH),
        (["shard.count=1"], {"shards": 2}, BOTH),
        ([], {"shards": 2, "shard": {"index": 0, "count": 2}}, BOTH),
        ([], {"shards": 2, "hydra": {"sweeper": {"params": {"shard.index": "0,1"}}}}, BOTH),
        (
            [],
            {"shards": 2, "hydra": {"sweeper": SEARCH}},
            "shards=2 needs hydra/sweeper=basic, which knows all jobs beforehand, and a search is on; leave out "
            "shards, or the search",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    composed: DictConfig, overrides: list[str], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        expand_shards(multirun(composed, *overrides, **values))
    assert str(refused.value) == message


def test_who_gives_the_folders_of_jobs_gives_no_shards(composed: DictConfig) -> None:
    cfg = multirun(composed, shards=2)
    cfg.hydra.overrides.hydra.append("hydra.sweep.subdir=all")
    with pytest.raises(UserError, match=r"shards=2 sets hydra\.sweep\.subdir itself"):
        expand_shards(cfg)


@pytest.mark.slow
def test_a_single_run_has_no_shards(program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for count in (1, 8):
        assert program(f"shards={count}", "out=here") == 2
        assert capsys.readouterr().err == (
            f"error: shards={count} divides the images among the jobs of a multirun; add -m (python train.py -m "
            f"shards={count}), or give shard.count={count} shard.index=0 for one part of them\n"
        )
    assert program("-m", "shards=0", "out=here") == 2
    assert (program.started, list(tmp_path.iterdir())) == ([], [])


def test_the_check_refuses_shards_that_are_no_parts(composed: DictConfig) -> None:
    check(configured_fast("shards=2", "shard.count=2", "shard.index=1"))
    with pytest.raises(UserError, match="shards=2 divides the images"):
        check(configured_fast("shards=2"))


@pytest.mark.slow
def test_each_configuration_has_a_folder_and_each_shard_of_it_a_job(program: Program, tmp_path: Path) -> None:
    program.act = lambda cfg: write_json(Path(cfg.out) / "summary.json", {"images": 2})
    assert program("-m", "shards=2", "steps=50,100", "name=mine", "out=here") == 0
    started = [(cfg.steps, cfg.shard.index, cfg.shard.count, cfg.shards, Path(cfg.out).name) for cfg in program.started]
    assert started == [(50, 0, 2, 2, "0"), (50, 1, 2, 2, "0"), (100, 0, 2, 2, "1"), (100, 1, 2, 2, "1")]
    names = [(cfg.logger.wandb.group, cfg.logger.wandb.name) for cfg in program.started]
    assert names == [("here", f"steps={steps}") for steps in (50, 50, 100, 100)]
    logs = [(tmp_path / "here" / "0" / f"inr_xai-{index}-of-2.log").read_text() for index in (0, 1)]
    assert ["\n  index: 0\n" in log for log in logs] == [True, False]
    assert [log.count("configuration:") for log in logs] == [1, 1]
    jobs = read_jobs(tmp_path / "here")
    assert [(job.number, job.folder.name, job.status) for job in jobs] == [(0, "0", "done"), (1, "1", "done")]
    assert [job.values["steps"] for job in jobs] == ["50", "100"]
    assert "shard.index" not in jobs[0].values


@pytest.mark.slow
def test_one_configuration_has_one_folder_and_its_name(program: Program, tmp_path: Path) -> None:
    def act(cfg: DictConfig) -> None:
        if cfg.shard.index == 0:
            (Path(cfg.out) / "failures.csv").write_text("image_id,reason\na,broken\n")

    program.act = act
    assert program("-m", "shards=2", "name=mine", "out=here") == 3
    assert {cfg.out for cfg in program.started} == {str(tmp_path / "here" / "0")}
    assert ["name" in cfg.logger.wandb for cfg in program.started] == [False, False]


@pytest.mark.slow
@needs_submitit
def test_a_dry_run_shows_each_job_here_whatever_the_launcher(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program("-m", "shards=2", "dry_run=true", "hydra/launcher=slurm") == 0
    printed = capsys.readouterr().out
    assert [printed.count(f"\n  index: {index}\n  count: 2\n") for index in (0, 1)] == [1, 1]


def note(folder: Path, index: int, status: str, reason: str = "", *, count: int = 3, number: int = 0) -> Path:
    """Writes the note of one of three shards, and returns its file."""
    overrides = ["steps=5", "shards=3", "shard.count=3", f"shard.index={index}"]
    note_job(folder, number, overrides, status, reason, shard=(index, count))
    return folder / "jobs" / f"{index}-of-{count}.json"


def killed(file: Path) -> None:
    """Changes a note to that of a process of this machine that has ended."""
    content = json.loads(file.read_text())
    content["process"][2] = -1
    file.write_text(json.dumps(content))


def status_of(folder: Path) -> str:
    (job,) = read_jobs(folder)
    return job.status


def test_the_status_of_a_folder_is_that_of_all_its_shards(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    note(folder, 0, DONE)
    assert status_of(tmp_path) == "unfinished"  # the others have not begun
    note(folder, 1, DONE)
    running = note(folder, 2, RUNNING)
    assert status_of(tmp_path) == "unfinished"
    killed(running)
    assert status_of(tmp_path) == "interrupted"
    note(folder, 2, INTERRUPTED)
    assert status_of(tmp_path) == "interrupted"
    note(folder, 1, RUNNING)
    assert status_of(tmp_path) == "unfinished"
    note(folder, 0, FAILED, "the disk is full")
    assert status_of(tmp_path) == "failed: the disk is full"
    for index in range(3):
        note(folder, index, DONE)
    write_json(folder / "summary.json", {METRIC: 0.5, "images": 9})
    (job,) = read_jobs(tmp_path)
    assert (job.status, job.number, job.values) == ("done", 0, {"steps": "5", "shards": "3", "shard.count": "3"})
    assert job.summary[METRIC] == 0.5


def plan(folder: Path, *, images: int, failures: int, planned: int | None) -> None:
    """Writes how much of a folder's plan is done."""
    write_json(folder / "summary.json", {"images": images, "failures": failures})
    write_json(folder / "run.json", FACTS | ({} if planned is None else {"planned": planned}))


def test_a_dead_shard_does_not_matter_if_others_have_done_its_images(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    note(folder, 0, DONE)
    killed(note(folder, 1, RUNNING))
    note(folder, 2, FAILED, "the disk is full")
    for planned, images, expected in ((None, 9, FAILED), (10, 8, FAILED), (10, 9, DONE), (10, 10, DONE)):
        plan(folder, images=images, failures=1, planned=planned)
        assert status_of(tmp_path).split(":")[0] == expected
    note(folder, 1, RUNNING)  # it lives, and may be measuring
    assert status_of(tmp_path) == "failed: the disk is full"


def test_the_notes_of_the_last_division_count(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    note_job(folder, 0, ["steps=5"], FAILED, "no photo")
    os.utime(folder / "job.json", (time.time() - 60,) * 2)
    for index in range(2):
        note(folder, index, DONE, count=2)
    write_json(folder / "summary.json", {"images": 1})
    assert status_of(tmp_path) == "done"
    note(folder, 0, INTERRUPTED, count=3)
    assert status_of(tmp_path) == "interrupted"


def test_the_table_has_a_row_for_each_folder_and_looks_into_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, steps in enumerate((50, 100)):
        folder = tmp_path / str(number)
        for index in range(2):
            note_job(folder, number, [f"steps={steps}", f"shard.index={index}"], DONE, shard=(index, 2))
        write_json(folder / "summary.json", {METRIC: 0.5 + number / 4, "images": 4})
        write_json(folder / "run.json", FACTS | {"config": FACTS["config"] | {"sweep_metric": METRIC}})
        (folder / "masks" / "deep").mkdir(parents=True)
        (folder / "masks" / "deep" / "job.json").write_text("no note")
    (tmp_path / ".submitit" / "12_0").mkdir(parents=True)
    (tmp_path / ".submitit" / "job.json").write_text("no note")
    assert conclude_multirun(tmp_path) is not None
    rows = table(tmp_path, "sweep.csv")
    assert [(row["job"], row["best"], row["steps"], row["status"]) for row in rows] == [
        ("0", "", "50", "done"),
        ("1", "best", "100", "done"),
    ]
    assert sweep_table(read_jobs(tmp_path)).columns == ["job", "best", "steps", METRIC, "images", "status"]
