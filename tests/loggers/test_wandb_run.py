"""A W&B run as its offline files hold it."""

import logging
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import wandb
from lightning.fabric.utilities.rank_zero import rank_zero_only
from PIL import Image

from inr_xai.errors import UserError
from inr_xai.loggers import WandbRun, WandbSettings, open_wandb
from tests.helpers.runs import TINY, masks_of, process
from tests.helpers.runs import table as table_of
from tests.helpers.wandb_read import history, parts, records, summary
from tests.helpers.wandb_runs import begin, fill, our_messages, table

pytest_plugins = ["tests.helpers.wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("fresh_wandb")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("offline", "offline"), ("dryrun", "offline"), ("", "offline"), ("online", "online"), ("run", "online")],
)
def test_modes(mode: str, expected: str) -> None:
    assert WandbSettings(mode=mode).mode == expected


def test_an_unknown_mode_names_the_key_and_the_choices() -> None:
    with pytest.raises(UserError, match=r"logger\.wandb\.mode is 'shared'; choose offline, online or disabled"):
        WandbSettings(mode="shared")


def test_disabled_is_no_run(tmp_path: Path) -> None:
    assert open_wandb(WandbSettings(mode="disabled"), save_dir=tmp_path, run_id="i", name="n", config={}) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_runs_in_one_process_are_two_runs_of_one_group(tmp_path: Path, figure: Path) -> None:
    for number in range(2):
        run = begin(tmp_path / "runs", run_id=f"run{number}", group="sweep")
        fill(run, figure)
        run.finish(failed=number == 1)
    folders = parts(tmp_path / "runs")
    assert len(folders) == 2
    for number, folder in enumerate(folders):
        (record,) = records(folder, "run")
        assert (record["run_id"], record["run_group"], record["tags"]) == (f"run{number}", "sweep", ["tag"])
        final = summary(folder)
        assert final["config"] == {"inr": {"width": 8}}
        assert final["summary"]["area_error"] == 0.25
        assert final["summary"]["image/masks"]["captions"] == ["a", "b"]
        assert final["state"] == ("failed" if number == 1 else "finished")
        assert table(folder)["data"][1][:2] == ["y", 2.5]


@pytest.mark.slow
def test_each_key_lies_on_its_axis(tmp_path: Path, figure: Path) -> None:
    run = begin(tmp_path)
    fill(run, figure)
    run.finish()
    lines = history(run.folder)
    assert [(line["images_done"], line["area_error/k1"]) for line in lines if "area_error/k1" in line] == [
        (0, 0),
        (1, 0.1),
    ]
    assert [(line["steps_done"], line["loss/total"]) for line in lines if "loss/total" in line] == [(0, 0), (10, 2)]
    metrics = records(run.folder, "metric")
    axes = {record.get("name", record.get("glob_name")): record.get("step_metric") for record in metrics}
    assert axes == {
        "histograms/*": "images_done",
        "charts/evolution*": "images_done",
        "images_done": None,
        "steps_done": None,
        "area_error/k1": "images_done",
        "loss/total": "images_done",
        "image/masks": "images_done",
        "scores": "images_done",
    }


@pytest.mark.slow
def test_pictures_and_the_table_are_stored(tmp_path: Path, figure: Path) -> None:
    run = begin(tmp_path)
    fill(run, figure)
    run.finish()
    (line,) = [line for line in history(run.folder) if "image/masks.filenames" in line]
    first, second = (np.asarray(Image.open(run.folder / "files" / name)) for name in line["image/masks.filenames"])
    assert np.array_equal(first, np.zeros((5, 7, 3)))
    assert np.array_equal(second, np.full((5, 7, 3), 200))
    logged = table(run.folder)
    assert logged["columns"] == ["sample", "value", "image"]
    assert logged["data"] == [["x", 1.5, "Image"], ["y", 2.5, None]]
    (artifact,) = records(run.folder, "artifact")
    files = {Path(entry["path"]).name: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
    assert np.array_equal(np.asarray(Image.open(files["figure.png"])), np.full((5, 7, 3), 200))


@pytest.mark.slow
def test_an_array_may_change_after_it_is_logged(tmp_path: Path) -> None:
    run = begin(tmp_path)
    picture = np.full((4, 4, 3), 7, np.uint8)
    run.log_images("image/one", {"": picture})
    picture[:] = 0
    run.finish()
    (name,) = history(run.folder)[0]["image/one.filenames"]
    assert np.asarray(Image.open(run.folder / "files" / name)).mean() == 7


def test_nothing_but_our_own_line_is_printed(
    tmp_path: Path, figure: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="inr_xai")
    run = begin(tmp_path)
    fill(run, figure)
    run.finish()
    assert capfd.readouterr() == ("", "")
    assert our_messages(caplog) == [f"W&B is offline; upload this run later with `wandb sync {run.folder}`."]


def test_an_empty_or_wrong_mode_in_the_environment_does_not_reach_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mode in ("", "nonsense"):
        wandb.teardown()
        monkeypatch.setenv("WANDB_MODE", mode)
        begin(tmp_path, run_id=f"run{len(mode)}").finish()
        assert os.environ["WANDB_MODE"] == mode
    assert len(parts(tmp_path)) == 2


@pytest.mark.slow
def test_a_failure_is_logged_once_and_the_rest_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = begin(tmp_path)
    run.log({"a/k1": 1.0}, images_done=1)
    run.log_images("image/none", {"": tmp_path / "missing.png"})
    run.log_images("image/none", {"": tmp_path / "missing.png"})
    run.log({"a/k1": 2.0}, images_done=2)
    run.finish()
    (warning,) = our_messages(caplog)
    assert "W&B failed" in warning
    assert "missing.png" in warning
    assert [line["a/k1"] for line in history(run.folder)] == [1.0]
    assert summary(run.folder)["state"] == "finished"


def test_a_folder_that_cannot_be_made_costs_only_wandb(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    run = open_wandb(WandbSettings(), save_dir=tmp_path / "file", run_id="i", name="n", config={})
    if run is not None:  # W&B may have found another place
        run.finish()
    else:
        assert "the run goes on without it" in caplog.text


@pytest.mark.slow
def test_a_run_that_the_caller_has_open_is_left_alone(tmp_path: Path) -> None:
    theirs = wandb.init(mode="offline", dir=tmp_path, id="theirs", settings=wandb.Settings(silent=True))
    run = begin(tmp_path, run_id="ours")
    run.log({"a": 1.0}, images_done=1)
    run.finish()
    assert wandb.run is theirs
    theirs.finish()
    assert history(run.folder) == [{"a": 1, "images_done": 1}]
    assert len(parts(tmp_path)) == 2


@pytest.mark.slow
def test_a_continued_run_goes_on_in_the_same_run(tmp_path: Path, figure: Path) -> None:
    for first in (0, 2, 4):
        run = begin(tmp_path)
        fill(run, figure, first)
        run.finish()
    folders = parts(tmp_path)
    steps = [record["step"]["num"] for folder in folders for record in records(folder, "history")]
    assert steps == sorted(set(steps))
    axis = [line["images_done"] for folder in folders for line in history(folder) if "area_error/k1" in line]
    assert axis == [0, 1, 2, 3, 4, 5]
    assert run.remedy == f"wandb sync {folders[0]} {folders[1]} {folders[2]}"


@pytest.mark.slow
def test_each_shard_is_a_run_of_its_own_in_one_group(tmp_path: Path) -> None:
    def open_shard(index: int, count: int) -> WandbRun:
        settings = WandbSettings(mode="offline")
        run = open_wandb(settings, save_dir=tmp_path, run_id="one", name="n", config={}, shard=(index, count))
        assert run is not None
        run.log({"a": float(index)}, images_done=1)
        return run

    first, second = open_shard(0, 2), open_shard(1, 2)  # both at once
    first.finish()
    second.finish()
    again = open_shard(1, 2)
    again.finish()
    assert again.remedy == f"wandb sync {second.folder} {again.folder}"
    found = [records(run.folder, "run")[0] for run in (first, second, again)]
    assert [record["run_id"] for record in found] == ["one-1of2", "one-2of2", "one-2of2"]
    assert {record["run_group"] for record in found} == {"n-one"}
    alone = open_shard(0, 1)
    alone.finish()
    (record,) = records(alone.folder, "run")
    assert (record["run_id"], record.get("run_group", "")) == ("one", "")
    assert history(second.folder) == [{"a": 1, "images_done": 1}]


@pytest.mark.slow
def test_a_rank_above_zero_mutes_nothing(tmp_path: Path, figure: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    run = begin(tmp_path)
    fill(run, figure)
    run.finish()
    assert len(history(run.folder)) == 6
    assert summary(run.folder)["summary"]["area_error"] == 0.25


LAUNCHED = {
    **dict.fromkeys(("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_LOCALID", "JSM_NAMESPACE_RANK"), "1"),
    **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"), "2"),
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "GROUP_RANK": "0",
    "TORCHELASTIC_RUN_ID": "x",
    "SLURM_JOB_NAME": "x",
    "SLURM_JOB_ID": "7",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
}
"""What srun, torchrun and jsrun tell the second of two processes."""


@pytest.mark.slow
def test_the_second_of_two_launched_processes_logs_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    options = [*TINY, "logger=wandb", "logger.wandb.mode=offline", "shard.index=1", "shard.count=2", "out=run"]
    done = process(*options, "allow_targets=[tests]", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run"
    (folder,) = parts(out)
    assert folder.name.endswith("-2of2")
    (image,) = masks_of(out)
    lines = history(folder)
    assert [line["run/images"] for line in lines if "run/images" in line] == [1]
    final = summary(folder)
    assert final["state"] == "finished"
    assert final["summary"]["run/images"] == 1
    assert final["summary"]["tables/gallery"]["nrows"] == 1
    assert {row["sample_id"] for row in table_of(out)} == {image}


def test_the_command_is_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "it's $5"
    folder.mkdir()
    run = begin(folder)
    run.finish()
    echoed = subprocess.run(["sh", "-c", f"printf '%s\\n' {run.remedy}"], check=True, capture_output=True, text=True)
    assert echoed.stdout.splitlines() == ["wandb", "sync", str(run.folder)]
