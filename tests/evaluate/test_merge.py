"""`inr-xai merge`: shards that were explained in folders of their own end as the run that had all images at once."""

import json
import shutil
from pathlib import Path

import pytest

import inr_xai
from inr_xai.data.names import ASIDE
from inr_xai.evaluate.merge import main
from inr_xai.loggers import results
from inr_xai.runs import merge as merge_module
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.progress import progress_of
from inr_xai.runs.verify import main as verify
from tests.helpers.runs import explain, masks_of, messages, same_masks, table
from tests.helpers.wandb_double import Double
from tests.helpers.wandb_read import artifact_files, parts, records, summary
from tests.helpers.wandb_read import table as table_of

pytest_plugins = ["tests.helpers.wandb_fixtures"]
OPTIONS = ["explanations=1", "data.size=3", "evaluate=[sparseness,complexity]"]
FILES = ("per_image.csv", "failures.csv", "evaluation/masks.csv", "evaluation/masks.md", "evaluation/masks.tex")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of all images."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    explain(folder, *OPTIONS)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two shards of that run."""
    folders = [tmp_path_factory.mktemp("shards") / f"shard {index}" for index in range(2)]
    for index, folder in enumerate(folders):
        explain(folder, *OPTIONS, "shard.count=2", f"shard.index={index}", "shard.steal=false")
    return folders


def merged(out: Path, *runs: Path, options: tuple[str, ...] = ()) -> int:
    """Runs the command."""
    return main([*map(str, runs), *options, "--out", str(out), "--allow-targets", "tests"])


@pytest.mark.slow
@pytest.mark.parametrize("in_tars", [False, True])
def test_shards_end_as_one_run(
    tmp_path: Path, whole: Path, shards: list[Path], capsys: pytest.CaptureFixture[str], in_tars: bool
) -> None:
    out = tmp_path / "out"
    if in_tars:
        shards = [tmp_path / f"tars {index}" for index in range(2)]
        for index, folder in enumerate(shards):
            options = ["shard.count=2", f"shard.index={index}", "shard.steal=false", "store=shard"]
            explain(folder, *OPTIONS, *options)
            assert list(folder.glob("masks/*.tar"))
    assert [len(RunFolder(shard).done()) for shard in shards] == [2, 1]
    assert merged(out, *shards) == 0
    assert same_masks(out, whole)
    assert [(out / name).read_bytes() for name in FILES] == [(whole / name).read_bytes() for name in FILES]
    ours, theirs = RunFolder(out).read_summary(), RunFolder(whole).read_summary()
    assert ours.pop("seconds_per_image") * 3 == pytest.approx(RunFolder(out).read_run()["seconds"])
    assert ours == {key: value for key, value in theirs.items() if key != "seconds_per_image"}
    facts, before = RunFolder(out).read_run(), RunFolder(whole).read_run()
    assert (facts["planned"], facts["sessions"]) == (3, 2)
    assert facts["classifier_passes"] == before["classifier_passes"]
    assert facts["seconds"] == pytest.approx(sum(RunFolder(shard).read_run()["seconds"] for shard in shards))
    assert progress_of(out).exit_status == 0
    capsys.readouterr()
    assert verify([str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
    assert inr_xai.load(out)["00000-disc"].mask(0.2).shape == (24, 24)
    assert not list(tmp_path.glob(f"{ASIDE}*"))


@pytest.mark.slow
def test_two_shards_in_tars_of_one_folder_are_the_whole_run(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    for index in range(2):
        explain(folder, *OPTIONS, "shard.count=2", f"shard.index={index}", "store=shard", "shard.steal=true")
    assert len(list(folder.glob("masks/*.tar"))) >= 1
    assert same_masks(folder, whole)
    assert [(folder / name).read_bytes() for name in FILES] == [(whole / name).read_bytes() for name in FILES]
    assert verify([str(folder)]) == 0


@pytest.mark.slow
def test_what_is_joined_is_continued_by_the_same_command(tmp_path: Path, whole: Path, shards: list[Path]) -> None:
    out = tmp_path / "out"
    assert merged(out, shards[1]) == 0
    assert progress_of(out).exit_status == 5
    stored = RunFolder(out).masks_file("00002-triangle").stat().st_ino
    assert explain(out, *OPTIONS).failures == 0
    assert same_masks(out, whole)
    assert RunFolder(out).masks_file("00002-triangle").stat().st_ino == stored
    assert progress_of(out).exit_status == 0
    assert (out / "evaluation/masks.csv").read_bytes() == (whole / "evaluation/masks.csv").read_bytes()


@pytest.mark.slow
def test_measurements_that_not_all_runs_have_are_not_joined(
    tmp_path: Path, shards: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    less = Path(shutil.copytree(shards[1], tmp_path / "less"))
    rows = table(less, "evaluation/masks.csv")
    (less / "evaluation/masks.csv").write_text(
        "sample_id,target,difficult,complexity/a0.1,failed\n" + "".join(f"{row['sample_id']},1,0,1,\n" for row in rows)
    )
    (less / "audit").mkdir()
    caplog.set_level("INFO")
    assert merged(tmp_path / "out", shards[0], less) == 0
    assert not (tmp_path / "out" / "evaluation").exists()
    said = "\n".join(messages(caplog.records))
    assert "evaluation/masks.csv is not joined, because the runs do not have the same metrics" in said
    assert f"audits are not joined; inr-xai audit {tmp_path / 'out'} makes one" in said


@pytest.mark.slow
def test_images_that_were_not_measured_are_counted(tmp_path: Path, shards: list[Path]) -> None:
    other = Path(shutil.copytree(shards[1], tmp_path / "other"))
    file = other / "evaluation/masks.csv"
    header, row, *_ = file.read_text().splitlines()
    assert header.endswith(",failed")
    file.write_text(f"{header}\n{row}no room\n")
    assert merged(tmp_path / "out", shards[0], other) == 0
    assert RunFolder(tmp_path / "out").read_unmeasured() == 1


def test_parts_that_may_not_be_imported_cost_the_passes_alone(
    tmp_path: Path, shards: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    run = Path(shutil.copytree(shards[1], tmp_path / "run"))
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace("inr_xai.objective.Preservation", "of_mine.Objective"))
    assert main([str(run), "--out", str(tmp_path / "out")]) == 0
    assert "passes_per_image" not in RunFolder(tmp_path / "out").read_summary()
    assert any(line.startswith("classifier passes are not counted: ") for line in messages(caplog.records))


def test_an_end_in_the_middle_leaves_nothing(
    tmp_path: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(merge_module, "write_chunks", interrupt)
    assert merged(tmp_path / "out", *shards) == 130
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note.txt").touch()
    assert merged(tmp_path / "out", *shards) == 2
    assert f"{tmp_path / 'out'} is no empty folder" in capsys.readouterr().err
    assert not list(tmp_path.glob(f"{ASIDE}*"))


@pytest.fixture
def logged(tmp_path: Path, shards: list[Path]) -> list[Path]:
    """Copies of the shards, as if each had an offline W&B run in one group."""
    copies = [Path(shutil.copytree(shard, tmp_path / "logged" / shard.name)) for shard in shards]
    for place, run in enumerate(map(RunFolder, copies), start=1):
        facts = run.read_run()
        options = {"mode": "offline", "finish_timeout": 60}
        facts["config"]["logger"] = {"wandb": {"_target_": "inr_xai.loggers.WandbSettings", **options}}
        run.write_run(facts | {"wandb_name": f"called {place}of2", "wandb_group": "mine"})
    return copies


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_the_whole_is_one_run_at_wandb_in_the_group_of_the_shards(tmp_path: Path, logged: list[Path]) -> None:
    out = tmp_path / "out"
    assert merged(out, *logged) == 0
    (part,) = parts(out)
    facts, (run,) = RunFolder(out).read_run(), records(part, "run")[:1]
    assert (run["run_id"], run["display_name"]) == (facts["wandb_id"], "called")
    assert (run["job_type"], run["run_group"]) == ("explain", "mine")
    assert facts["wandb_id"] not in {RunFolder(path).read_run()["wandb_id"] for path in logged}
    values, stored = summary(part)["summary"], RunFolder(out).read_summary()
    assert values["headline/preservation"] == pytest.approx(stored["preservation_hard_mean_rel/k1"])
    assert values["run/images"] == 3
    gallery = table_of(part, "tables/gallery")
    assert sorted(row[gallery["columns"].index("image")] for row in gallery["data"]) == sorted(masks_of(out))
    assert all(row[gallery["columns"].index("photo")] is not None for row in gallery["data"])
    sets = {item["type"]: artifact_files(item) for item in records(part, "artifact")}
    assert {f"masks/{name}.safetensors" for name in masks_of(out)} < set(sets["explanations"])
    assert "masks.csv" in sets["evaluation"]
    assert set(summary(part)["config"]["digests"]) == {"classifier_weights", "data_manifest"}


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_a_server_or_a_classifier_that_is_not_there_does_not_cost_the_merge(
    tmp_path: Path, logged: list[Path], double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    out, double.status = tmp_path / "out", 503
    options = ["logger.wandb.mode=online", "--out", str(out)]  # without leave to import the classifier
    (logged[1] / "run.json").write_text((logged[1] / "run.json").read_text().replace('"mine"', '"other"'))
    assert main([*map(str, logged), *options]) == 0
    assert len(RunFolder(out).done()) == 3
    (part,) = parts(out)
    assert "run_group" not in records(part, "run")[0]  # the shards are in two
    assert [row[:2] for row in table_of(part, "tables/gallery")["data"]] == [[None, None]] * 3
    assert "digests" not in summary(part)["config"]
    said = "\n".join(messages(caplog.records))
    assert "W&B gets neither pictures nor digests of what was explained: classifier" in said
    assert f"this run stays offline, upload it later with `wandb sync {part}`" in said


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_the_whole_is_uploaded_where_that_is_asked_for(tmp_path: Path, logged: list[Path], double: Double) -> None:
    out = tmp_path / "out"
    assert merged(out, *logged, options=("logger.wandb.mode=online",)) == 0
    stored = double.runs[RunFolder(out).read_run()["wandb_id"]]
    assert stored.complete
    assert "headline/preservation" in json.loads(stored.files["wandb-summary.json"])


@pytest.mark.slow
def test_no_run_at_wandb_unless_the_runs_had_one(
    tmp_path: Path, logged: list[Path], shards: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(results, "open_wandb", lambda *arguments, **options: opened.append(arguments))
    assert merged(tmp_path / "none", *logged, options=("logger=none",)) == 0
    assert merged(tmp_path / "stored", *shards) == 0
    assert opened == []
    assert merged(tmp_path / "whole", *logged) == 0
    assert len(opened) == 1


def test_options_of_anything_else_are_refused(
    tmp_path: Path, shards: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("steps=3", "loggers=none"):
        assert merged(tmp_path / "out", *shards, options=(option,)) == 2
        assert capsys.readouterr().err == (
            f"error: {option} says nothing of the W&B run of the whole, and all else stays as it is; leave it out, or "
            "give options of classifier, data, logger\n"
        )
    assert merged(tmp_path / "out", *shards, options=("data.nothing=3",)) == 2
    assert "data.nothing=3 names no option of the run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
