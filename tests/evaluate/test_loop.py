"""What an evaluation does with one image: what is measured again, and what a failure costs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inr_xai
from inr_xai.digests import digest
from inr_xai.evaluate.__main__ import main as evaluate
from inr_xai.evaluate.explained_image import ExplainedImage
from inr_xai.evaluate.registry import REGISTRY, EvaluationMetric
from inr_xai.evaluate.sources import FolderSource, RunSource
from inr_xai.runs.folder import facts_of
from tests.evaluate.conftest import IDS, maps_of, results_of
from tests.helpers.runs import SHORT, allowing, explain, messages

main = allowing(evaluate)


def broken(*_: object) -> dict[str, float]:
    raise RuntimeError("CUDA out of\nmemory")


@pytest.mark.slow
def test_a_metric_that_fails_costs_itself_alone(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def command(names: str) -> int:
        return main([str(tiny_run), "--name", "parts", "--metrics", names])

    with monkeypatch.context() as patch:
        patch.setitem(REGISTRY, "complexity", EvaluationMetric(broken, False))
        patch.setitem(REGISTRY, "road", EvaluationMetric(broken, True))
        patch.setitem(REGISTRY, "mprt", EvaluationMetric(lambda _: {"mprt": np.nan}, False))
        assert command("sparseness,complexity,road,mprt") == 3
    results = results_of(tiny_run, "parts")
    assert set(results.values("sparseness")) == set(IDS)
    assert not results.values("mprt")
    reason = "complexity, road: RuntimeError: CUDA out of memory"
    undefined = "mprt: mprt is NaN or infinite for this image, so it has no value"
    assert {row["failed"] for row in results.rows.values()} == {f"{reason}; {undefined}"}
    assert f"{IDS[0]} failed in part: {reason}; {undefined}" in messages(caplog.records)
    assert command("complexity") == 0
    results = results_of(tiny_run, "parts")
    assert set(results.values("complexity")) == set(IDS)
    assert {row["failed"] for row in results.rows.values()} == {f"road: RuntimeError: CUDA out of memory; {undefined}"}
    assert command("road") == 0
    assert {row["failed"] for row in results_of(tiny_run, "parts").rows.values()} == {undefined}


def test_a_metric_without_a_value_by_its_definition_is_no_failure_and_not_measured_again(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def of_second(image: ExplainedImage) -> dict[str, float]:
        asked.append(image.sample.sample_id)
        return {"aic": 0.5 if image.sample.sample_id == IDS[1] else np.nan}

    monkeypatch.setitem(REGISTRY, "aic", EvaluationMetric(of_second, True, partial=True))
    command = [str(tiny_run), "--name", "partial", "--metrics", "sparseness,aic"]
    assert main(command) == main(command) == 0
    results = results_of(tiny_run, "partial")
    assert asked == IDS
    assert results.values("aic") == {IDS[1]: 0.5}
    assert [results.rows[name]["aic"] for name in IDS] == ["nan", "0.5"]
    assert not any(results.failed(name) for name in IDS)
    assert "Images: sparseness 2, aic 1." in (tiny_run / "evaluation" / "partial.md").read_text()


def test_changed_maps_are_measured_again(tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = maps_of(tmp_path / "old" / "tool", 0, *IDS), maps_of(tmp_path / "new" / "tool", 5, IDS[0])
    (new / f"{IDS[1]}.npy").write_bytes((old / f"{IDS[1]}.npy").read_bytes())
    assert main([str(tiny_run), "--maps", str(old), "--metrics", "sparseness,complexity"]) == 0
    before = results_of(tiny_run, "tool")
    caplog.clear()
    caplog.set_level("INFO")
    assert main([str(tiny_run), "--maps", str(new), "--metrics", "sparseness"]) == 0
    after = results_of(tiny_run, "tool")
    (message,) = [text for text in messages(caplog.records) if text.startswith("image ")]
    assert "1 of 2" in message
    assert "another explanation" in message
    assert after.values("sparseness")[IDS[0]] != before.values("sparseness")[IDS[0]]
    assert set(after.values("complexity")) == {IDS[1]}
    assert after.rows[IDS[1]] == before.rows[IDS[1]]


@pytest.mark.slow
def test_another_classifier_measures_again(tiny_run: Path) -> None:
    command = [str(tiny_run), "--name", "classifiers", "--metrics", "insertion_auc"]
    assert main(command) == 0
    before = results_of(tiny_run, "classifiers").rows
    assert main([*command, "image_batch_size=1", "data.limit=1", "trainer.accelerator=cpu"]) == 0
    assert results_of(tiny_run, "classifiers").rows == before
    assert main([*command, "classifier.model._target_=tests.helpers.runs.certain"]) == 0
    after = results_of(tiny_run, "classifiers").rows
    assert all(after[name]["digest"] != before[name]["digest"] for name in IDS)
    assert all(after[name]["insertion_auc"] != before[name]["insertion_auc"] for name in IDS)


def test_values_older_than_the_digest_are_kept(tiny_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = [str(tiny_run), "--name", "older", "--metrics", "sparseness"]
    assert main(command) == 0
    file, measured = tiny_run / "evaluation" / "older.csv", results_of(tiny_run, "older").rows
    file.write_text("sample_id,target,difficult,sparseness,failed\n" + "".join(f"{name},1,0,0.5,\n" for name in IDS))
    caplog.clear()
    caplog.set_level("INFO")
    assert main(command) == 0
    assert not [text for text in messages(caplog.records) if text.startswith("image ")]
    assert main([*command[:-1], "sparseness,complexity"]) == 0
    results = results_of(tiny_run, "older")
    assert set(results.values("sparseness").values()) == {0.5}
    assert {name: results.digest(name) for name in IDS} == {name: measured[name]["digest"] for name in IDS}


def name_old_targets(run: Path) -> dict[str, Any]:
    """Changes run.json to the nodes that version 0.1.0 had for drawn scenes, and returns its configuration."""
    facts = json.loads((run / "run.json").read_text())
    data, classifier = facts["config"]["data"], facts["config"]["classifier"]
    facts["config"]["data"] = data | {
        "_target_": "inr_xai.data.scenes_or_photos.scenes_or_photos",
        "root": None,
        "classes": None,
        "segmentations": None,
    }
    facts["config"]["classifier"] = {
        "_target_": "inr_xai.classifier.scenes_or_timm.scenes_or_timm",
        "root": None,
        "cues": classifier["name"],
        "name": None,
        "pretrained": True,
        "checkpoint": None,
        "head": "softmax",
    }
    (run / "run.json").write_text(json.dumps(facts))
    config: dict[str, Any] = facts["config"]
    return config


@pytest.mark.slow
def test_values_of_a_run_of_version_0_1_0_are_not_measured_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their digest is that of the options as run.json holds them, in which data and classifier had other targets."""
    options = ["data=shapes_in_context", "data.cues=both", "classifier=shapes_in_context", "classifier.name=both"]
    explain(tmp_path, "data.limit=1", "explanations=1", "callbacks.figures=null", base=[*options, *SHORT])
    config = name_old_targets(tmp_path)
    command = [str(tmp_path), "--metrics", "sparseness,insertion_auc"]
    assert main(command) == 0
    file, ((sample_id, row),) = tmp_path / "evaluation" / "masks.csv", results_of(tmp_path).rows.items()
    settings = {"explanation": RunSource(inr_xai.load(tmp_path)).digest(sample_id), "seed": config["seed"]}
    old = digest(settings | {"facts": facts_of(config)})
    assert old != row["digest"]
    file.write_text(file.read_text().replace(row["digest"], old))
    before = results_of(tmp_path).rows
    caplog.clear()
    caplog.set_level("INFO")
    assert main(command) == 0
    assert not [text for text in messages(caplog.records) if text.startswith("image ")]
    assert results_of(tmp_path).rows == before
    assert main([*command, "classifier.name=object_only"]) == 0
    after = results_of(tmp_path).rows[sample_id]
    assert after["digest"] not in (old, row["digest"])
    assert after["insertion_auc"] != row["insertion_auc"]


def test_whatever_is_raised_costs_one_image(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, read = maps_of(tmp_path / "broken", 0, *IDS), FolderSource.read
    (maps / f"{IDS[0]}.npy").write_bytes(b"")
    command = [str(tiny_run), "--maps", str(maps), "--metrics", "sparseness"]
    assert main(command) == 3
    assert list(results_of(tiny_run, "broken").values("sparseness")) == [IDS[1]]
    maps_of(maps, 3, *IDS)
    monkeypatch.setattr(FolderSource, "read", lambda self, name: broken() if name == IDS[0] else read(self, name))
    assert main(command) == 3
    results = results_of(tiny_run, "broken")
    assert results.rows[IDS[0]]["failed"] == "RuntimeError: CUDA out of memory"
    assert list(results.values("sparseness")) == [IDS[1]]
