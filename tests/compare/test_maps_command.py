"""`inr-xai maps`: heatmaps of other methods for a run's images, and from there to their metrics."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from inr_xai.compare import maps
from inr_xai.compare.maps import main as maps_main
from inr_xai.compare.maps import require_same_settings
from inr_xai.compare.methods.controls import CentredDisc
from inr_xai.errors import UserError
from inr_xai.evaluate.__main__ import main as evaluate_main
from inr_xai.evaluate.results import Results
from inr_xai.moved import with_new_paths
from inr_xai.runs.files import write_json
from inr_xai.runs.folder import facts_of
from tests.helpers.runs import FOLDER, SHORT, TINY, allowing, explain, photos, process

make_maps, evaluate = allowing(maps_main), allowing(evaluate_main)


@pytest.mark.slow
def test_maps_of_a_run(tmp_path: Path) -> None:
    explain(tmp_path, "data.limit=2", "callbacks.figures=null", base=SHORT)
    first_call = process("maps", str(tmp_path), "--methods", "disc,random", "--limit", "1", folder=tmp_path)
    assert first_call.returncode == 0, first_call.stderr
    file = tmp_path / "maps" / "disc" / "00000-disc.npy"
    assert not (tmp_path / "maps" / "disc" / "00001-square.npy").exists()
    expected = CentredDisc().explain(torch.zeros(3, 96, 96), 0, "").maps[0]
    np.testing.assert_allclose(np.load(file), expected.numpy())
    before = file.stat().st_mtime_ns
    second_call = process("maps", str(tmp_path), "--methods", "disc", folder=tmp_path)
    assert second_call.returncode == 0, second_call.stderr
    assert file.stat().st_mtime_ns == before
    assert evaluate([str(tmp_path), "--maps", str(tmp_path / "maps" / "disc"), "--metrics", "sparseness"]) == 0
    assert len(Results(tmp_path / "evaluation" / "disc.csv").values("sparseness")) == 2
    refused = process("maps", str(tmp_path), "--methods", "inr", folder=tmp_path)
    assert refused.returncode == 2
    assert "'inr', which is no method" in refused.stderr


@pytest.mark.slow
def test_maps_of_other_settings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain(tmp_path, "data.limit=2", "explanations=1", base=TINY)
    command = [str(tmp_path), "--methods", "random", "--limit"]
    assert make_maps([*command, "1"]) == 0
    folder = tmp_path / "maps" / "random"
    (first,) = folder.glob("*.npy")
    before, settings = first.read_bytes(), json.loads((folder / "settings.json").read_text())
    assert settings["method"] == {"random": 8, "seed": 0}
    assert make_maps([*command, "2", "seed=1"]) == 2
    assert "differ in method.seed (was 0, now 1); give the old ones, or move the folder away" in capsys.readouterr().err
    assert make_maps([*command, "2", "classifier.resize=26"]) == 2
    assert "classifier.resize (was 24, now 26)" in capsys.readouterr().err
    assert [file.name for file in folder.glob("*.npy")] == [first.name]
    assert make_maps([*command, "2", "image_batch_size=3", "data.limit=1"]) == 0
    assert len(list(folder.glob("*.npy"))) == 2
    assert first.read_bytes() == before
    (folder / "settings.json").unlink()  # as of maps that are older than such files
    assert make_maps([*command, "2"]) == 0
    assert json.loads((folder / "settings.json").read_text()) == settings
    for file in folder.glob("*.npy"):
        file.unlink()
    assert make_maps([*command, "2", "seed=1"]) == 0
    assert json.loads((folder / "settings.json").read_text())["method"]["seed"] == 1
    assert first.read_bytes() != before


@pytest.mark.parametrize("root", [None, "photos"])
def test_maps_made_when_a_run_named_former_targets_are_accepted(tmp_path: Path, root: str | None) -> None:
    """The settings of version 0.1.0 name targets that chose by the folder of photos, which settings do not hold."""
    (tmp_path / "a.npy").touch()
    random = {"random": 8, "seed": 0}
    former = {
        "method": random,
        "data._target_": "inr_xai.data.scenes_or_photos.scenes_or_photos",
        "data.cues": "texture",
        "data.size": 32,
        "data.seed": 0,
        "data.classes": None,
        "classifier._target_": "inr_xai.classifier.scenes_or_timm.scenes_or_timm",
        "classifier.cues": "texture",
        "classifier.name": None,
        "classifier.pretrained": True,
        "classifier.checkpoint": None,
        "classifier.head": None,
    }
    write_json(tmp_path / "settings.json", former)
    config = {group: {key: value} for group, key, value in (("data", "root", root), ("classifier", "root", root))}
    for key, value in former.items():
        if key != "method":
            group, option = key.split(".")
            config[group][option] = value
    now = {"method": random} | facts_of(with_new_paths(config))
    require_same_settings(tmp_path, now, root=root)
    with pytest.raises(UserError, match=r"data\._target_"):
        require_same_settings(tmp_path, now, root="photos" if root is None else None)
    with pytest.raises(UserError, match=r"method\.seed \(was 0, now 1\)"):
        require_same_settings(tmp_path, now | {"method": random | {"seed": 1}}, root=root)


@pytest.mark.slow
def test_an_image_that_cannot_be_read_costs_itself_alone_and_counts_for_every_method(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", "a.png", "b.png"), tmp_path / "run"
    explain(out, f"data.root={root}", "data.targets=predicted", "explanations=1", base=FOLDER)
    (root / "a.png").write_bytes(b"")
    assert make_maps([str(out), "--methods", "disc,random"]) == 3
    assert {file.relative_to(out / "maps").as_posix() for file in (out / "maps").rglob("*.npy")} == {
        "disc/b.npy",
        "random/b.npy",
    }
    again = Namespace(run=out, overrides=["allow_targets=[tests]"], methods="disc,random", layer=None, limit=None)
    assert maps.make_maps(again) == 2
