"""Groups of classes: those of ImageNet, a user's own from a file, and each class by itself."""

from collections import Counter
from pathlib import Path

import pytest

from inr_xai.audit.groups import class_groups
from inr_xai.data.labels import imagenet_index, imagenet_names
from inr_xai.errors import UserError

NAMES = ["disc", "square", "cross"]


def refusal(file: Path, names: list[str] | None = NAMES, classes: int = 3) -> str:
    """Returns the one line that refuses a file."""
    with pytest.raises(UserError) as caught:
        class_groups(names, classes, file)
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    return message


def written(folder: Path, text: str) -> Path:
    file = folder / "groups.csv"
    file.write_text(text)
    return file


def test_every_class_of_imagenet_has_a_group() -> None:
    groups = class_groups(None, 1000)
    assert sorted(groups) == list(range(1000))
    counts = Counter(groups.values())
    assert len(counts) == 17
    assert min(counts.values()) >= 10
    # Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015: 118 breeds of dogs.
    assert counts["dogs"] == 118


def test_known_classes_of_imagenet() -> None:
    index, names = imagenet_index(), imagenet_names()
    groups = class_groups(names, 1000)
    known = {
        "n01440764": ("tench", "fish"),
        "n02099601": ("golden retriever", "dogs"),
        "n02123045": ("tabby", "other mammals"),
        "n02690373": ("airliner", "vehicles"),
        "n01530575": ("brambling", "birds"),
        "n01644373": ("tree frog", "reptiles and amphibians"),
        "n02165456": ("ladybug", "insects and other invertebrates"),
        "n07753592": ("banana", "food, plants and fungi"),
        "n02676566": ("acoustic guitar", "musical instruments"),
    }
    for wnid, (name, group) in known.items():
        assert names[index[wnid]].startswith(name)
        assert groups[index[wnid]] == group


def test_without_a_file_each_class_is_its_own_group() -> None:
    assert class_groups(NAMES, 3) == {0: "disc", 1: "square", 2: "cross"}
    assert class_groups(None, 8) == {number: f"class {number}" for number in range(8)}


def test_classes_may_be_more_than_names() -> None:
    """A folder of photos names the classes of its folders, the classifier may know others."""
    assert class_groups(NAMES, 5) == {0: "disc", 1: "square", 2: "cross", 3: "class 3", 4: "class 4"}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_groups_of_a_file_by_number_and_name(tmp_path: Path, mark: str) -> None:
    """A spreadsheet may write a byte order mark before the first column; other columns are ignored."""
    file = written(tmp_path, f"{mark}class,group,note\n0,round,first\ncross,pointed,\n")
    assert class_groups(NAMES, 4, file) == {0: "round", 1: "other", 2: "pointed", 3: "other"}


def test_a_file_replaces_the_groups_of_imagenet(tmp_path: Path) -> None:
    groups = class_groups(
        imagenet_names(), 1000, written(tmp_path, 'class,group\n404,mine\n"tench, Tinca tinca",mine\n')
    )
    assert {number for number, group in groups.items() if group == "mine"} == {0, 404}
    assert len(groups) == 1000


@pytest.mark.parametrize("name", ["ring", "3", "-1", "Disc"])
def test_a_class_that_does_not_exist(tmp_path: Path, name: str) -> None:
    assert f"'{name}'" in refusal(written(tmp_path, f"class,group\ndisc,round\n{name},round\n"))


def test_a_name_of_several_classes(tmp_path: Path) -> None:
    """ImageNet's crane is a bird and a machine; their numbers tell them apart."""
    message = refusal(written(tmp_path, "class,group\ncrane,mine\n"), imagenet_names(), 1000)
    assert "numbers" in message
    assert "the classes 134 and 517" in message
    assert class_groups(imagenet_names(), 1000, written(tmp_path, "class,group\n134,mine\n"))[134] == "mine"


def test_a_name_that_is_another_class_s_number(tmp_path: Path) -> None:
    names = ["1", "disc"]
    file = written(tmp_path, "class,group\n1,round\n")
    assert "'1', which may mean the classes 0 and 1" in refusal(file, names, 2)
    assert class_groups(names, 2, written(tmp_path, "class,group\ndisc,round\n")) == {0: "other", 1: "round"}


def test_a_class_in_two_groups(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "class,group\n0,round\ndisc,pointed\n"))
    assert "'disc' into the groups 'round' and 'pointed'" in message
    assert class_groups(NAMES, 3, written(tmp_path, "class,group\n0,round\ndisc,round\n"))[0] == "round"


def test_another_thousand_classes_are_not_those_of_imagenet() -> None:
    names = [f"own {number}" for number in range(1000)]
    assert class_groups(names, 1000) == dict(enumerate(names))
    wnids = sorted(imagenet_index())
    with_gaps = [wnid if number % 2 else str(number) for number, wnid in enumerate(wnids[:500])]
    assert class_groups(with_gaps, 1000) == class_groups(wnids, 1000) == class_groups(None, 1000)


def test_a_name_beyond_the_classes(tmp_path: Path) -> None:
    assert "'cross'" in refusal(written(tmp_path, "class,group\ncross,pointed\n"), NAMES, 2)


@pytest.mark.parametrize(
    "text", ["", "class,group\n", "name,group\ndisc,round\n", "class\n0\n", "class,group\n0\n", "class,group\n0,\n"]
)
def test_a_file_without_the_columns(tmp_path: Path, text: str) -> None:
    assert "class, group" in refusal(written(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "none.csv")
    assert "cannot be read" in refusal(tmp_path)
    binary = tmp_path / "groups.xlsx"
    binary.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    assert "cannot be read" in refusal(binary)
