"""Every experiment runs, with small untrained networks; so do a vision transformer and a classifier of ImageNet."""

import json
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from inr_xai.evaluate.results import Results, metric_of
from tests.data import test_imagenet_s, test_voc
from tests.helpers.runs import ROOT, explain, masks_of, photos, table

EXPERIMENTS = sorted(file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml"))
UNTRAINED = "classifier.pretrained=false"
CHEAP = [
    "steps=2",
    "stride=16",
    "logger=none",
    "callbacks.figures=null",
    "trainer.accelerator=cpu",
    "data.limit=1",
]
TINY = "classifier.name=test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos in a wnid folder."""
    return photos(tmp_path_factory.mktemp("photos"), *(f"n01440764/{number}.JPEG" for number in range(8)), side=64)


def scores(out: Path) -> list[float]:
    """Returns probabilities of every row of a run."""
    keys = ("preservation_hard_mean", "deletion_soft_mean", "chance", "p_full")
    return [float(row[key]) for row in table(out) for key in keys]


def test_there_are_experiments() -> None:
    assert "imagenet_multi" in EXPERIMENTS


def wnid_folders(root: Path) -> list[str]:
    photos(root, *(f"n01440764/{number}.JPEG" for number in range(8)), side=64)
    return [f"data.root={root}", TINY, UNTRAINED]


def subset_of_imagenet(root: Path) -> list[str]:
    return [f"data.root={test_imagenet_s.small(root)}", TINY, UNTRAINED]


def boxes_of_voc(root: Path) -> list[str]:
    for name, things in {
        "000001": [("cat", (1, 1, 3, 2), 0), ("dog", (5, 5, 9, 8), 0)],
        "000002": [("cow", (2, 2, 8, 8), 0)],
    }.items():
        test_voc.put(root / "VOC2007", name, *things, task="Main", split="test")
    name = "shufflenet_v2_x0_5"
    save_file(torchvision.models.get_model(name, num_classes=20).state_dict(), root / "voc.safetensors")
    return [f"data.root={root}", f"classifier.model.name={name}", f"classifier.checkpoint={root / 'voc.safetensors'}"]


def photos_of_mosaics(root: Path) -> list[str]:
    names = [f"{kind}/{number}" for number, kind in enumerate(("n01440764", "n01443537", "n01484850", "n01491361"))]
    photos(root, *(f"{name}.JPEG" for name in names), side=64)
    (root / "photos.json").write_text(json.dumps({"photos": dict(zip(names, range(4), strict=True))}))
    return [
        f"data.source.root={root}",
        f"data.photos={root / 'photos.json'}",
        "classifier=timm",
        TINY,
        UNTRAINED,
        "data.count=1",
    ]


def drawn_scenes(root: Path) -> list[str]:
    return ["data.size=4", "audit.control=1"]


def audited_photos(root: Path) -> list[str]:
    return [*wnid_folders(root), "audit.control=1"]


DATA_SETS = {
    "imagenet_multi": wnid_folders,
    "inr_extremal": wnid_folders,
    "imagenet_s50": subset_of_imagenet,
    "voc07_pointing": boxes_of_voc,
    "gridpg": photos_of_mosaics,
    "context_audit": drawn_scenes,
    "photo_audit": audited_photos,
}
"""Experiment -> the function that writes its data set, in small, into a folder, and returns the options for it."""


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.slow
def test_every_experiment_runs(tmp_path: Path, name: str) -> None:
    """It runs at its own areas and explanations, as it stands in its file but for the weights."""
    options = [f"+experiment={name}", *DATA_SETS[name](tmp_path / "data")]
    out = tmp_path / "run"
    assert explain(out, *options, base=CHEAP).failures == 0
    config = json.loads((out / "run.json").read_text())["config"]
    areas, explanations = config["areas"], config["explanations"]
    rows = [(int(row["explanation"]), float(row["area"])) for row in table(out)]
    assert rows == [(k, area) for k in range(1, explanations + 1) for area in areas]
    (masks,) = masks_of(out).values()
    if config["area_rule"]["_target_"].endswith(".AreaProjection"):  # a penalty has no exact areas
        assert (masks.double().mean((-2, -1)) - torch.tensor(areas)).abs().max() < 1e-3
    assert all(0 <= value <= 1 for value in scores(out))
    assert (out / "audit").exists() is (config["audit"] is not None)
    if config["evaluate"] is not None:
        (row,) = Results(out / "evaluation" / "masks.csv").rows.values()
        assert not row["failed"]
        assert {metric_of(column) for column in row if row[column]} >= set(config["evaluate"])
    # Any two explanations share no pixel.
    hard = torch.stack(
        [
            mask.flatten() >= mask.flatten().sort().values[-int(a * mask.numel())]
            for k in masks
            for a, mask in zip(areas, k, strict=True)
        ]
    ).unflatten(0, (explanations, len(areas)))
    assert hard.sum(0).max() == 1


@pytest.mark.slow
def test_a_vision_transformer_is_explained(folder: Path, tmp_path: Path) -> None:
    options = ["data=image_folder", f"data.root={folder}", "classifier=timm", "areas=[0.2]", "explanations=1"]
    explain(tmp_path, *options, UNTRAINED, "classifier.name=vit_tiny_patch16_224.augreg_in21k_ft_in1k", base=CHEAP)
    (row,) = table(tmp_path)
    assert float(row["area_error"]) < 1e-3
    losses = [float(line["loss"]) for line in table(tmp_path, "curves.csv")]
    assert len(losses) == 2
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_a_classifier_of_imagenet_from_its_options(real_data: Path, tmp_path: Path) -> None:
    """SqueezeNet with a local checkpoint mostly knows the classes of two photos."""
    options = [
        "data=image_folder",
        f"data.root={real_data / 'imagenet-samples'}",
        "data.every=40",
        "classifier=torchvision",
        "classifier.name=squeezenet1_0",
        f"classifier.checkpoint={real_data / 'squeezenet1_0-imagenet1k.safetensors'}",
        "explanations=1",
        "areas=[0.1,0.3]",
    ]
    assert explain(tmp_path, *options, base=[*CHEAP[:-1], "data.limit=2"]).failures == 0
    rows = table(tmp_path)
    assert len({row["sample_id"] for row in rows}) == 2
    assert len({row["target"] for row in rows}) == 2
    assert max(float(row["p_full"]) for row in rows) > 0.1  # labels and weights belong together
    assert all(float(row["area_error"]) < 1e-3 for row in rows)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["classifier"]["name"] == "squeezenet1_0"
