"""inr-xai dashboard: its panels ask for what runs log; offline it is JSON; online W&B gets the same, and links."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from inr_xai.columns import SUMMARY_COLUMNS
from inr_xai.dashboards.__main__ import main
from inr_xai.dashboards.lineage import RunInput, inputs_of
from inr_xai.loggers import keys
from tests.helpers.wandb_double import Double
from tests.helpers.wandb_project_double import ProjectDouble
from tests.helpers.wandb_runs import own_processes

pytest_plugins = ["tests.helpers.wandb_fixtures", "tests.helpers.wandb_project_double"]
pytestmark = [
    pytest.mark.usefixtures("fresh_wandb"),
    pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning"),  # when wandb-workspaces is imported
]
pytest.importorskip("wandb_workspaces", reason="wandb-workspaces (of the extra dashboards) builds dashboards")

METRIC = "preservation_hard_mean_rel/k1"
SECTIONS = ["Headline", "Against area", "Gallery", "Loss", "Sweep", "Audit", "Evaluation", "System"]
NAMES = {
    *(f"headline/{name}" for name in (*keys.HEADLINE, "carries")),
    *(f"explanation_{k}/{name}" for k in range(1, 6) for name in keys.EXPLANATION),
    *(f"run/{name}" for name in keys.RUN),
    *(f"evaluation/{name}" for name in keys.EVALUATION),
    *(f"audit/{name}" for name in keys.AUDIT),
    *(f"{chart}_table" for chart in (keys.AGAINST_AREA, keys.LOSS)),
    *(keys.GALLERY, keys.FAILURES, keys.SWEEP_TABLE, keys.SWEEP_BARS, keys.SWEEP_PARALLEL, METRIC),
}
"""What a run may log, as W&B keeps it: of a chart of lines, its table."""
FIELDS = ("metrics", "mediaKeys", "targetKey", "accessor", "xAxis", "yAxis", "val", "value")
"""The fields of a panel that name values, tables and charts."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the program is started, without variables of W&B that choose a project."""
    monkeypatch.chdir(tmp_path)
    for name in ("PROJECT", "ENTITY", "MODE"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    return tmp_path


def offline(folder: Path, *arguments: str) -> dict[str, Any]:
    """Returns what the program writes where nobody is logged in."""
    assert main([*arguments, "--out", str(folder / "written.json")]) == 0
    content: dict[str, Any] = json.loads((folder / "written.json").read_text())
    return content


def panels(content: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Returns section -> panels, of a workspace."""
    sections = content["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def values_of(node: Any) -> Iterator[str]:
    """Yields the names of values, tables and charts for which a panel asks."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in FIELDS and value not in ("${runSets}", 500):
                names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
                yield from (name.removeprefix("summary:") for name in names if isinstance(name, str))
            else:
                yield from values_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from values_of(value)


def test_the_names_of_the_panels_are_those_that_runs_log(folder: Path) -> None:
    shown = panels(offline(folder))
    assert list(shown) == SECTIONS
    named = {name for section in shown.values() for panel in section for name in values_of(panel["config"])}
    named -= {panel["config"]["value"] for section in shown.values() for panel in section[:1]}  # the section's words
    options = {name for name in named if name.startswith("config:")}
    machine = {name for name in named if name.startswith("system/")} | {"_runtime"}
    assert named - options - machine == NAMES
    assert options == {
        *("config:inr.value.gain", "config:decay.value", "config:total_variation.value", "config:area_rule.value.end")
    }


def test_every_number_of_a_run_has_its_panel(folder: Path) -> None:
    per_explanation = ("images", *SUMMARY_COLUMNS)
    summary = {f"{column}/k{k}": 0.5 for k in (1, 2, 3) for column in per_explanation} | dict.fromkeys(keys.RUN, 1.0)
    logged = keys.summary_keys(summary, METRIC)
    assert len(logged) == 6 + 3 * 6 + 4 + 1
    shown = {name for section in panels(offline(folder)).values() for name in values_of(section)}
    assert logged.keys() <= shown


def test_each_section_begins_with_words_and_has_the_panels_of_its_question(folder: Path) -> None:
    shown = panels(offline(folder))
    assert {section[0]["viewType"] for section in shown.values()} == {"Markdown Panel"}
    kinds = {name: [panel["viewType"] for panel in section[1:]] for name, section in shown.items()}
    assert kinds["Headline"] == ["Bar Chart"] * 6 + ["Scatter Plot"]
    assert kinds["Against area"] == ["Vega2"] + ["Bar Chart"] * 6
    assert kinds["Gallery"] == ["Weave", "Weave"]
    assert kinds["Loss"] == ["Vega2"]
    plots = ["Parallel Coordinates Plot", "Parameter Importance"]
    assert kinds["Sweep"] == [*plots, "Run Comparer", "Weave", "Media Browser"]
    assert set(kinds["Audit"]) == set(kinds["Evaluation"]) == {"Bar Chart"}
    assert set(kinds["System"]) == {"Bar Chart", "Run History Line Plot"}


def test_a_chart_of_lines_reads_the_columns_of_the_table_behind_it(folder: Path) -> None:
    shown = panels(offline(folder))
    (area,) = [panel["config"] for panel in shown["Against area"] if panel["viewType"] == "Vega2"]
    (loss,) = [panel["config"] for panel in shown["Loss"] if panel["viewType"] == "Vega2"]
    assert area["panelDefId"] == loss["panelDefId"] == "wandb/lineseries/v0"
    assert area["fieldSettings"] == {"step": "area", "lineVal": "score", "lineKey": "line"}
    assert loss["fieldSettings"] == {"step": "step", "lineVal": "loss", "lineKey": "line"}


def test_a_report_has_the_same_panels_and_the_runs_of_one_group(folder: Path) -> None:
    content = offline(folder, "--report", "my-sweep")
    blocks = content["report"]["spec"]["blocks"]
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    assert headings == SECTIONS
    ids = {name: [panel["__id__"] for panel in section[1:]] for name, section in panels(content).items()}
    shown = {
        name: [panel["__id__"] for panel in grid["panelBankSectionConfig"]["panels"]]
        for name, grid in zip(headings, grids, strict=True)
    }
    assert shown == ids
    for grid in grids:
        (runs,) = grid["runSets"]
        (condition,) = runs["filters"]["filters"]
        assert (condition["key"], condition["op"], condition["value"]) == (
            {"section": "run", "name": "group"},
            "=",
            "my-sweep",
        )
    assert all(not grid["runSets"][0]["filters"]["filters"] for grid in _grids(offline(folder, "--report")))
    assert "report" not in offline(folder)


def _grids(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [block["metadata"] for block in content["report"]["spec"]["blocks"] if block["type"] == "panel-grid"]


def test_the_same_arguments_give_the_same_content(folder: Path) -> None:
    first = offline(folder, "--report", "a")
    assert first == offline(folder, "--report", "a")
    assert first["workspace"] == offline(folder, "--report", "b")["workspace"]
    other = offline(folder, "--project", "other")["workspace"]
    assert (other["project"], other["name"] != first["workspace"]["name"]) == ("other", True)
    assert re.fullmatch(r"nw-[0-9a-z]{11}-v", other["name"])


def test_without_a_key_one_sentence_says_where_the_content_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--project", "P", "--entity", "team"]) == 0
    assert capsys.readouterr().out == (
        "W&B has no API key (run `wandb login` or set WANDB_API_KEY); the dashboard is in dashboard.json, and the same "
        "command saves it at W&B later.\n"
    )
    workspace = json.loads((folder / "dashboard.json").read_text())["workspace"]
    assert (workspace["entity"], workspace["project"], workspace["displayName"]) == ("team", "P", "inr_xai")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MODE", "offline", "is switched off by WANDB_MODE=offline"),
        ("BASE_URL", "http://127.0.0.1:9", "at http://127.0.0.1:9 cannot be reached"),
        ("INIT_TIMEOUT", "soon", "cannot read WANDB_INIT_TIMEOUT"),
    ],
)
def test_without_a_network_too(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    reason: str,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(f"WANDB_{name}", value)
    assert main(["--project", "P"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"W&B {reason}")
    assert printed.count("\n") == 1
    assert (folder / "dashboard.json").is_file()


@pytest.mark.slow
def test_online_the_same_is_saved_and_again_in_its_place(
    folder: Path, project: ProjectDouble, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["--project", "P", "--report", "s", "--out", "here.json"]) == 0
    content = json.loads((folder / "here.json").read_text())
    assert content["workspace"]["entity"] == "double"
    (workspace,), reports = project.of_type("project-view"), project.of_type("runs")
    assert workspace == content["workspace"]["spec"]
    assert [report["blocks"] for report in reports] == [content["report"]["spec"]["blocks"]] * 2
    urls = capsys.readouterr().out.split()
    name = content["workspace"]["name"].removeprefix("nw-").removesuffix("-v")
    assert urls[0] == f"{double.url}/double/P?nw={name}"
    assert urls[1].startswith(f"{double.url}/double/P/reports/")
    assert not (folder / "wandb").exists()


@pytest.mark.slow
def test_online_the_runs_are_linked_with_their_inputs(
    folder: Path, project: ProjectDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, file, data = "a" * 64, "b" * 64, "d" * 64
    project.configs = {
        "one": {"digests": {"data_manifest": data, "classifier_weights": weights}},
        "two": {"digests": {"data_manifest": data, "classifier_weights": weights, "classifier_checkpoint": file}},
        "old": {"steps": 3},
    }
    for _ in range(2):
        assert main(["--project", "P"]) == 0
        assert capsys.readouterr().out.endswith("\n2 runs are linked with their classifier and data.\n")
    names = {"classifier-aaaaaaaaaaaa": "classifier", "classifier-bbbbbbbbbbbb": "classifier"}
    assert project.artifacts == names | {"data-dddddddddddd": "data"}
    assert set(project.uses) == {
        ("one", "classifier-aaaaaaaaaaaa"),
        ("two", "classifier-bbbbbbbbbbbb"),
        ("one", "data-dddddddddddd"),
        ("two", "data-dddddddddddd"),
    }
    assert own_processes() == []


def test_links_that_fail_cost_nothing_else(
    folder: Path, project: ProjectDouble, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    project.configs = {name: {"digests": {"data_manifest": "d" * 64}} for name in ("one", "two")}
    project.artifacts = {"data-dddddddddddd": "data"}
    double.refused = {"UseArtifact"}
    assert main(["--project", "P"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("0 runs are linked with their classifier and data; the others are not (")
    assert last.endswith("), the same command links them.")
    assert len(project.of_type("project-view")) == 1
    assert not (folder / "dashboard.json").exists()


def test_an_account_without_an_entity_is_told_to_give_one(
    folder: Path, project: ProjectDouble, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wandb.Api.default_entity", None)
    assert main(["--project", "P"]) == 1
    assert capsys.readouterr().err == (
        "error: W&B has no default entity for this API key; give --entity NAME; the dashboard is in dashboard.json\n"
    )


def test_what_wandb_refuses_is_a_fault_and_the_content_is_kept(
    folder: Path, project: ProjectDouble, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    double.refused = {"UpsertView2"}
    assert main(["--project", "P"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: W&B did not take everything (")
    assert message.endswith("); the dashboard is in dashboard.json\n")
    assert "403" in message
    assert (folder / "dashboard.json").is_file()


@pytest.mark.slow
def test_an_option_is_a_key_of_the_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = panels(offline(folder, "--options", "steps,inr", "--metric", "deletion_hard_mean_rel/k1"))["Sweep"][1]
    accessors = [column["accessor"] for column in plot["config"]["columns"]]
    outcome = ["summary:run/seconds_per_image", "summary:deletion_hard_mean_rel/k1"]
    assert accessors == ["config:steps.value", "config:inr.value._target_", *outcome]
    capsys.readouterr()
    assert main(["--options", "stepz"]) == 2
    assert capsys.readouterr().err == (
        "error: --options names 'stepz', which is not an option of a run; did you mean steps?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--project", "a/b"], "error: --project 'a/b' is no name of a project at W&B"),
        (
            ["--metric", "preservation/k1"],
            "error: --metric preservation/k1 asks for preservation, which is not a column",
        ),
        (["--report", "it's"], "error: --report \"it's\": a filter of W&B's takes no quotes"),
    ],
)
def test_names_that_wandb_does_not_take_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(words)
    assert list(folder.iterdir()) == []


def test_without_the_package_the_command_that_installs_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "error: inr-xai dashboard needs the package wandb-workspaces, which cannot be imported; "
        "pip install 'inr-xai[dashboards]'\n"
    )


def test_a_run_notes_its_inputs_or_has_none() -> None:
    assert inputs_of({"digests": {}}) == inputs_of({"digests": None}) == []
    both = {"classifier_weights": "0" * 64, "classifier_checkpoint": "1" * 64}
    assert inputs_of({"digests": both}) == [RunInput("classifier", "1" * 64)]
    assert RunInput("data", "2" * 64).name == "data-222222222222"
