"""Names of files from ids: the id itself wherever that works, never outside the folder, and never one name for two."""

import itertools
from pathlib import Path

import pytest

from inr_xai.data.names import files_below, flat_id_file, id_file, id_of_name
from inr_xai.runs.files import write_bytes
from inr_xai.runs.folder import RunFolder

PLAIN = ["a", "00000-disc", "dogs/a.b", "é/日本 @x,1", "n~abc", ".hidden/x", "x" * 243, "..a", "b.safetensors"]
ODD = [
    "",
    "/etc/passwd",
    "../../a",
    "a/../b",
    "./a",
    "a//b",
    "a/",
    "nul\0",
    "bytes\udcff",
    "lone\ud800",
    "x" * 244,
    "x" * 5000,
    "é" * 122,
    "y" * 300 + "/a",
    ".writing-a",
    ".writing-b/a",
    "a.safetensors/b",
    "a.png/b",
    "a.npy/b",
    "a.json/b",
    "a.evolution.k10.png/b",
    "a~" + "0" * 32,
]


def test_an_id_that_can_be_a_name_is_one(tmp_path: Path) -> None:
    for name in PLAIN:
        assert id_file(tmp_path, name, ".safetensors") == tmp_path / f"{name}.safetensors"
        assert id_of_name(name) == name


@pytest.mark.parametrize("suffix", [".safetensors", ".png", ".evolution.k10.png", ".npy", ".json"])
def test_every_other_id_gets_a_name_of_its_own_within_the_folder(tmp_path: Path, suffix: str) -> None:
    root, ids = tmp_path / "in", [*PLAIN, *ODD]
    files = [id_file(root, name, suffix) for name in ids]
    for file in files:
        write_bytes(file, b"")  # every one can be written beside all others
    assert len({file.resolve() for file in files}) == len(files)
    assert all(file.resolve().is_relative_to(root) for file in files)
    assert all(len(file.name.encode()) <= 255 for file in files)
    names = [name.removesuffix(suffix) for name, _ in files_below(root, suffix)]
    assert sorted(names) == sorted(file.relative_to(root).as_posix().removesuffix(suffix) for file in files)
    assert {id_of_name(name) for name in names} - {None} <= set(ids)
    assert [id_file(root, name, suffix) for name in ids] == files


def test_figures_and_evolutions_never_meet(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    ids = ["a", "a.evolution.k1", "a.png/b", "a.evolution.k1.png/b", "a/b"]
    files = [folder.figure_file(name, suffix) for name in ids for suffix in (".png", ".evolution.k1.png")]
    for file in files:
        write_bytes(file, b"")
    assert len(set(files)) == len(files)
    assert files[0] == tmp_path / "figures" / "a.png"
    assert files[1] == tmp_path / "figures" / "a.evolution.k1.png"


def test_a_file_that_an_earlier_version_wrote_keeps_its_name(tmp_path: Path) -> None:
    old = tmp_path / "a.safetensors" / "b.safetensors"
    write_bytes(old, b"")
    assert id_file(tmp_path, "a.safetensors/b", ".safetensors") == old


def test_names_without_folders_are_different_too(tmp_path: Path) -> None:
    ids = ["a/b", "a__b", "a_/b", "a/_b", "a___b", "a", "a_b", "../a", "x" * 300]
    files = [flat_id_file(tmp_path, name, ".safetensors") for name in ids]
    assert files[0] == tmp_path / "a__b.safetensors"
    assert all(first != second for first, second in itertools.combinations(files, 2))
    assert {file.parent for file in files} == {tmp_path}
    assert max(len(file.name) for file in files) <= 255


@pytest.mark.parametrize("name", ["loop", "gone"])
def test_links_are_not_followed_in_a_circle(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / "x.png", b"")
    (tmp_path / name).symlink_to(tmp_path if name == "loop" else tmp_path / "nowhere")
    assert [name for name, _ in files_below(tmp_path, ".png")] == ["x.png"]
