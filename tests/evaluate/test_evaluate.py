"""Finished runs and maps of other tools are measured, continued, refused; values against the functions themselves."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import inr_xai
from inr_xai import metrics
from inr_xai.classifier import FrozenClassifier
from inr_xai.columns import METRICS as NAMES
from inr_xai.data import Synthetic
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.errors import UserError
from inr_xai.evaluate.__main__ import main
from inr_xai.evaluate.registry import REGISTRY, EvaluationMetric
from inr_xai.evaluate.results import Results, read_results
from inr_xai.evaluate.sources import FolderSource, read_map
from inr_xai.masks import hard_masks
from inr_xai.seeding import generator
from tests.helpers.runs import FOLDER, ROOT, SHORT, TINY, explain, photos, said

IDS = ["00000-disc", "00001-square"]
DEMO = [*SHORT, "data.limit=2", "callbacks.figures=null", "steps=3"]
ONE = ["data.limit=1", "explanations=1"]
CHEAP = "area_error,sparseness,relevance_mass,pointing_game,pointing_game_of_masks,iou,iou_matched"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    explain(out, "seed=1", base=DEMO)
    return out


def results(run: Path, name: str = "masks") -> Results:
    return Results(run / "evaluation" / f"{name}.csv")


def test_the_names_are_those_of_the_measures() -> None:
    assert tuple(REGISTRY) == NAMES


def test_directions_are_those_of_the_classes() -> None:
    classes = {
        name: getattr(metrics, spelt)
        for name in REGISTRY
        if (spelt := "".join(part.title() for part in name.split("_")).replace("Auc", "AUC").replace("Mprt", "MPRT"))
        in metrics.__all__
    }
    assert {"sparseness", "complexity", "deletion_auc", "efficient_mprt"} <= classes.keys()
    assert {name: one.higher_is_better for name, one in classes.items()} == {
        name: REGISTRY[name].higher_is_better for name in classes
    }


def test_a_run_is_measured(finished: Path) -> None:
    assert main([str(finished), "--metrics", CHEAP]) == 0
    found, run = results(finished), inr_xai.load(finished)
    segmentations = {
        name: Synthetic(3).load(name, preprocessing()).segmentation.numpy()  # type: ignore[union-attr]
        for name in IDS
    }
    for name in IDS:
        explained = run[name]
        heatmap, inside = explained.importance().double().numpy(), segmentations[name]
        assert found.values("relevance_mass")[name] == pytest.approx(heatmap[inside].sum() / heatmap.sum(), abs=1e-5)
        for row in (row for row in explained.rows if row["explanation"] == 1):
            column = f"area_error/a{row['area']:g}"
            assert found.values(column)[name] == pytest.approx(row["area_error"], abs=1e-6)
        ties = [generator(1, name, "ties")]
        hard = hard_masks(explained.masks[:1], torch.tensor([0.1, 0.3], dtype=torch.float64), generators=ties)[0]
        for area, mask in zip(("0.1", "0.3"), hard.numpy(), strict=True):
            wanted = (mask & inside).sum() / (mask | inside).sum()
            assert found.values(f"iou/a{area}")[name] == pytest.approx(wanted, abs=1e-5)
        assert found.rows[name]["target"] == str(explained.target)
    text = (finished / "evaluation" / "masks.md").read_text()
    assert "relevance_mass ↑" in text
    assert "iou/mean" in text
    assert r"\toprule" in (finished / "evaluation" / "masks.tex").read_text()


def preprocessing():  # type: ignore[no-untyped-def]
    from inr_xai.classifier.demo_network import MEAN, SIZE, STD
    from inr_xai.types import Preprocessing

    return Preprocessing((SIZE, SIZE), SIZE, "bilinear", MEAN, STD)


def test_what_is_measured_is_not_measured_again(finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(finished), "--metrics", "sparseness"]) == 0
    before = results(finished).rows
    caplog.clear()
    caplog.set_level("INFO")
    assert main([str(finished), "--metrics", "sparseness"]) == 0
    assert not [record for record in caplog.records if record.getMessage().startswith("image ")]
    assert results(finished).rows == before
    assert main([str(finished), "--metrics", "sparseness,complexity"]) == 0
    after = results(finished)
    assert set(after.values("complexity")) == set(IDS)
    assert {name: after.rows[name]["sparseness"] for name in IDS} == {name: before[name]["sparseness"] for name in IDS}


def test_a_torn_line_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "masks.csv"
    first = Results(file)
    first.add("a", {"target": 1, "difficult": 0, "road": 0.5, "failed": ""})
    first.add("b", {"target": 1, "difficult": 0, "road": 0.25, "failed": ""})
    whole = file.read_text()
    for cut in range(1, len("b,1,0,0.25,\n")):
        file.write_text(whole[:-cut])
        torn = Results(file)
        assert list(torn.rows) == ["a"]
        torn.add("b", {"target": 1, "difficult": 0, "road": 0.25, "failed": ""})
        assert file.read_text() == whole


def test_every_metric_that_fits_nothing_anew(finished: Path) -> None:
    assert main([str(finished), "--name", "everything"]) == 0
    found = results(finished, "everything")
    measured = {column.split("/")[0] for column in found.columns}
    assert measured == {name for name, measure in REGISTRY.items() if not measure.costly}
    assert all(set(found.values(column)) == set(IDS) for column in found.columns)


def test_maps_of_another_tool(finished: Path, tmp_path: Path) -> None:
    """A map that is the segmentation itself lies on the object alone; coarse maps are enlarged."""
    segmentation = Synthetic(3).load(IDS[0], preprocessing()).segmentation
    assert segmentation is not None
    np.save(tmp_path / f"{IDS[0]}.npy", segmentation.numpy().astype(np.float64)[None])
    safetensors.torch.save_file({"map": torch.rand(6, 6)}, tmp_path / f"{IDS[1]}.safetensors")
    assert (
        main([str(finished), "--maps", str(tmp_path), "--name", "other", "--metrics", "relevance_mass,sparseness"]) == 0
    )
    found = results(finished, "other")
    assert found.values("relevance_mass")[IDS[0]] == 1
    assert found.values("sparseness")[IDS[0]] == pytest.approx(1 - float(segmentation.float().mean()), abs=1e-5)
    assert 0 < found.values("relevance_mass")[IDS[1]] < 1


def test_a_broken_map_costs_itself_alone(finished: Path, tmp_path: Path) -> None:
    np.save(tmp_path / f"{IDS[0]}.npy", np.full((96, 96), np.nan))
    np.save(tmp_path / f"{IDS[1]}.npy", np.random.default_rng(0).random((96, 96)))
    command = [str(finished), "--maps", str(tmp_path), "--name", "broken", "--metrics", "sparseness"]
    assert main(command) == 3
    found = results(finished, "broken")
    assert "NaN or infinity" in found.rows[IDS[0]]["failed"]
    assert list(found.values("sparseness")) == [IDS[1]]
    np.save(tmp_path / f"{IDS[0]}.npy", np.random.default_rng(1).random((96, 96)))
    assert main(command) == 0
    assert set(results(finished, "broken").values("sparseness")) == set(IDS)
    assert results(finished, "broken").rows[IDS[0]]["failed"] == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metrics", "pointing"], ["'pointing'", "did you mean pointing_game?"]),
        (["data.roots=x"], ["data.roots=x", "run.json"]),
        (["data"], ["'data' is no option", "KEY=VALUE"]),
        (["areas.x=1"], ["areas.x=1 names no option", "run.json"]),
        (["--maps", "nowhere"], ["'nowhere' is no folder", ".npy"]),
    ],
)
def test_refusals(finished: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert main([str(finished), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert all(word in said for word in words)


def test_maps_of_other_tools_have_no_masks_and_no_fits(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / f"{IDS[0]}.npy", np.eye(96))
    for metric, words in {"iou": "reads masks", "mprt": "finished maps cannot"}.items():
        assert main([str(finished), "--maps", str(tmp_path), "--metrics", metric]) == 2
        assert words in capsys.readouterr().err


def test_no_run_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "run.json does not exist" in capsys.readouterr().err


def test_a_run_may_end_with_its_evaluation(tmp_path: Path) -> None:
    explain(tmp_path, *ONE, "evaluate=[sparseness,area_error]")
    assert set(results(tmp_path).values("sparseness")) == {IDS[0]}
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == 1


def test_a_run_is_measured_with_its_own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> None:
        raise AssertionError("data, classifier and method are there already")

    for name in ("build", "build_method", "photo_pool"):
        monkeypatch.setattr(f"inr_xai.evaluate.evaluate_run.{name}", again)
    explain(tmp_path, *ONE, "evaluate=[random_logit]", "perturbation=donor")
    assert set(results(tmp_path).values("random_logit")) == {IDS[0]}


def test_photos_are_read_only_to_fit_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explain(tmp_path, *ONE, "perturbation=donor")
    read = []
    photos = PhotoPool.all
    monkeypatch.setattr(PhotoPool, "all", lambda pool: read.append(pool.ids) or photos(pool))
    assert main([str(tmp_path), "--metrics", "sparseness"]) == 0
    assert not read
    assert main([str(tmp_path), "--metrics", "random_logit"]) == 0
    assert read[0] == inr_xai.load(tmp_path).info["donor_pool"]


def test_what_fits_anew(finished: Path) -> None:
    """Twice the same explanation: a random model's and another class's, against this one's."""
    assert main([str(finished), "--metrics", "random_logit,efficient_mprt", "--name", "anew"]) == 0
    found = results(finished, "anew")
    assert all(-1 <= value <= 1 for value in found.values("random_logit").values())
    assert set(found.values("efficient_mprt")) == set(IDS)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class 1 of two images, of which the second alone shows it."""
    out = tmp_path_factory.mktemp("tiny")
    explain(out, "data.limit=2", "explanations=1", "data.targets=1", base=TINY)
    return out


def broken(*_: object) -> dict[str, float]:
    raise RuntimeError("CUDA out of\nmemory")


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
    found = results(tiny_run, "parts")
    assert set(found.values("sparseness")) == set(IDS)
    assert not found.values("mprt")
    reason = "complexity, road: RuntimeError: CUDA out of memory"
    undefined = "mprt: mprt is NaN or infinite for this image, so it has no value"
    assert {row["failed"] for row in found.rows.values()} == {f"{reason}; {undefined}"}
    assert f"{IDS[0]} failed in part: {reason}; {undefined}" in said(caplog.records)
    assert command("complexity") == 0
    found = results(tiny_run, "parts")
    assert set(found.values("complexity")) == set(IDS)
    assert {row["failed"] for row in found.rows.values()} == {f"road: RuntimeError: CUDA out of memory; {undefined}"}
    assert command("road") == 0
    assert {row["failed"] for row in results(tiny_run, "parts").rows.values()} == {undefined}


def test_marks_of_another_class_fail_alone(tiny_run: Path) -> None:
    command = [str(tiny_run), "--name", "marks", "--metrics", "sparseness,relevance_mass,pointing_game"]
    assert main(command) == 3
    found = results(tiny_run, "marks")
    assert set(found.values("sparseness")) == set(IDS)
    assert list(found.values("relevance_mass")) == [IDS[1]]
    assert found.rows[IDS[0]]["failed"].startswith(f"relevance_mass, pointing_game: the marks of {IDS[0]!r} are of")
    assert found.rows[IDS[1]]["failed"] == ""


def test_masks_of_no_class_and_of_some_photos_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a flat folder an object is known, and no label; where there is no mask, nothing is asked of it."""
    root, masks, run = photos(tmp_path / "photos", "a.png", "b.png"), tmp_path / "masks", tmp_path / "run"
    photos(masks, "b.png")
    options = [f"data.root={root}", f"data.segmentations={masks}", "data.targets=predicted", "explanations=1"]
    explain(run, *options, base=FOLDER)
    command = [str(run), "--metrics", "sparseness,relevance_mass"]
    caplog.clear()
    caplog.set_level("INFO")
    assert main(command) == 0
    assert set(results(run).values("sparseness")) == {"a", "b"}
    assert set(results(run).values("relevance_mass")) == {"b"}
    assert len([told for told in said(caplog.records) if told.startswith("image ")]) == 2
    caplog.clear()
    caplog.set_level("INFO")
    assert main(command) == 0
    assert not [told for told in said(caplog.records) if told.startswith("image ")]
    photos(masks, "a.png")
    assert main(command) == 0
    assert set(results(run).values("relevance_mass")) == {"a", "b"}


def test_metrics_of_marks_without_any_are_one_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = [f"data.root={photos(tmp_path / 'photos', 'a.png')}", "data.targets=predicted", "explanations=1"]
    explain(run, *options, base=FOLDER)
    assert main([str(run), "--metrics", "sparseness,pointing_game"]) == 2
    told = capsys.readouterr().err
    assert "--metrics names pointing_game, which reads where objects are, and no image of the data set has" in told
    assert not (run / "evaluation").exists()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    assert main([str(run), "--metrics", "sparseness,pointing_game"]) == 3
    assert "cannot read" in results(run).rows["a"]["failed"]


def maps_of(folder: Path, seed: int, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        np.save(folder / f"{name}.npy", np.random.default_rng(seed + place).random((24, 24)))
    return folder


def test_changed_maps_are_measured_again(tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = maps_of(tmp_path / "old" / "tool", 0, *IDS), maps_of(tmp_path / "new" / "tool", 5, IDS[0])
    (new / f"{IDS[1]}.npy").write_bytes((old / f"{IDS[1]}.npy").read_bytes())
    assert main([str(tiny_run), "--maps", str(old), "--metrics", "sparseness,complexity"]) == 0
    before = results(tiny_run, "tool")
    caplog.clear()
    caplog.set_level("INFO")
    assert main([str(tiny_run), "--maps", str(new), "--metrics", "sparseness"]) == 0
    after = results(tiny_run, "tool")
    (told,) = [told for told in said(caplog.records) if told.startswith("image ")]
    assert "1 of 2" in told
    assert "another explanation" in told
    assert after.values("sparseness")[IDS[0]] != before.values("sparseness")[IDS[0]]
    assert set(after.values("complexity")) == {IDS[1]}
    assert after.rows[IDS[1]] == before.rows[IDS[1]]


def test_another_classifier_measures_again(tiny_run: Path) -> None:
    command = [str(tiny_run), "--name", "classifiers", "--metrics", "insertion_auc"]
    assert main(command) == 0
    before = results(tiny_run, "classifiers").rows
    assert main([*command, "image_batch_size=1", "data.limit=1", "trainer.accelerator=cpu"]) == 0
    assert results(tiny_run, "classifiers").rows == before
    assert main([*command, "classifier.model._target_=tests.helpers.runs.certain"]) == 0
    after = results(tiny_run, "classifiers").rows
    assert all(after[name]["digest"] != before[name]["digest"] for name in IDS)
    assert all(after[name]["insertion_auc"] != before[name]["insertion_auc"] for name in IDS)


def test_values_older_than_the_digest_are_kept(tiny_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = [str(tiny_run), "--name", "older", "--metrics", "sparseness"]
    assert main(command) == 0
    file, made = tiny_run / "evaluation" / "older.csv", results(tiny_run, "older").rows
    file.write_text("sample_id,target,difficult,sparseness,failed\n" + "".join(f"{name},1,0,0.5,\n" for name in IDS))
    caplog.clear()
    caplog.set_level("INFO")
    assert main(command) == 0
    assert not [told for told in said(caplog.records) if told.startswith("image ")]
    assert main([*command[:-1], "sparseness,complexity"]) == 0
    found = results(tiny_run, "older")
    assert set(found.values("sparseness").values()) == {0.5}
    assert {name: found.digest(name) for name in IDS} == {name: made[name]["digest"] for name in IDS}


def test_maps_never_take_the_name_of_the_run(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = maps_of(tmp_path / "masks", 0, *IDS)
    assert main([str(tiny_run), "--maps", str(maps), "--metrics", "sparseness"]) == 2
    assert "which is the name of the run's own results; give --name NAME" in capsys.readouterr().err
    assert main([str(tiny_run), "--maps", str(maps), "--metrics", "sparseness", "--name", "theirs"]) == 0
    assert results(tiny_run, "theirs").values("sparseness")


def test_files_that_are_no_map_are_refused(tmp_path: Path) -> None:
    files = {
        name: tmp_path / f"{name}.npy" for name in ("nothing", "archive", "torn", "structured", "empty", "objects")
    }
    files["nothing"].write_bytes(b"")
    np.savez(tmp_path / "archive.npz", a=np.eye(3))
    (tmp_path / "archive.npz").rename(files["archive"])
    files["torn"].write_bytes(b"PK\x03\x04torn")
    np.save(files["structured"], np.zeros((3, 3), dtype=[("a", "f4"), ("b", "f4")]))
    np.save(files["empty"], np.zeros((0, 5)))
    np.save(files["objects"], np.array([[{}]]), allow_pickle=True)
    for name, file in files.items():
        with pytest.raises(UserError, match=rf"{name}\.npy"):
            read_map(file)
    safetensors.torch.save_file({"map": torch.zeros(4, 0)}, tmp_path / "empty.safetensors")
    with pytest.raises(UserError, match="a map is h x w"):
        read_map(tmp_path / "empty.safetensors")


def test_whatever_is_raised_costs_one_image(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, read = maps_of(tmp_path / "broken", 0, *IDS), FolderSource.read
    (maps / f"{IDS[0]}.npy").write_bytes(b"")
    command = [str(tiny_run), "--maps", str(maps), "--metrics", "sparseness"]
    assert main(command) == 3
    assert list(results(tiny_run, "broken").values("sparseness")) == [IDS[1]]
    maps_of(maps, 3, *IDS)
    monkeypatch.setattr(FolderSource, "read", lambda self, name: broken() if name == IDS[0] else read(self, name))
    assert main(command) == 3
    found = results(tiny_run, "broken")
    assert found.rows[IDS[0]]["failed"] == "RuntimeError: CUDA out of memory"
    assert list(found.values("sparseness")) == [IDS[1]]


def test_the_classifier_moves_once(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every score finds the classifier where it must be."""
    depth, seen, frozen = [0], [], FrozenClassifier.frozen

    @contextlib.contextmanager
    def counted(self: FrozenClassifier, *where: object) -> Iterator[FrozenClassifier]:
        seen.append(depth[0])
        depth[0] += 1
        with frozen(self, *where) as inside:  # type: ignore[arg-type]
            yield inside
        depth[0] -= 1

    monkeypatch.setattr(FrozenClassifier, "frozen", counted)
    assert main([str(tiny_run), "--name", "once", "--metrics", "average_drop"]) == 0
    assert seen.count(0) == 1
    assert len(seen) > 2


def test_a_new_column_writes_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, written = tmp_path / "masks.csv", []
    made = Results(file)
    for place in range(20):
        made.add(f"{place:02d}", {"target": 1, "difficult": 0, "road": 0.5, "failed": ""})
    write = results.write_bytes
    monkeypatch.setattr(results, "write_bytes", lambda *args: written.append(args) or write(*args))
    again = Results(file)
    for place in range(20):
        again.add(f"{place:02d}", {"iou": place / 20, "failed": ""})
    assert len(written) == 1
    assert Results(file).rows == again.rows  # also where a process is killed now: the last line of a sample counts
    again.tidy()
    assert len(file.read_text().splitlines()) == 21
    assert Results(file).rows == again.rows
    Results(file).tidy()
    assert len(written) == 2


def test_what_is_not_finite_is_no_value(tmp_path: Path) -> None:
    file = tmp_path / "masks.csv"
    Results(file).add("a", {"target": 1, "difficult": 0, "mprt": float("nan"), "road": float("inf"), "failed": ""})
    assert file.read_text().splitlines()[1] == "a,1,0,,,"
    file.write_text("sample_id,target,difficult,mprt,failed\na,1,0,nan,\nb,1,0,0.5,\n")
    assert Results(file).values("mprt") == {"b": 0.5}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"image_id,explanation,area\na,1,0.1\n", "has no column sample_id"),
        (b"sample_id,road\na,0.5\n", "has no column failed"),
        (b"failed,road\n,0.5\n", "has no column sample_id"),
        (b"sample_id,road,failed\n\xff,0.5,\n", "cannot be read"),
        (b"sample_id,road,failed\na,0.5,,7\n", "has a line with more cells than columns"),
        (b"sample_id,target,failed\na,1,\n", "holds no values"),
        (b"", "holds no values"),
    ],
)
def test_a_csv_of_something_else_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"x.csv' {words}.*give a CSV that python -m inr_xai.evaluate wrote"):
        read_results(tmp_path / "x.csv")


def test_text_among_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"sample_id,road,failed\na,high,\n")
    with pytest.raises(UserError, match="has 'high' as road of 'a', which is no number"):
        read_results(tmp_path / "x.csv").values("road")


def test_published_results_are_read(tmp_path: Path) -> None:
    for file in (ROOT / "benchmarks" / "results" / "shapes_in_context").glob("*.csv"):
        found = read_results(file)
        assert all(len(found.values(column)) == len(found.rows) for column in found.columns)
