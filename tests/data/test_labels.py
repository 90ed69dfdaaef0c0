"""Labels of photos: ImageNet's index, index files of folders, and checks of the options of data."""

from pathlib import Path

import pytest

from inr_xai.data.labels import (
    check_selection,
    imagenet_index,
    imagenet_names,
    names_by_index,
    parse_targets,
    read_classes,
)
from inr_xai.errors import UserError


def test_an_index_is_the_rank_among_all_wnids() -> None:
    index = imagenet_index()
    assert [index[wnid] for wnid in sorted(index)] == list(range(1000))
    assert imagenet_names()[index["n02123045"]].startswith("tabby")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", "", "names no folder; write one folder name a line"),
        ("c.txt", "a\n\nb\n", "line 2 of .* is empty"),
        ("c.txt", "a\nb\na\n", "line 3 of .* repeats 'a' of line 1"),
        ("c.json", "{", "is not JSON"),
        ("c.json", '["a"]', r'holds a list; write \{"folder": index'),
        ("c.json", '{"0": ["n01440764", "tench"]}', "gives folder '0' the index"),
        ("c.json", '{"a": -1}', "gives folder 'a' the index -1"),
        ("c.json", '{"a": true}', "gives folder 'a' the index True"),
    ],
)
def test_bad_index_files_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_classes(tmp_path / name)


def test_missing_index_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.classes='/no/such' cannot be read"):
        read_classes("/no/such")


def test_names_of_folders_that_share_an_index_are_the_first() -> None:
    assert names_by_index({"a": 1, "b": 1}) == ["0", "a"]


def test_targets_are_a_policy_or_a_class_index() -> None:
    assert [parse_targets(value) for value in ("label", "predicted", 0, "12")] == ["label", "predicted", 0, 12]
    for value in ("labels", -1, "-1", 1.5, True, None, ""):
        with pytest.raises(UserError, match=r"choose label, predicted, wrong or a class index"):
            parse_targets(value)


def test_limit_and_every_are_whole_numbers_from_1() -> None:
    for limit, every, name in [(0, 1, "limit"), (-1, 1, "limit"), (True, 1, "limit"), ("3", 1, "limit")] + [
        (None, every, "every") for every in (0, None, 1.5)
    ]:
        with pytest.raises(UserError, match=rf"data.{name}=.* is not allowed; give a whole number from 1"):
            check_selection(limit=limit, every=every)
