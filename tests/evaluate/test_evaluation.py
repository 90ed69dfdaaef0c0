"""Finished runs and maps of other tools are measured, continued and refused; values against the functions."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import inr_xai
from inr_xai.audit.__main__ import main as audit
from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.demo_network import MEAN, SIZE, STD
from inr_xai.columns import METRICS_THAT_REFIT
from inr_xai.data import Synthetic
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.evaluate.__main__ import main as evaluate
from inr_xai.evaluate.registry import REGISTRY
from inr_xai.masks import hard_masks
from inr_xai.runs.lock import lock_of_results
from inr_xai.seeding import generator
from inr_xai.types import Preprocessing
from tests.evaluate.conftest import IDS, maps_of, results_of
from tests.helpers.runs import FOLDER, SHORT, allowing, explain, messages, photos

main = allowing(evaluate)

DEMO = [*SHORT, "data.limit=2", "callbacks.figures=null", "steps=3"]
ONE = ["data.limit=1", "explanations=1"]
PREPROCESSING = Preprocessing((SIZE, SIZE), SIZE, "bilinear", MEAN, STD)
CHEAP = "area_error,sparseness,relevance_mass,pointing_game,pointing_game_of_masks,iou,iou_matched"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    explain(out, "seed=1", base=DEMO)
    return out


def test_a_run_is_measured(finished: Path) -> None:
    assert main([str(finished), "--metrics", CHEAP]) == 0
    results, run = results_of(finished), inr_xai.load(finished)
    segmentations = {
        name: Synthetic(3).load(name, PREPROCESSING).segmentation.numpy()  # type: ignore[union-attr]
        for name in IDS
    }
    for name in IDS:
        explained = run[name]
        heatmap, inside = explained.importance().double().numpy(), segmentations[name]
        assert results.values("relevance_mass")[name] == pytest.approx(heatmap[inside].sum() / heatmap.sum(), abs=1e-5)
        for row in (row for row in explained.rows if row["explanation"] == 1):
            column = f"area_error/a{row['area']:g}"
            assert results.values(column)[name] == pytest.approx(row["area_error"], abs=1e-6)
        ties = [generator(1, name, "ties")]
        hard = hard_masks(explained.masks[:1], torch.tensor([0.1, 0.3], dtype=torch.float64), generators=ties)[0]
        for area, mask in zip(("0.1", "0.3"), hard.numpy(), strict=True):
            expected = (mask & inside).sum() / (mask | inside).sum()
            assert results.values(f"iou/a{area}")[name] == pytest.approx(expected, abs=1e-5)
        assert results.rows[name]["target"] == str(explained.target)
    text = (finished / "evaluation" / "masks.md").read_text()
    assert "relevance_mass ↑" in text
    assert "iou/mean" in text
    assert r"\toprule" in (finished / "evaluation" / "masks.tex").read_text()


@pytest.mark.slow
def test_what_is_measured_is_not_measured_again(finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(finished), "--metrics", "sparseness"]) == 0
    before = results_of(finished).rows
    caplog.clear()
    caplog.set_level("INFO")
    assert main([str(finished), "--metrics", "sparseness"]) == 0
    assert not [record for record in caplog.records if record.getMessage().startswith("image ")]
    assert results_of(finished).rows == before
    assert main([str(finished), "--metrics", "sparseness,complexity"]) == 0
    after = results_of(finished)
    assert set(after.values("complexity")) == set(IDS)
    assert {name: after.rows[name]["sparseness"] for name in IDS} == {name: before[name]["sparseness"] for name in IDS}


@pytest.mark.slow
def test_every_metric_that_fits_nothing_anew(finished: Path) -> None:
    assert main([str(finished), "--name", "everything"]) == 0
    results = results_of(finished, "everything")
    measured = {column.split("/")[0] for column in results.columns}
    assert measured == REGISTRY.keys() - set(METRICS_THAT_REFIT)
    curves = {"sic", "aic"}  # which exist only for images whose blur loses the class
    assert all(set(results.values(column)) == set(IDS) for column in set(results.columns) - curves)
    assert all(set(results.values(column)) for column in curves)


@pytest.mark.slow
def test_maps_of_another_tool(finished: Path, tmp_path: Path) -> None:
    """A map that is the segmentation itself lies only on the object; one of no known shape costs itself alone."""
    segmentation = Synthetic(3).load(IDS[0], PREPROCESSING).segmentation
    assert segmentation is not None
    np.save(tmp_path / f"{IDS[0]}.npy", segmentation.numpy().astype(np.float64)[None])
    safetensors.torch.save_file({"map": torch.rand(96, 96)}, tmp_path / f"{IDS[1]}.safetensors")
    command = [str(finished), "--maps", str(tmp_path), "--name", "other", "--metrics", "relevance_mass,sparseness"]
    assert main(command) == 0
    results = results_of(finished, "other")
    assert results.values("relevance_mass")[IDS[0]] == 1
    assert results.values("sparseness")[IDS[0]] == pytest.approx(1 - float(segmentation.float().mean()), abs=1e-5)
    assert 0 < results.values("relevance_mass")[IDS[1]] < 1
    safetensors.torch.save_file({"map": torch.rand(6, 6)}, tmp_path / f"{IDS[1]}.safetensors")
    assert main(command) == 3
    failed = results_of(finished, "other")
    assert failed.values("relevance_mass") == {IDS[0]: 1}
    assert "a map of 6 x 6 pixels" in failed.failed(IDS[1])


def test_a_broken_map_costs_itself_alone(finished: Path, tmp_path: Path) -> None:
    np.save(tmp_path / f"{IDS[0]}.npy", np.full((96, 96), np.nan))
    np.save(tmp_path / f"{IDS[1]}.npy", np.random.default_rng(0).random((96, 96)))
    command = [str(finished), "--maps", str(tmp_path), "--name", "broken", "--metrics", "sparseness"]
    assert main(command) == 3
    results = results_of(finished, "broken")
    assert "NaN or infinity" in results.rows[IDS[0]]["failed"]
    assert list(results.values("sparseness")) == [IDS[1]]
    np.save(tmp_path / f"{IDS[0]}.npy", np.random.default_rng(1).random((96, 96)))
    assert main(command) == 0
    assert set(results_of(finished, "broken").values("sparseness")) == set(IDS)
    assert results_of(finished, "broken").rows[IDS[0]]["failed"] == ""


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
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words)


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
    assert set(results_of(tmp_path).values("sparseness")) == {IDS[0]}
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == 1


@pytest.mark.slow
def test_a_run_is_measured_with_its_own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_again(*_: object) -> None:
        raise AssertionError("data, classifier and method are there already")

    for name in ("build_data_and_classifier", "build_method", "make_photo_pool"):
        monkeypatch.setattr(f"inr_xai.evaluate.loop.{name}", made_again)
    explain(tmp_path, *ONE, "evaluate=[random_logit]", "perturbation=donor")
    assert set(results_of(tmp_path).values("random_logit")) == {IDS[0]}


@pytest.mark.slow
def test_photos_are_read_only_to_fit_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explain(tmp_path, *ONE, "perturbation=donor")
    read = []
    photos = PhotoPool.all
    monkeypatch.setattr(PhotoPool, "all", lambda pool: read.append(pool.ids) or photos(pool))
    assert main([str(tmp_path), "--metrics", "sparseness"]) == 0
    assert not read
    assert main([str(tmp_path), "--metrics", "random_logit"]) == 0
    assert read[0] == inr_xai.load(tmp_path).info["donor_pool"]


@pytest.mark.slow
def test_what_fits_anew(finished: Path) -> None:
    """Metrics that explain another class or a randomised model have a value for every image."""
    assert main([str(finished), "--metrics", "random_logit,efficient_mprt", "--name", "anew"]) == 0
    results = results_of(finished, "anew")
    assert all(-1 <= value <= 1 for value in results.values("random_logit").values())
    assert set(results.values("efficient_mprt")) == set(IDS)


@pytest.mark.slow
def test_marks_of_another_class_fail_alone(tiny_run: Path) -> None:
    command = [str(tiny_run), "--name", "marks", "--metrics", "sparseness,relevance_mass,pointing_game"]
    assert main(command) == 3
    results = results_of(tiny_run, "marks")
    assert set(results.values("sparseness")) == set(IDS)
    assert list(results.values("relevance_mass")) == [IDS[1]]
    assert results.rows[IDS[0]]["failed"].startswith(f"relevance_mass, pointing_game: the marks of {IDS[0]!r} are of")
    assert results.rows[IDS[1]]["failed"] == ""


@pytest.mark.slow
def test_masks_of_no_class_and_of_some_photos_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A flat folder has objects without labels; a photo without a mask is not measured by metrics of marks."""
    root, masks, run = photos(tmp_path / "photos", "a.png", "b.png"), tmp_path / "masks", tmp_path / "run"
    photos(masks, "b.png")
    options = [f"data.root={root}", f"data.segmentations={masks}", "data.targets=predicted", "explanations=1"]
    explain(run, *options, base=FOLDER)
    command = [str(run), "--metrics", "sparseness,relevance_mass"]
    caplog.clear()
    caplog.set_level("INFO")
    assert main(command) == 0
    assert set(results_of(run).values("sparseness")) == {"a", "b"}
    assert set(results_of(run).values("relevance_mass")) == {"b"}
    assert len([text for text in messages(caplog.records) if text.startswith("image ")]) == 2
    caplog.clear()
    caplog.set_level("INFO")
    assert main(command) == 0
    assert not [text for text in messages(caplog.records) if text.startswith("image ")]
    photos(masks, "a.png")
    assert main(command) == 0
    assert set(results_of(run).values("relevance_mass")) == {"a", "b"}


def test_metrics_of_marks_without_any_are_one_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = [f"data.root={photos(tmp_path / 'photos', 'a.png')}", "data.targets=predicted", "explanations=1"]
    explain(run, *options, base=FOLDER)
    assert main([str(run), "--metrics", "sparseness,pointing_game"]) == 2
    error = capsys.readouterr().err
    assert "--metrics names pointing_game, which reads where objects are, and no image of the data set has" in error
    assert not (run / "evaluation").exists()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    assert main([str(run), "--metrics", "sparseness,pointing_game"]) == 3
    assert "cannot read" in results_of(run).rows["a"]["failed"]


def test_maps_never_take_the_name_of_the_run(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = maps_of(tmp_path / "masks", 0, *IDS)
    assert main([str(tiny_run), "--maps", str(maps), "--metrics", "sparseness"]) == 2
    assert "which is the name of the run's own results; give --name NAME" in capsys.readouterr().err
    assert main([str(tiny_run), "--maps", str(maps), "--metrics", "sparseness", "--name", "theirs"]) == 0
    assert results_of(tiny_run, "theirs").values("sparseness")


def test_the_classifier_moves_once(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier is frozen once for all scores of an evaluation, and once before them to examine it."""
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
    assert seen.count(0) == 2  # the one look before, and all scores
    assert len(seen) > 2


def test_two_processes_do_not_measure_the_same_at_once(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, program in {"masks": evaluate, "audit": audit}.items():
        with lock_of_results(tiny_run, name):
            assert program([str(tiny_run)]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"error: {name!r} of {tiny_run} is taken: process {os.getpid()} of ")
