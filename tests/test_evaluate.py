"""Finished runs and maps of other tools are measured, continued, refused; values against the functions themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import inr_xai
from inr_xai.columns import MEASURES as NAMES
from inr_xai.data import Synthetic
from inr_xai.evaluate import main
from inr_xai.evaluation.measures import MEASURES
from inr_xai.evaluation.rows import Results
from inr_xai.metrics.masks import hard_masks
from inr_xai.photos import PhotoPool
from inr_xai.seeding import generator
from tests.runs import SHORT, explain

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
    assert tuple(MEASURES) == NAMES


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
    from inr_xai.demo import MEAN, SIZE, STD
    from inr_xai.types import Preprocessing

    return Preprocessing((SIZE, SIZE), SIZE, "bilinear", MEAN, STD)


def test_what_is_measured_is_not_measured_again(finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(finished), "--metrics", "sparseness"]) == 0
    before = results(finished).rows
    caplog.clear()
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
    assert measured == {name for name, measure in MEASURES.items() if not measure.costly}
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
        monkeypatch.setattr(f"inr_xai.evaluate.{name}", again)
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
