"""Values of environment variables work in a run, and are named, not told, by what is stored, shown and printed."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from inr_xai.config import check, environment, sentence
from inr_xai.config.environment import as_yaml, environment_digests, note_environment, stored_form, without_secrets
from inr_xai.errors import UserError
from inr_xai.instantiate import instantiate, stored_configuration
from inr_xai.runs.folder import RunFolder
from tests.helpers.program import status
from tests.helpers.runs import TINY, configured, explain

SECRET = "hunter2-of-a-kind"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", SECRET)
    monkeypatch.setenv("MY_STEPS", "7")
    monkeypatch.setattr(environment, "_values", {})


def test_the_interpolation_is_stored_by_whatever_way_the_value_is_reached() -> None:
    note_environment()
    cfg = OmegaConf.create(
        {
            "a": "${oc.env:MY_SECRET}",
            "b": "x/${oc.env:MY_SECRET}/y",
            "c": "${b}",
            "d": {"e": ["${a}", "${oc.decode:${oc.env:MY_STEPS}}", "${f}"]},
            "f": 3,
            "g": "${oc.env:NOT_SET,fallback}",
            "h": r"\${f}",
            "i": None,
            "out": f"runs/{SECRET}",
        }
    )
    stored = stored_form(cfg)
    assert stored == {
        "a": "${oc.env:MY_SECRET}",
        "b": "x/${oc.env:MY_SECRET}/y",
        "c": "${b}",
        "d": {"e": ["${a}", 7, 3]},
        "f": 3,
        "g": "${oc.env:NOT_SET,fallback}",
        "h": r"\${f}",
        "i": None,
        "out": "runs/${oc.env:MY_SECRET}",
    }
    again = OmegaConf.create(json.loads(json.dumps(stored)))
    assert OmegaConf.to_container(again, resolve=True) == OmegaConf.to_container(cfg, resolve=True)
    assert sorted(environment_digests(cfg)) == ["a", "b", "c", "d.e.0", "g"]


def test_a_run_stores_and_logs_the_name_alone(tmp_path: Path) -> None:
    options = ["name=${oc.env:MY_SECRET}", "data.limit=1", "explanations=1"]
    assert explain(tmp_path, *options, base=TINY).failures == 0
    facts = RunFolder(tmp_path).read_run()
    assert facts["config"]["name"] == "${oc.env:MY_SECRET}"
    assert SECRET not in (tmp_path / "run.json").read_text()
    assert stored_configuration(facts["config"], []).name == SECRET


@pytest.mark.slow
def test_a_changed_value_is_seen_when_a_run_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["name=${oc.env:MY_SECRET}", "data.limit=1", "explanations=1"]
    explain(tmp_path, *options, base=TINY)
    explain(tmp_path, *options, base=TINY)
    monkeypatch.setenv("MY_SECRET", "another")
    with pytest.raises(UserError, match="holds a run whose name had another value of the environment"):
        explain(tmp_path, *options, base=TINY)


@pytest.mark.parametrize("option", ["steps=${oc.env:MY_SECRET}", "data.cues=${oc.env:MY_SECRET}"])
def test_a_refusal_does_not_tell_the_value(option: str) -> None:
    cfg = configured(option)
    with pytest.raises(UserError) as caught:
        check(cfg)
    text = sentence(caught.value)
    assert text is not None
    assert "${oc.env:MY_SECRET}" in text
    assert SECRET not in text


@pytest.mark.usefixtures("command_line")
@pytest.mark.slow
def test_what_is_shown_is_the_interpolation(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("dry_run=true", "name=${oc.env:MY_SECRET}") == 0
    printed = capsys.readouterr()
    assert "\nname: ${oc.env:MY_SECRET}\n" in "\n" + printed.out
    assert SECRET not in printed.out + printed.err
    assert SECRET not in as_yaml(configured("name=${oc.env:MY_SECRET}"))


def test_short_values_are_left_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "abc")
    assert OmegaConf.create({"a": "${oc.env:MY_SECRET}"}).a == "abc"
    assert without_secrets("abc is short") == "abc is short"


def test_a_node_of_run_json_is_built_with_the_value_of_now() -> None:
    node = {"_target_": "inr_xai.loggers.WandbSettings", "project": "${oc.env:MY_SECRET}"}
    assert instantiate(node).project == SECRET
