"""What W&B holds of a run that was evaluated and audited: every key, column, layer and set of files, read back."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.classifier import demo
from inr_xai.digests import manifest_digest, weights_digest
from inr_xai.evaluate.__main__ import main as evaluate
from inr_xai.loggers import WandbSettings, results
from inr_xai.loggers.results import id_part, log_beside, tags_of
from inr_xai.masks import pixel_counts
from inr_xai.runs.folder import RunFolder
from tests.evaluate.conftest import maps_of
from tests.helpers.runs import FACTS, SHORT, TINY, allowing, explain, masks_of, table
from tests.helpers.wandb_double import Double
from tests.helpers.wandb_read import artifact_files, history, parts, records, summary
from tests.helpers.wandb_read import table as table_of
from tests.helpers.wandb_runs import begin

pytest_plugins = ["tests.helpers.wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("fresh_wandb")

AUDITED = "abc-audit-of-2-runs"
AREA = 0.3
"""The middle one of two areas, as the gallery counts them."""
DEMO = [*SHORT, "callbacks.figures=null"]
OPTIONS = ["logger=wandb", "logger.wandb.mode=offline", "explanations=3"]
MEASURED = ["evaluate=[insertion_auc,deletion_auc,pointing_game,road,iou]", "+audit={area: 0.1, control: 1}"]
HEADLINE = ("preservation", "unseen_preservation", "deletion", "chance", "area_error", "carries")
EXPLANATION = ("preservation", "unseen_preservation", "deletion", "chance", "carries", "remaining")
KEYS = {
    *(f"headline/{name}" for name in HEADLINE),
    *(f"explanation_{k}/{name}" for k in (1, 2, 3) for name in EXPLANATION),
    *(f"evaluation/{name}" for name in ("insertion_auc", "deletion_auc", "pointing_game", "road")),
    *(f"audit/{name}" for name in ("share_of_object", "concentrated", "no_claim")),
    *(f"run/{name}" for name in ("seconds_per_image", "passes_per_image", "images", "failures")),
    *("charts/against_area_table", "charts/loss_table", "tables/gallery", "preservation_hard_mean_rel/k1"),
}
HISTOGRAMS = ("preservation_hard_mean", "deletion_hard_mean", "chance", "area_error", "p_full")
COLUMNS = [
    *("photo", "kept", "image", "class", "predicted", "right", "p", "p predicted"),
    *(f"{name} {k}" for k in (1, 2, 3) for name in ("preservation", "chance", "carries")),
    *("verdict", "evidence lies on", "insertion_auc", "deletion_auc", "pointing_game", "road"),
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three images with three explanations each, which was evaluated and audited."""
    out = tmp_path_factory.mktemp("measured") / "run"
    assert explain(out, *MEASURED, *OPTIONS, base=DEMO).failures == 0
    return out


def keys_of(part: Path) -> set[str]:
    """Returns the keys of a run's summary without W&B's own."""
    return {key for key in summary(part)["summary"] if not key.startswith("_")}


def artifacts(part: Path) -> dict[str, dict[str, Any]]:
    """Returns the sets of files that a part of a run has logged, by their kind; tables are left out."""
    return {item["type"]: item for item in records(part, "artifact") if item["type"] != "run_table"}


@pytest.mark.slow
def test_every_key_is_one_of_forty(measured: Path) -> None:
    explained, after = parts(measured)
    assert keys_of(after) == KEYS
    assert len(KEYS) < 40  # a table of failures is one more
    missing = {key for key in KEYS if key.startswith(("evaluation/", "audit/"))}
    assert keys_of(explained) <= KEYS - missing | {"audit/share_of_object"}
    logged, stored = summary(after)["summary"], RunFolder(measured).read_summary()
    assert logged["headline/preservation"] == pytest.approx(stored["preservation_hard_mean_rel/k1"])
    assert logged["explanation_3/remaining"] == pytest.approx(stored["remaining_hard_mean_rel/k3"])
    evaluated = table(measured / "evaluation", "masks.csv")
    mean = sum(float(row["insertion_auc"]) for row in evaluated) / len(evaluated)
    assert logged["evaluation/insertion_auc"] == pytest.approx(mean)
    runs = [records(part, "run")[0] for part in (explained, after)]
    assert {run["run_id"] for run in runs} == {RunFolder(measured).read_run()["wandb_id"]}
    assert {run["job_type"] for run in runs} == {"explain"}
    assert all(run["tags"] == ["demo", "Synthetic"] for run in runs)


@pytest.mark.slow
def test_the_history_has_few_lines_and_the_charts_have_all_points(measured: Path) -> None:
    explained, after = parts(measured)
    assert len(history(explained)) <= 3 + 4  # a line for each image; two charts, the gallery and the histograms
    (line,) = [line for line in history(explained) if "histograms/chance._type" in line]
    for column in HISTOGRAMS:
        values = [float(row[column]) for row in table(measured) if row["explanation"] == "1"]
        assert sum(line[f"histograms/{column}.values"]) == len(values)
        assert line[f"histograms/{column}.bins"][0] == pytest.approx(min(values), abs=1e-6)
    stored = RunFolder(measured).read_summary()
    chart = table_of(after, "charts/against_area_table")
    assert chart["columns"] == ["area", "score", "line", "quantity", "explanation"]
    names = {"chance": "chance_rel", "remaining": "remaining_hard_mean_rel", "deletion": "deletion_hard_mean_rel"}
    names |= {"preservation": "preservation_hard_mean_rel"}
    points = {(row[2], row[0]): row[1] for row in chart["data"]}
    assert points == {
        (f"{name} {k}", area): pytest.approx(stored[f"{column}/k{k}/a{area:g}"])
        for name, column in names.items()
        for k in (1, 2, 3)
        for area in (0.1, 0.3)
    }
    losses = table_of(after, "charts/loss_table")
    assert [(row[2], row[0]) for row in losses["data"]] == [(f"explanation {k}", s) for k in (1, 2, 3) for s in (0, 1)]


@pytest.mark.slow
def test_the_gallery_has_a_row_for_each_image_with_all_columns(measured: Path) -> None:
    gallery = table_of(parts(measured)[-1], "tables/gallery")
    assert gallery["columns"] == COLUMNS
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in gallery["data"]]
    scores = {(row["sample_id"], row["explanation"]): row for row in table(measured) if row["area"] == str(AREA)}
    assert sorted(row["image"] for row in rows) == sorted({name for name, _ in scores})
    badness = [(row["carries 1"], row["preservation 1"] - row["chance 1"]) for row in rows]
    assert badness == sorted(badness)
    verdicts = {row["sample_id"]: row for row in table(measured / "audit")}
    for row in rows:
        stored = scores[row["image"], "1"]
        assert (row["class"], row["predicted"]) == (stored["target_name"], stored["predicted_name"])
        assert (row["right"], row["carries 1"]) == (stored["right"] == "1", stored["carries"] == "1")
        assert row["p"] == pytest.approx(float(stored["p_full"]))
        assert row["chance 2"] == pytest.approx(float(scores[row["image"], "2"]["chance"]))
        assert row["verdict"].split(", ")[0] == verdicts[row["image"]]["evidence"]


@pytest.mark.slow
def test_each_layer_is_the_hard_mask_of_the_masks_file(measured: Path) -> None:
    part, masks, folder = parts(measured)[-1], masks_of(measured), RunFolder(measured)
    gallery = table_of(part, "tables/gallery")
    (artifact,) = [item for item in records(part, "artifact") if "gallery" in item["name"]]
    files = artifact_files(artifact)
    for row in gallery["data"]:
        cells = dict(zip(COLUMNS, row, strict=True))
        photo, name = cells["photo"], cells["image"]
        classes = json.loads(files[photo["classes"]["path"]].read_text())["class_set"]
        named = {entry["id"]: entry["name"] for entry in classes}
        place = folder.read(name).areas.index(AREA)
        assert set(photo["masks"]) == {f"explanation_{k}" for k in (1, 2, 3)}
        for k in (1, 2, 3):
            layer = np.asarray(Image.open(files[photo["masks"][f"explanation_{k}"]["path"]]))
            values = masks[name][k - 1, place].numpy()
            kept = layer == k
            assert (layer.shape, set(np.unique(layer))) == (values.shape, {0, k})
            assert named[k] == f"explanation {k}"
            assert kept.sum() == pixel_counts(torch.tensor([AREA], dtype=torch.float64), values.size)[0]
            assert values[kept].min() >= values[~kept].max()  # those that are kept are the largest ones
        for column in ("photo", "kept"):
            with Image.open(files[cells[column]["path"]]) as picture:
                assert picture.size == (96, 96)
            assert Path(files[cells[column]["path"]]).is_relative_to(part)


@pytest.mark.slow
def test_the_sets_of_files_hold_the_run_s_own_and_name_what_was_explained(measured: Path) -> None:
    explained, after = parts(measured)
    run_id = RunFolder(measured).read_run()["wandb_id"]
    model = demo().model
    assert isinstance(model, torch.nn.Module)
    weights = weights_digest(model.state_dict())
    digests = {"classifier_weights": weights, "data_manifest": manifest_digest(sorted(masks_of(measured)))}
    assert summary(after)["config"]["digests"] == digests
    few = ["run.json", "summary.json", "per_image.csv", "failures.csv"]
    contents = {
        "explanations": [*few, *(f"masks/{name}.safetensors" for name in masks_of(measured))],
        "evaluation": [f"masks.{suffix}" for suffix in ("csv", "md", "tex")],
        "audit": ["per_image.csv", "groups.csv", "report.md"],
    }
    found = artifacts(explained) | artifacts(after)
    assert found.keys() == contents.keys()
    for kind, names in contents.items():
        item = found[kind]
        assert (item["name"], item["aliases"]) == (f"{kind}-{run_id}", ["latest"])
        assert json.loads(item["metadata"])["digests"] == digests
        files = artifact_files(item)
        assert set(files) == set(names)
    masks = artifact_files(found["explanations"])
    for name in masks_of(measured):
        file = RunFolder(measured).masks_file(name)
        assert masks[f"masks/{file.name}"].read_bytes() == file.read_bytes()
    report = artifact_files(found["audit"])["report.md"]
    assert report.read_bytes() == (measured / "audit" / "report.md").read_bytes()


@pytest.mark.slow
def test_a_finished_run_is_evaluated_into_its_own_run_and_other_maps_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setenv("WANDB_NAME", "called")
    explain(out, *OPTIONS, "explanations=1", "data.limit=2", "logger.wandb.group=mine", base=TINY)
    monkeypatch.delenv("WANDB_NAME")
    assert allowing(evaluate)([str(out), "--metrics", "insertion_auc"]) == 0
    maps = maps_of(tmp_path / "gradcam", 0, "00000-disc", "00001-square")
    assert allowing(evaluate)([str(out), "--metrics", "insertion_auc", "--maps", str(maps)]) == 0
    _, own, beside = parts(out)
    run_id = RunFolder(out).read_run()["wandb_id"]
    (first,), (second,) = records(own, "run"), records(beside, "run")
    assert (first["run_id"], first["job_type"], first["run_group"]) == (run_id, "explain", "mine")
    assert first["display_name"] == "called"
    assert (second["run_id"], second["job_type"]) == (f"{run_id}-evaluation-gradcam", "evaluate")
    assert (second["display_name"], second["run_group"]) == ("gradcam", "mine")
    for part, name in ((own, "masks"), (beside, "gradcam")):
        values = [float(row["insertion_auc"]) for row in table(out / "evaluation", f"{name}.csv")]
        logged = summary(part)["summary"]["evaluation/insertion_auc"]
        assert logged == pytest.approx(sum(values) / len(values))
    assert keys_of(beside) == {"evaluation/insertion_auc"}
    assert set(artifact_files(artifacts(beside)["evaluation"])) == {f"gradcam.{end}" for end in ("csv", "md", "tex")}


@pytest.mark.slow
def test_pictures_are_bounded_and_rows_are_not(tmp_path: Path) -> None:
    explain(tmp_path, *OPTIONS, "explanations=1", "+logger.wandb.images=1", base=TINY)
    (part,) = parts(tmp_path)
    rows = table_of(part, "tables/gallery")["data"]
    assert [row[0] is not None for row in rows] == [True, False, False]


@pytest.mark.slow
def test_pictures_of_one_key_are_at_most_fifty_a_step_and_so_many_in_all(tmp_path: Path) -> None:
    run = begin(tmp_path, images=60)
    pictures = {str(number): np.full((2, 2, 3), number, np.uint8) for number in range(55)}
    for done in (1, 2, 3):
        run.log_images("charts/evolution", pictures, images_done=done)
    run.finish()
    counts = [line["charts/evolution.count"] for line in history(run.folder) if "charts/evolution.count" in line]
    assert counts == [50, 10]
    assert "charts/evolution" not in summary(run.folder)["summary"]


@pytest.mark.slow
def test_an_online_run_reaches_the_server_with_all_its_parts(tmp_path: Path, double: Double) -> None:
    options = ["logger=wandb", "logger.wandb.mode=online", "+logger.wandb.finish_timeout=60", "explanations=1"]
    explain(tmp_path, *options, "evaluate=[insertion_auc]", base=TINY)
    run_id = RunFolder(tmp_path).read_run()["wandb_id"]
    stored = double.runs[run_id]
    assert stored.complete
    final = json.loads(stored.files["wandb-summary.json"])
    expected = {"headline/preservation", "evaluation/insertion_auc", "tables/gallery", "charts/loss_table"}
    assert expected <= final.keys()
    kinds = {item["artifactTypeName"] for item in double.artifacts}
    assert kinds == {"explanations", "evaluation", "run_table"}
    assert {line["run/images"] for line in stored.history if "run/images" in line} == {1, 2, 3}


def test_tags_are_the_classifier_and_the_data() -> None:
    config = {"classifier": {"_target_": "a.timm_model", "name": "vit_tiny"}, "data": {"_target_": "a.b.Voc"}}
    assert tags_of(config) == ["vit_tiny", "Voc"]
    assert tags_of({}) == []
    name = "vit_tiny_patch16_224.augreg_in21k"
    assert tags_of({"classifier": {"_target_": "a.timm_model", "name": name}}) == [name]


def test_the_id_of_a_run_has_no_signs_that_wandb_refuses() -> None:
    refused = [id_part(f"a{sign}b") for sign in ":;,#?/'\\ %"]
    assert len(set(refused)) == len(refused)
    assert all(re.fullmatch("a-b-[0-9a-f]{6}", part) for part in refused)
    assert id_part("grad-cam_2.0=a") == "grad-cam_2.0=a"
    assert len(id_part("x" * 200)) <= 71


@pytest.mark.slow
def test_the_charts_of_a_sweep_are_there_without_pictures_of_images(tmp_path: Path) -> None:
    run = begin(tmp_path, images=0)
    run.log_images("charts/evolution", {"a": np.zeros((2, 2, 3), np.uint8)}, images_done=1)
    run.log_charts("sweep/bars", {"a": np.zeros((2, 2, 3), np.uint8)})
    run.finish()
    assert [line["sweep/bars.count"] for line in history(run.folder)] == [1]
    assert not any("evolution" in key for line in history(run.folder) for key in line)


@pytest.mark.slow
def test_what_is_measured_of_all_shards_stands_beside_them(tmp_path: Path) -> None:
    facts = {**FACTS, "config": {**FACTS["config"], "name": "n"}, "wandb_id": "abc"}
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "audit").mkdir()
    (tmp_path / "run.json").write_text(json.dumps(facts))
    (tmp_path / "evaluation" / "masks.csv").write_text("sample_id,insertion_auc\na,0.25\nb,0.75\n")
    (tmp_path / "evaluation" / "m[1], x.csv").write_text("sample_id,insertion_auc\na,0.5\n")
    (tmp_path / "audit" / "per_image.csv").write_text("sample_id,evidence,admitted\na,no claim,0\nb,concentrated,1\n")
    folder, settings = RunFolder(tmp_path), WandbSettings()
    log_beside("evaluation", "all", settings, folder, digests={})
    log_beside("evaluation", "m[1], x", settings, folder, digests={}, stem="m[1], x")
    log_beside("audit", "of-2-runs", settings, folder, digests={})
    found = {records(part, "run")[0]["run_id"]: part for part in parts(tmp_path)}
    own, maps, audit = (found[name] for name in ("abc-evaluation-all", f"abc-evaluation-{id_part('m[1], x')}", AUDITED))
    assert summary(own)["summary"]["evaluation/insertion_auc"] == 0.5
    assert list(artifact_files(artifacts(own)["evaluation"])) == ["masks.csv"]
    assert summary(maps)["summary"]["evaluation/insertion_auc"] == 0.5
    assert list(artifact_files(artifacts(maps)["evaluation"])) == ["m[1], x.csv"]
    assert {summary(audit)["summary"][f"audit/{key}"] for key in ("concentrated", "no_claim")} == {0.5}
    assert list(artifact_files(artifacts(audit)["audit"])) == ["per_image.csv"]


@pytest.mark.slow
def test_the_last_of_several_workers_makes_the_run_of_the_whole(tmp_path: Path) -> None:
    options = [*OPTIONS, "explanations=1", "evaluate=[insertion_auc]", "shard.count=2", "shard.steal=true"]
    for index in (1, 0):  # the first takes all images, and the other one finds none
        explain(tmp_path, *options, f"shard.index={index}", base=TINY)
    found = {records(part, "run")[0]["run_id"]: part for part in parts(tmp_path)}
    run_id = RunFolder(tmp_path).read_run()["wandb_id"]
    assert set(found) == {run_id, f"{run_id}-1of2", f"{run_id}-2of2"}
    kinds = {name: records(part, "run")[0]["job_type"] for name, part in found.items()}
    assert kinds == {run_id: "explain", f"{run_id}-1of2": "shard", f"{run_id}-2of2": "shard"}
    assert len({records(part, "run")[0]["run_group"] for part in found.values()}) == 1
    names = {name.removeprefix(run_id): records(part, "run")[0]["display_name"] for name, part in found.items()}
    assert names == {"": names[""], "-1of2": f"{names['']} 1of2", "-2of2": f"{names['']} 2of2"}
    whole, shard = summary(found[run_id])["summary"], summary(found[f"{run_id}-2of2"])["summary"]
    assert {"headline/preservation", "evaluation/insertion_auc", "tables/gallery", "charts/loss_table"} <= whole.keys()
    assert set(artifacts(found[run_id])) >= {"explanations", "evaluation"}
    assert shard["run/images"] == 3
    assert not any(key.startswith(("headline/", "tables/", "charts/")) for key in shard)
    assert not artifacts(found[f"{run_id}-2of2"])


def test_a_run_at_wandb_ends_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def fail(*args: Any) -> None:
        raise ValueError("not logged")

    monkeypatch.setattr(
        results, "open_wandb", lambda *args, **options: SimpleNamespace(summary=fail, finish=lambda: ended.append(1))
    )
    monkeypatch.setattr(results, "log_results", fail)
    monkeypatch.setattr(results, "audit_keys", fail)
    facts = {**FACTS, "config": {**FACTS["config"], "name": "n"}, "wandb_id": "abc"}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    settings, folder = WandbSettings(), RunFolder(tmp_path)
    with pytest.raises(ValueError, match="not logged"):
        results.log_beside("audit", "x", settings, folder, digests={})
    with pytest.raises(ValueError, match="not logged"):
        results.log_measurements(
            ["audit"], settings, folder, [], lambda _: torch.zeros(3, 2, 2), digests={}, shard=(0, 1)
        )
    assert len(ended) == 2
