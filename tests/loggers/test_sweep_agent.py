"""W&B's sweep agent: conf/wandb_sweep.yaml is true to the schema, and its command does the run of the sweep."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.errors import HydraException
from wandb.wandb_agent import Agent

from inr_xai.columns import less_is_better
from inr_xai.config import check, sentence
from inr_xai.errors import UserError
from inr_xai.loggers import environment
from tests.helpers.program import Program, command_line, program  # noqa: F401
from tests.helpers.runs import ROOT, TINY, configured
from tests.helpers.runs import environment as process_environment
from tests.helpers.wandb_double import Double
from tests.helpers.wandb_read import parts, records, summary
from tests.helpers.wandb_runs import begin

pytest_plugins = ["tests.helpers.wandb_fixtures"]

SWEEP = yaml.safe_load((ROOT / "conf" / "wandb_sweep.yaml").read_text())
METRIC = "preservation_hard_mean_rel/k1"
CHOSEN = {"inr.gain": 3.5, "decay": 0.25, "total_variation": 0.05, "area_rule.end": 0.05}
FILE = "wandb_version: 1\n\ninr.gain:\n  value: 3.5\ndecay:\n  value: 0.25\n"
"""What an agent writes."""


def values(parameter: dict[str, Any]) -> list[Any]:
    """Returns the values of a sweep's parameter, or the ends of its interval."""
    if "value" in parameter:
        return [parameter["value"]]
    return list(parameter["values"]) if "values" in parameter else [parameter["min"], parameter["max"]]


def set_agent(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str = FILE, run_id: str = "one") -> None:
    """Sets what an agent sets."""
    file = folder / "config-one.yaml"
    file.write_text(text)
    for name, value in {"SWEEP_ID": "swp", "RUN_ID": run_id, "SWEEP_PARAM_PATH": str(file)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)


def test_the_file_asks_for_what_a_run_has() -> None:
    assert set(SWEEP) == {"program", "method", "metric", "parameters", "command"}
    assert SWEEP["program"] == "inr-xai"
    assert SWEEP["method"] in ("grid", "random", "bayes")
    assert SWEEP["metric"]["name"] == configured("out=here").sweep_metric == METRIC
    assert (SWEEP["metric"]["goal"] == "minimize") == less_is_better(METRIC)
    assert CHOSEN.keys() == SWEEP["parameters"].keys()


@pytest.mark.parametrize("name", SWEEP["parameters"])
@pytest.mark.slow
def test_every_value_of_a_parameter_passes_and_no_misspelt_name_does(name: str) -> None:
    ends = values(SWEEP["parameters"][name])
    assert min(ends) <= CHOSEN[name] <= max(ends)
    for value in ends:
        check(configured("out=here", f"{name}={value}"))
    with pytest.raises((HydraException, UserError)) as caught:
        check(configured("out=here", f"{name[:-1]}={ends[0]}"))
    assert name[:-1] in str(sentence(caught.value))


def start(*more: str) -> tuple[list[str], int]:
    """Lets W&B's own agent start the sweep's command, and returns that command and its exit status.

    Args:
        more: further options of the command.
    """
    agent = Agent(api=None, queue=None, sweep_id="swp")
    agent._sweep_command = [*SWEEP["command"][:-1], *more, SWEEP["command"][-1]]
    arguments = {name: {"value": value} for name, value in CHOSEN.items()}
    agent._command_run({"args": arguments, "program": SWEEP["program"], "run_id": "abc123"})
    process = agent._run_processes["abc123"]
    return list(process._popen.args), process.wait()


@pytest.mark.slow
def test_the_command_of_an_agent_does_the_run_of_the_sweep_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "inr-xai").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m inr_xai "$@"\n')
    (programs / "inr-xai").chmod(0o755)
    variables = process_environment() | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "WANDB_SWEEP_ID": "swp",
        "WANDB_RUN_ID": "",
        "WANDB_SWEEP_PARAM_PATH": "",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    tiny = [option for option in TINY if option != "logger=none" and not option.startswith("data.size")]
    command, status = start(*tiny, "data.size=1", f"out={tmp_path / 'run'}")
    assert command[:4] == ["/usr/bin/env", "inr-xai", "name=sweep", "logger.wandb.mode=${oc.env:WANDB_MODE,online}"]
    assert command[-4:] == ["inr.gain=3.5", "decay=0.25", "total_variation=0.05", "area_rule.end=0.05"]
    assert status == 0

    (folder,) = parts(tmp_path)
    (record,) = records(folder, "run")
    assert (record["run_id"], record["sweep_id"], record["run_group"]) == ("abc123", "swp", "swp")
    assert record["display_name"] == "inr.gain=3.5,decay=0.25,total_variation=0.05,area_rule.end=0.05"
    logged, stored = summary(folder), json.loads((tmp_path / "run" / "summary.json").read_text())
    assert logged["summary"][METRIC] == pytest.approx(stored[METRIC])
    assert {name: logged["config"][name] for name in CHOSEN} == CHOSEN  # as the server compares the jobs
    assert logged["config"]["inr"]["gain"] == CHOSEN["inr.gain"]
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["wandb_id"], facts["config"]["decay"]) == ("abc123", 0.25)


@pytest.mark.parametrize("missing", ["SWEEP_ID", "RUN_ID", "SWEEP_PARAM_PATH"])
def test_one_variable_alone_is_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    set_agent(monkeypatch, tmp_path)
    assert environment.agent() == environment.Agent("swp", "one", {"inr.gain": 3.5, "decay": 0.25})
    monkeypatch.delenv(f"WANDB_{missing}")
    assert environment.agent() is None


@pytest.mark.parametrize("text", ["wandb_version: 1", "", "[1, 2]", "a: [", "a: 1", "\0"])
def test_a_damaged_file_of_an_agent_costs_its_content_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    set_agent(monkeypatch, tmp_path, text)
    assert environment.agent() == environment.Agent("swp", "one", {})
    (tmp_path / "config-one.yaml").unlink()
    assert environment.agent() == environment.Agent("swp", "one", {})


@pytest.mark.slow
def test_the_server_learns_to_which_sweep_a_run_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_wandb: None, double: Double
) -> None:
    """The sweep's run alone: another one that the same program opens is none of the sweep's."""
    set_agent(monkeypatch, tmp_path)
    for run_id in ("one", "sweep-two"):
        run = begin(tmp_path, "online", run_id=run_id)
        run.summary({METRIC: 0.5})
        run.finish()
    assert {name: stored.upserts[0].get("sweep") for name, stored in double.runs.items()} == {
        "one": "swp",
        "sweep-two": None,
    }
    config = {name: json.loads(stored.upserts[0]["config"]) for name, stored in double.runs.items()}
    assert (config["one"]["decay"], "decay" in config["sweep-two"]) == ({"value": 0.25}, False)


@pytest.mark.slow
def test_an_agent_starts_no_multirun(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: Program,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_agent(monkeypatch, tmp_path)
    assert program("-m", "steps=1,2") == 2
    assert capsys.readouterr().err == (
        "error: the agent of W&B's sweep swp starts one run at a time, and this is a multirun; leave -m and sweep=NAME "
        "out of the sweep's command\n"
    )
    assert program.started == []
    assert program("steps=1") == 0
