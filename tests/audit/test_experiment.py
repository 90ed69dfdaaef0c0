"""`+experiment=context_audit` on drawn scenes, `+experiment=photo_audit` on photos, and runs of their predecessor."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_object
from omegaconf import DictConfig
from PIL import Image
from torch import nn

import inr_xai
from inr_xai.audit.__main__ import main as audit
from inr_xai.classifier import shapes_in_context
from inr_xai.config import check
from inr_xai.data import ImageFolder, ShapesInContext
from inr_xai.errors import UserError
from inr_xai.instantiate import instantiate, plain
from inr_xai.moved import with_new_paths
from inr_xai.runs.files import read_json, write_json
from tests.helpers.runs import ROOT, allowing, configured, explain, network, photos, process, table

SMALL = [
    "steps=2",
    "explanations=2",
    "audit.control=2",
    "data.limit=2",
    "logger=none",
    "callbacks.figures=null",
    "trainer.accelerator=cpu",
]
main = allowing(audit)

SCENES = ["+experiment=context_audit", *SMALL]
PHOTOS = [
    "+experiment=photo_audit",
    "data.targets=predicted",
    "allow_targets=[tests]",
    "classifier=custom",
    f"classifier.model._target_={__name__}.sure",
    "classifier.input_size=24",
    "classifier.resize=24",
    *SMALL,
]


class Sharp(nn.Module):
    """The small random classifier with sharper probabilities: some classes of every image have p < 0.001."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 10 * self.network(images)


def sure() -> nn.Module:
    return Sharp()


def folder(root: Path) -> Path:
    """Writes photos without labels, of which the first has a mask; returns the folder of both."""
    photos(root / "photos", *(f"{number}.png" for number in range(6)), side=24)
    (root / "masks").mkdir()
    mask = np.zeros((24, 24), dtype=np.uint8)
    mask[4:14, 6:16] = 255
    Image.fromarray(mask).save(root / "masks" / "0.png")
    return root


def words_of_the_tables(report: Path) -> str:
    return "\n".join(line for line in report.read_text().splitlines() if line.startswith("|"))


def context_audit(*overrides: str) -> DictConfig:
    return configured("+experiment=context_audit", *overrides)


def photo_audit(*overrides: str) -> DictConfig:
    return configured("+experiment=photo_audit", *overrides)


def test_the_data_of_a_context_audit_are_scenes_and_the_classifier_is_theirs() -> None:
    cfg = context_audit("data.limit=3", "data.every=2", "data.seed=5", "data.targets=predicted")
    data, classifier = instantiate(cfg.data), instantiate(cfg.classifier)
    assert isinstance(data, ShapesInContext)
    assert (len(data.ids), data.limit, data.every, data.targets) == (24, 3, 2, "predicted")
    same = ShapesInContext("both", size=24, seed=5)
    sample = data.load("00003", classifier.preprocessing)
    assert torch.equal(sample.image, same.load("00003", classifier.preprocessing).image)
    images = sample.image[None]
    other = instantiate(context_audit("classifier.name=object_only").classifier)
    for made, name in [(classifier, "both"), (other, "object_only")]:
        with torch.no_grad():
            assert torch.equal(made(images), shapes_in_context(name)(images))


def test_the_data_of_a_photo_audit_are_photos_and_the_classifier_is_of_timm(tmp_path: Path) -> None:
    root = folder(tmp_path)
    photos_and_masks = (f"data.root={root / 'photos'}", f"data.segmentations={root / 'masks'}")
    model = ("classifier.name=test_resnet.r160_in1k", "classifier.pretrained=false")
    cfg = photo_audit(*photos_and_masks, *model, "data.targets=predicted", "data.limit=4", "data.every=3")
    data, classifier = instantiate(cfg.data), instantiate(cfg.classifier)
    assert isinstance(data, ImageFolder)
    assert (data.ids, data.limit, data.every, data.targets) == ([*"012345"], 4, 3, "predicted")
    assert classifier.preprocessing.size == (160, 160)
    assert data.load("0", classifier.preprocessing).segmentation is not None
    conf = yaml.safe_load((ROOT / "conf" / "classifier" / "timm.yaml").read_text())
    assert photo_audit().classifier.name == conf["name"] == "resnet50.tv_in1k"


def test_both_experiments_differ_in_data_and_classifier_alone() -> None:
    scenes, of_photos = context_audit(), photo_audit("data.root=photos")
    assert (scenes.name, of_photos.name) == ("context_audit", "photo_audit")
    for key in scenes:
        if key not in ("data", "classifier", "name", "out"):
            assert scenes[key] == of_photos[key]
    assert (scenes.areas, scenes.explanations, scenes.audit) == ([0.1, 0.2], 3, {"area": 0.1, "control": 20})


@pytest.mark.parametrize(
    ("experiment", "override"),
    [
        ("context_audit", "data.root=."),
        ("context_audit", "data.segmentations=masks"),
        ("context_audit", "data.classes=names.txt"),
        ("photo_audit", "data.cues=object_only"),
        ("photo_audit", "data.size=25"),
        ("photo_audit", "data.seed=1"),
        ("context_audit", "classifier.pretrained=false"),
        ("context_audit", "classifier.checkpoint=weights.pth"),
        ("context_audit", "classifier.head=sigmoid"),
    ],
)
@pytest.mark.slow
def test_options_of_the_other_experiment_are_refused(experiment: str, override: str) -> None:
    root = ["data.root=."] if experiment == "photo_audit" else []
    cfg = configured(f"+experiment={experiment}", *root, override)
    with pytest.raises(UserError, match=re.escape(override.partition("=")[0])) as refused:
        check(cfg)
    assert "\n" not in str(refused.value)


def test_a_network_of_scenes_has_the_name_of_a_setting() -> None:
    with pytest.raises(UserError, match=r"classifier\.name='resnet50' is not allowed; choose one of both, ") as refused:
        instantiate(context_audit("classifier.name=resnet50").classifier)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_scenes_without_a_network_of_their_own_need_the_name_of_one(tmp_path: Path) -> None:
    """The program runs in a process of its own: the type checker of the tests would refuse the mapping first."""
    done = process("+experiment=context_audit", "data.cues={object_shape:1.0}", folder=tmp_path)
    assert done.returncode == 2
    assert "classifier.name={'object_shape': 1.0} is not allowed; choose one of both, " in done.stderr


def test_a_photo_audit_needs_a_folder() -> None:
    with pytest.raises(UserError, match=r"^data\.root is required: data\.root=PATH$"):
        check(photo_audit())


def test_the_classifier_follows_the_scenes() -> None:
    assert context_audit().classifier.name == "both"
    assert context_audit("data.cues=context_only").classifier.name == "context_only"
    other = context_audit("classifier=torchvision", "classifier.name=resnet18")
    assert other.classifier._target_ == "inr_xai.classifier.from_torchvision"
    assert other.classifier.name == "resnet18"


@pytest.fixture(scope="module")
def scenes_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audited run of drawn scenes."""
    run = tmp_path_factory.mktemp("scenes")
    assert explain(run, base=SCENES).failures == 0
    return run


@pytest.fixture(scope="module")
def photos_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audited run of photos, beside the folders of the photos and of their masks."""
    root = folder(tmp_path_factory.mktemp("photos"))
    options = (f"data.root={root / 'photos'}", f"data.segmentations={root / 'masks'}")
    assert explain(root / "run", *options, base=PHOTOS).failures == 0
    return root / "run"


@pytest.mark.slow
def test_an_audit_of_scenes(scenes_run: Path) -> None:
    rows = table(scenes_run / "audit", "per_image.csv")
    assert [row["sample_id"] for row in rows] == ["00000", "00001"]
    assert [row["class"] for row in rows] == ["disc, checks", "square, dots"]
    assert all(row["where"] and row["object_evidence"] for row in rows)
    assert all(float(row["p_full"]) > 0.9 for row in rows)
    assert {row["explanation"] for row in table(scenes_run)} == {"1", "2"}
    assert "where" in words_of_the_tables(scenes_run / "audit" / "report.md")
    control = table(scenes_run / "audit" / "control")
    assert {row["sample_id"] for row in control} == {"00000", "00001"}
    assert all(float(row["p_full"]) < 1e-3 for row in control)


@pytest.mark.slow
def test_an_audit_of_photos_says_the_place_only_if_the_object_is_known(photos_run: Path, tmp_path: Path) -> None:
    assert explain(tmp_path, f"data.root={photos_run.parent / 'photos'}", base=PHOTOS).failures == 0
    rows = table(tmp_path / "audit", "per_image.csv")
    assert [row["sample_id"] for row in rows] == ["0", "1"]
    assert not [column for column in rows[0] if "where" in column or "object" in column]
    words = words_of_the_tables(tmp_path / "audit" / "report.md")
    assert "| 0 |" in words
    assert not re.search("object|context|where", words)
    first, second = table(photos_run / "audit", "per_image.csv")
    assert first["where"]
    assert not second["where"]
    assert 0 < float(first["on_object_1"]) < 1
    assert "where" in words_of_the_tables(photos_run / "audit" / "report.md")


# Version 0.1.0 had one experiment for both kinds, whose two nodes held the options of either.
OLD_DATA = {
    "_target_": "inr_xai.data.scenes_or_photos.scenes_or_photos",
    "root": None,
    "cues": "both",
    "size": 24,
    "seed": 0,
    "classes": None,
    "segmentations": None,
    "targets": "label",
    "limit": None,
    "every": 1,
}
OLD_CLASSIFIER = {
    "_target_": "inr_xai.classifier.scenes_or_timm.scenes_or_timm",
    "root": None,
    "cues": "both",
    "name": None,
    "pretrained": True,
    "checkpoint": None,
    "head": "softmax",
}


def assert_same_node(old: dict[str, Any], now: dict[str, Any]) -> None:
    """Asserts that an old node is answered with today's: the same class or function, and the same options."""
    node = with_new_paths(old)
    assert get_object(node.pop("_target_")) is get_object(now["_target_"])
    assert node == {key: value for key, value in now.items() if key != "_target_"}


@pytest.mark.parametrize(
    ("data", "overrides"),
    [
        ({}, []),
        ({"cues": "object_only", "size": 3, "seed": 7}, ["data.cues=object_only", "data.size=3", "data.seed=7"]),
        ({"targets": "wrong", "limit": 2, "every": 5}, ["data.targets=wrong", "data.limit=2", "data.every=5"]),
    ],
)
def test_old_nodes_of_scenes_become_those_of_a_context_audit(data: dict[str, Any], overrides: list[str]) -> None:
    now = plain(context_audit(*overrides))
    assert_same_node(OLD_DATA | data, now["data"])
    assert_same_node(OLD_CLASSIFIER | {"cues": data.get("cues", "both")}, now["classifier"])


def test_an_old_classifier_of_scenes_may_be_that_of_other_cues() -> None:
    now = plain(context_audit("classifier.name=context_only"))
    assert_same_node(OLD_CLASSIFIER | {"name": "context_only"}, now["classifier"])
    assert_same_node(OLD_CLASSIFIER | {"name": "context_only", "cues": None}, now["classifier"])


@pytest.mark.parametrize(
    ("data", "overrides"),
    [
        ({}, []),
        ({"classes": "names.txt", "segmentations": "m"}, ["data.classes=names.txt", "data.segmentations=m"]),
        ({"targets": "predicted", "limit": 2, "every": 5}, ["data.targets=predicted", "data.limit=2", "data.every=5"]),
    ],
)
@pytest.mark.parametrize(
    ("classifier", "choices"),
    [
        ({}, []),
        ({"name": "resnet18", "pretrained": False}, ["classifier.name=resnet18", "classifier.pretrained=false"]),
        ({"checkpoint": "w.pth", "head": "sigmoid"}, ["classifier.checkpoint=w.pth", "classifier.head=sigmoid"]),
    ],
)
@pytest.mark.slow
def test_old_nodes_of_photos_become_those_of_a_photo_audit(
    data: dict[str, Any], overrides: list[str], classifier: dict[str, Any], choices: list[str]
) -> None:
    now = plain(photo_audit("data.root=photos", *overrides, *choices))
    assert_same_node(OLD_DATA | {"root": "photos"} | data, now["data"])
    assert_same_node(OLD_CLASSIFIER | {"root": "photos"} | classifier, now["classifier"])


def make_old(run: Path, **nodes: dict[str, Any]) -> None:
    """Rewrites a finished run, and the control of its audit, as version 0.1.0 would have stored their data."""
    for path in (run, run / "audit" / "control"):
        info = read_json(path / "run.json")
        del info["draws"]
        for name, old in nodes.items():
            node = old | {key: value for key, value in info["config"][name].items() if key in old and key != "_target_"}
            info["config"][name] = node
            if name == "classifier":
                info["classifier"] = node
        write_json(path / "run.json", info)


@pytest.mark.slow
def test_an_old_run_of_scenes_is_loaded_and_audited_again(scenes_run: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes_run, tmp_path, dirs_exist_ok=True)
    before = {name: (tmp_path / "audit" / name).read_bytes() for name in ("report.md", "per_image.csv", "groups.csv")}
    make_old(tmp_path, data=OLD_DATA, classifier=OLD_CLASSIFIER)
    assert read_json(tmp_path / "run.json")["config"]["data"] == OLD_DATA | {"limit": 2}
    run = inr_xai.load(tmp_path)
    assert list(run) == ["00000", "00001"]
    assert isinstance(instantiate(run.info["config"]["data"]), ShapesInContext)
    assert instantiate(run.info["classifier"]).count_classes() == 8
    assert main([str(tmp_path), "--control", "2", "--no-figures"]) == 0
    assert {name: (tmp_path / "audit" / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_an_old_run_of_photos_is_loaded_and_audited_where_the_photos_lie_now(photos_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(photos_run, tmp_path / "run"))
    before = {name: (run / "audit" / name).read_bytes() for name in ("report.md", "per_image.csv", "groups.csv")}
    make_old(run, data=OLD_DATA)
    moved = shutil.copytree(photos_run.parent / "photos", tmp_path / "moved")
    loaded = inr_xai.load(run)
    assert list(loaded) == ["0", "1"]
    assert loaded.info["config"]["data"]["_target_"] == "inr_xai.data.ImageFolder"
    assert main([str(run), f"data.root={moved}", "--control", "2", "--no-figures"]) == 0
    assert {name: (run / "audit" / name).read_bytes() for name in before} == before
