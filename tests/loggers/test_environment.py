"""W&B's environment variables: which are honoured, and which cannot reach a run."""

import os
from pathlib import Path
from typing import Any

import pytest

from inr_xai.instantiate import instantiate
from inr_xai.loggers import WandbSettings, environment
from tests.helpers.runs import configured
from tests.helpers.wandb_read import parts, records
from tests.helpers.wandb_runs import begin, our_messages

pytest_plugins = ["tests.helpers.wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("fresh_wandb")

NAMES = {"NAME": "theirs", "TAGS": "b, tag,," + "c" * 80, "NOTES": "note", "JOB_TYPE": "job"}
MORE = {"PROJECT": "project", "RUN_GROUP": "group", "ENTITY": "entity"}
HARMFUL = {
    "RUN_ID": "same",
    "RESUME": "must",
    "FORK_FROM": "x?_step=1",
    "SWEEP_ID": "sweep",
    "LAUNCH": "true",
    "SILENT": "perhaps",
    "CONSOLE": "nonsense",
    "SERVICE": "nonsense",
    "_SKIP_TRANSACTION_LOG": "true",
    "MODE": "online",
    "IDENTITY_TOKEN_FILE": "/nowhere",
    "CONFIG": "[",
}


def settings(*overrides: str) -> WandbSettings:
    """Returns the settings that the command line gives."""
    result: WandbSettings = instantiate(configured("logger.wandb.mode=offline", *overrides).logger.wandb)
    return result


def set_variables(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"WANDB_{name}", value)


@pytest.mark.slow
def test_the_environment_wins_over_our_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, {**NAMES, **MORE, "DIR": str(tmp_path / "elsewhere")})
    run = begin(tmp_path)
    run.finish()
    assert parts(tmp_path / "elsewhere") == [run.folder]
    (record,) = records(run.folder, "run")
    keys = ("project", "run_group", "entity", "display_name", "notes", "job_type", "tags", "run_id")
    assert {key: record[key] for key in keys} == {
        "project": "project",
        "run_group": "group",
        "entity": "entity",
        "display_name": "theirs",
        "notes": "note",
        "job_type": "job",
        "tags": ["tag", "b", "c" * 64],  # the longest that W&B takes
        "run_id": "one",
    }


@pytest.mark.slow
def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(*overrides: str) -> tuple[Any, ...]:
        found = settings(*overrides)
        return found.project, found.group, found.entity

    assert chosen() == ("inr_xai", None, None)
    set_variables(monkeypatch, MORE)
    assert chosen() == ("project", "group", "entity")
    assert chosen("logger.wandb.project=p", "logger.wandb.group=g", "logger.wandb.entity=null") == ("p", "g", None)
    set_variables(monkeypatch, dict.fromkeys(MORE, ""))
    assert chosen() == ("inr_xai", None, None)
    assert settings("+logger.wandb.name=mine").name == "mine"


@pytest.mark.slow
def test_no_variable_breaks_an_offline_run_or_makes_two_runs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_variables(monkeypatch, HARMFUL)
    for run_id in ("first", "second"):
        run = begin(tmp_path, run_id=run_id)
        run.log({"a": 1.0}, images_done=1)
        run.finish()
        assert [file.name for file in run.folder.glob("*.wandb")] == [f"run-{run_id}.wandb"]
    assert len(records(run.folder, "history")) == 1
    assert {name: os.environ[f"WANDB_{name}"] for name in HARMFUL} == HARMFUL


@pytest.mark.slow
def test_a_value_that_wandb_refuses_is_named_and_keeps_the_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its address, a run for a server of one's own would be uploaded to the public one."""
    set_variables(monkeypatch, {"BASE_URL": "wandb.example.org", "API_KEY": "0" * 40})
    run = begin(tmp_path, "online")
    run.finish()
    assert our_messages(caplog) == [
        f"W&B cannot read WANDB_BASE_URL; this run stays offline, upload it later with `{run.remedy}`."
    ]


def test_refused_values_are_found_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, {"INIT_TIMEOUT": "soon", "HTTP_TIMEOUT": "30", "SILENT": "perhaps"})
    assert list(environment.unreadable()) == ["WANDB_INIT_TIMEOUT"]
