"""Groups of ImageNet's classes, of a user's own, and each class alone."""

from collections import Counter
from pathlib import Path

import pytest

from inr_xai.audit.groups import groups_of
from inr_xai.data.labels import imagenet_index, imagenet_names
from inr_xai.errors import UserError

NAMES = ["disc", "square", "cross"]


def refusal(file: Path, names: list[str] | None = NAMES, classes: int = 3) -> str:
    with pytest.raises(UserError) as caught:
        groups_of(names, classes, file)
    said = str(caught.value)
    assert str(file) in said
    assert "\n" not in said
    return said


def written(folder: Path, text: str) -> Path:
    file = folder / "groups.csv"
    file.write_text(text)
    return file


def test_every_class_of_imagenet_has_a_group() -> None:
    groups = groups_of(None, 1000)
    assert sorted(groups) == list(range(1000))
    counts = Counter(groups.values())
    assert len(counts) == 17
    assert min(counts.values()) >= 10
    # Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015: 118 breeds of dogs.
    assert counts["dogs"] == 118


def test_known_classes_of_imagenet() -> None:
    index, names = imagenet_index(), imagenet_names()
    groups = groups_of(names, 1000)
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


def test_without_a_file_each_class_is_alone() -> None:
    assert groups_of(NAMES, 3) == {0: "disc", 1: "square", 2: "cross"}
    assert groups_of(None, 8) == {number: f"class {number}" for number in range(8)}


def test_classes_may_be_more_than_names() -> None:
    """A folder of photos names the classes of its folders, the classifier may know others."""
    assert groups_of(NAMES, 5) == {0: "disc", 1: "square", 2: "cross", 3: "class 3", 4: "class 4"}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_groups_of_a_file_by_number_and_name(tmp_path: Path, mark: str) -> None:
    """Spreadsheets put a mark before the first column; further columns are passed over."""
    file = written(tmp_path, f"{mark}class,group,note\n0,round,first\ncross,pointed,\n")
    assert groups_of(NAMES, 4, file) == {0: "round", 1: "other", 2: "pointed", 3: "other"}


def test_a_file_goes_before_imagenet(tmp_path: Path) -> None:
    groups = groups_of(imagenet_names(), 1000, written(tmp_path, 'class,group\n404,mine\n"tench, Tinca tinca",mine\n'))
    assert {number for number, group in groups.items() if group == "mine"} == {0, 404}
    assert len(groups) == 1000


@pytest.mark.parametrize("name", ["ring", "3", "-1", "Disc"])
def test_a_class_that_does_not_exist(tmp_path: Path, name: str) -> None:
    assert f"'{name}'" in refusal(written(tmp_path, f"class,group\ndisc,round\n{name},round\n"))


def test_a_name_of_several_classes(tmp_path: Path) -> None:
    """ImageNet's crane is a bird, and a machine; their numbers say which."""
    said = refusal(written(tmp_path, "class,group\ncrane,mine\n"), imagenet_names(), 1000)
    assert "numbers" in said
    assert "the classes 134 and 517" in said
    assert groups_of(imagenet_names(), 1000, written(tmp_path, "class,group\n134,mine\n"))[134] == "mine"


def test_a_name_that_is_another_class_s_number(tmp_path: Path) -> None:
    names = ["1", "disc"]
    file = written(tmp_path, "class,group\n1,round\n")
    assert "'1', which may mean the classes 0 and 1" in refusal(file, names, 2)
    assert groups_of(names, 2, written(tmp_path, "class,group\ndisc,round\n")) == {0: "other", 1: "round"}


def test_a_class_of_two_groups(tmp_path: Path) -> None:
    said = refusal(written(tmp_path, "class,group\n0,round\ndisc,pointed\n"))
    assert "'disc' into the groups 'round' and 'pointed'" in said
    assert groups_of(NAMES, 3, written(tmp_path, "class,group\n0,round\ndisc,round\n"))[0] == "round"


def test_a_thousand_classes_of_one_s_own_are_not_imagenet_s() -> None:
    names = [f"own {number}" for number in range(1000)]
    assert groups_of(names, 1000) == dict(enumerate(names))
    wnids = sorted(imagenet_index())
    some = [wnid if number % 2 else str(number) for number, wnid in enumerate(wnids[:500])]  # an index with gaps
    assert groups_of(some, 1000) == groups_of(wnids, 1000) == groups_of(None, 1000)


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
