"""The names of a classifier's classes: from files, from the libraries, and the index of a name."""

import json
from pathlib import Path

import pytest
import timm
from torch import nn
from torchvision import models

from inr_xai.classifier import custom
from inr_xai.classifier.class_names import (
    class_index,
    names_of_timm,
    names_of_torchvision,
    read_class_names,
)
from inr_xai.data.labels import imagenet_names
from inr_xai.errors import UserError


def test_names_are_read_from_lines_and_from_both_forms_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("cat\n dog \ncat\n\n")
    assert read_class_names(tmp_path / "a.txt") == ["cat", "dog", "cat"]
    (tmp_path / "a.json").write_text(json.dumps(["cat", "dog"]))
    (tmp_path / "b.json").write_text(json.dumps({"1": "dog", "0": "cat"}))
    assert read_class_names(tmp_path / "a.json") == read_class_names(tmp_path / "b.json") == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.txt", None, "cannot be read"),
        ("a.txt", "\n", "holds no name"),
        ("a.txt", "cat\n\ndog\n", "has no name for class 1"),
        ("a.json", '{"0": "cat", "2": "dog"}', "its keys are not 0 to 1"),
        ("a.json", "[1, 2]", "holds no list of names"),
        ("a.json", "[", "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"classifier.classes=.*{words}.*; write one name a line"):
        read_class_names(tmp_path / name)


def test_libraries_models_of_imagenet_have_its_names() -> None:
    assert names_of_timm(timm.create_model("test_vit")) == imagenet_names()
    assert names_of_timm(timm.create_model("test_vit", num_classes=7)) is None
    assert names_of_torchvision("squeezenet1_1", models.squeezenet1_1(weights=None)) == imagenet_names()
    assert names_of_torchvision("squeezenet1_1", models.squeezenet1_1(weights=None, num_classes=7)) is None
    assert names_of_torchvision("shufflenet_v2_x0_5", models.shufflenet_v2_x0_5(weights=None)) == imagenet_names()


def test_as_many_names_as_classes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join("abcdefg"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 7))
    assert custom(model, input_size=8, resize=8, classes=tmp_path / "a.txt").class_names == list("abcdefg")
    (tmp_path / "a.txt").write_text("cat\ndog")
    with pytest.raises(UserError, match="holds 2 names and the classifier has 7 classes"):
        custom(model, input_size=8, resize=8, classes=tmp_path / "a.txt")


def test_the_index_of_a_name() -> None:
    names = imagenet_names()
    assert class_index("Tench", names) == class_index("tench, Tinca tinca", names) == 0
    assert class_index("otter", names) == 360
    with pytest.raises(UserError, match=r"target='crane' names several classes \(134, 517\)"):
        class_index("crane", names)
    with pytest.raises(UserError, match=r"'ottr' is the name of no class; did you mean otter"):
        class_index("ottr", names)
    with pytest.raises(UserError, match="names of the classes are unknown"):
        class_index("otter", None)
