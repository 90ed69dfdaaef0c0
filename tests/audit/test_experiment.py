"""`+experiment=context_audit` on drawn scenes and on photos: its parts, what they refuse, and whole small runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from inr_xai.classifier.scenes_or_timm import TIMM, scenes_or_timm
from inr_xai.data.scenes_or_photos import scenes_or_photos
from PIL import Image
from torch import nn

from inr_xai.classifier import shapes_in_context
from inr_xai.data import ImageFolder, ShapesInContext
from inr_xai.errors import UserError
from tests.helpers.runs import ROOT, configured, explain, network, photos, table

SMALL = [
    "+experiment=context_audit",
    "steps=2",
    "explanations=2",
    "audit.control=2",
    "data.limit=2",
    "logger=none",
    "callbacks.figures=null",
    "trainer.accelerator=cpu",
]
OWN = [
    "classifier=custom",
    f"classifier.model._target_={__name__}.sure",
    "classifier.input_size=24",
    "classifier.resize=24",
]


class Sharp(nn.Module):
    """The small random classifier, surer of itself: some classes of every image have p < 0.001."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 10 * self.network(images)


def sure() -> nn.Module:
    return Sharp()


def folder(root: Path) -> Path:
    """Photos without labels, of which the first has a mask."""
    photos(root / "photos", *(f"{number}.png" for number in range(6)), side=24)
    (root / "masks").mkdir()
    mask = np.zeros((24, 24), dtype=np.uint8)
    mask[4:14, 6:16] = 255
    Image.fromarray(mask).save(root / "masks" / "0.png")
    return root


def words_of_the_tables(report: Path) -> str:
    return "\n".join(line for line in report.read_text().splitlines() if line.startswith("|"))


def test_without_a_folder_the_data_are_scenes_and_the_classifier_is_theirs() -> None:
    data = scenes_or_photos(limit=3, every=2, seed=5, targets="predicted")
    assert isinstance(data, ShapesInContext)
    assert (len(data.ids), data.limit, data.every, data.targets) == (24, 3, 2, "predicted")
    same = ShapesInContext("both", size=24, seed=5)
    classifier = scenes_or_timm(cues="both")
    sample = data.load("00003", classifier.preprocessing)
    assert torch.equal(sample.image, same.load("00003", classifier.preprocessing).image)
    images = sample.image[None]
    for made, name in [(classifier, "both"), (scenes_or_timm(cues="both", name="object_only"), "object_only")]:
        with torch.no_grad():
            assert torch.equal(made(images), shapes_in_context(name)(images))


def test_with_a_folder_the_data_are_photos_and_the_classifier_is_of_timm(tmp_path: Path) -> None:
    root = folder(tmp_path)
    data = scenes_or_photos(
        root / "photos", targets="predicted", segmentations=root / "masks", limit=4, every=3, classes=None
    )
    assert isinstance(data, ImageFolder)
    assert (data.ids, data.limit, data.every, data.targets) == ([*"012345"], 4, 3, "predicted")
    classifier = scenes_or_timm(root, cues="both", name="test_resnet.r160_in1k", pretrained=False)
    assert classifier.preprocessing.size == (160, 160)
    assert data.load("0", classifier.preprocessing).segmentation is not None
    assert yaml.safe_load((ROOT / "conf" / "classifier" / "timm.yaml").read_text())["name"] == TIMM


@pytest.mark.parametrize(
    ("make", "options", "key"),
    [
        (scenes_or_photos, {"segmentations": "masks"}, "data.segmentations"),
        (scenes_or_photos, {"classes": "names.txt"}, "data.classes"),
        (scenes_or_photos, {"root": ".", "cues": "object_only"}, "data.cues"),
        (scenes_or_photos, {"root": ".", "size": 25}, "data.size"),
        (scenes_or_photos, {"root": ".", "seed": 1}, "data.seed"),
        (scenes_or_timm, {"cues": "both", "pretrained": False}, "classifier.pretrained"),
        (scenes_or_timm, {"cues": "both", "checkpoint": "weights.pth"}, "classifier.checkpoint"),
        (scenes_or_timm, {"cues": "both", "head": "sigmoid"}, "classifier.head"),
        (scenes_or_timm, {"cues": {"object_shape": 1.0}}, "classifier.name"),
        (scenes_or_timm, {"cues": "both", "name": "resnet50"}, "classifier.name"),
    ],
)
def test_what_belongs_to_the_other_kind_is_refused(make: Callable[..., Any], options: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=re.escape(key)) as refused:
        make(**options)
    assert "\n" not in str(refused.value)


def test_the_classifier_follows_the_data() -> None:
    assert configured("+experiment=context_audit").classifier.root is None
    assert configured("+experiment=context_audit", "data.root=/photos").classifier.root == "/photos"
    mixed = configured("classifier=scenes_or_timm", "data=shapes_in_context").classifier
    assert (mixed.root, mixed.cues) == (None, "object_only")
    other = configured("+experiment=context_audit", "classifier=torchvision", "classifier.name=resnet18")
    assert other.classifier._target_ == "inr_xai.classifier.from_torchvision"


def test_an_audit_of_scenes(tmp_path: Path) -> None:
    assert explain(tmp_path, base=SMALL).failures == 0
    rows = table(tmp_path / "audit", "per_image.csv")
    assert [row["sample_id"] for row in rows] == ["00000", "00001"]
    assert [row["class"] for row in rows] == ["disc, checks", "square, dots"]
    assert all(row["where"] and row["object_evidence"] for row in rows)
    assert all(float(row["p_full"]) > 0.9 for row in rows)
    assert {row["explanation"] for row in table(tmp_path)} == {"1", "2"}
    assert "where" in words_of_the_tables(tmp_path / "audit" / "report.md")
    control = table(tmp_path / "audit" / "control")
    assert {row["sample_id"] for row in control} == {"00000", "00001"}
    assert all(float(row["p_full"]) < 1e-3 for row in control)


def test_an_audit_of_photos_tells_the_place_only_where_the_object_is_known(tmp_path: Path) -> None:
    options = [*SMALL, *OWN, f"data.root={folder(tmp_path) / 'photos'}", "data.targets=predicted"]
    run = tmp_path / "without"
    assert explain(run, base=options).failures == 0
    rows = table(run / "audit", "per_image.csv")
    assert [row["sample_id"] for row in rows] == ["0", "1"]
    assert not [column for column in rows[0] if "where" in column or "object" in column]
    told = words_of_the_tables(run / "audit" / "report.md")
    assert "| 0 |" in told
    assert not re.search("object|context|where", told)
    run = tmp_path / "with"
    assert explain(run, f"data.segmentations={tmp_path / 'masks'}", base=options).failures == 0
    first, second = table(run / "audit", "per_image.csv")
    assert first["where"]
    assert not second["where"]
    assert 0 < float(first["on_object_1"]) < 1
    assert "where" in words_of_the_tables(run / "audit" / "report.md")
