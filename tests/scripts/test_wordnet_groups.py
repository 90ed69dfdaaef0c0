"""The groups of ImageNet's classes from WordNet: hypernyms as the file has them, and files that are refused."""

from pathlib import Path

import pytest

import inr_xai
from tests.helpers.scripts import script_module, script_status

DOG = (
    "02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 002 @ 02083346 n 0000 ~ 01322604 n 0000 | a member of "
    "the genus Canis | or so  "
)
CANINE = "02083346 05 n 02 canine 0 canid 0 001 @i 01861778 n 0000 | any of various mammals  "
MAMMAL = "01861778 05 n 01 mammal 0 000 | any warm-blooded vertebrate  "
LICENCE = "  1 This software and database is being provided to you  "


def written(folder: Path, *lines: str) -> Path:
    """Writes a file like WordNet's, and returns its path."""
    file = folder / "data.noun"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_class_belongs_to_the_first_group_above_it(tmp_path: Path) -> None:
    script = script_module("wordnet_groups")
    parents = script.read_hypernyms(written(tmp_path, LICENCE, MAMMAL, CANINE, DOG))
    assert parents == {"n01861778": [], "n02083346": ["n01861778"], "n02084071": ["n02083346"]}
    assert script.group_of("n02084071", parents) == "dogs"
    assert script.group_of("n02083346", parents) == "other mammals"


def test_the_file_to_write_is_that_of_the_audit() -> None:
    file = script_module("wordnet_groups").FILE
    assert file == Path(inr_xai.__file__).parent / "audit" / "wordnet_groups.csv"
    assert file.is_file()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "WordNet's {file} does not exist; "),
        (["no synset"], "{file} cannot be read as WordNet's data.noun ("),
        (["0 1 2 many"], "{file} cannot be read as WordNet's data.noun ("),
        ([LICENCE, MAMMAL], "{file} has no synset n01440764 of ImageNet; "),
    ],
)
def test_files_that_are_not_those_of_wordnet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: list[str] | None,
    message: str,
) -> None:
    file = tmp_path / "data.noun" if lines is None else written(tmp_path, *lines)
    out = tmp_path / "groups.csv"
    assert script_status(monkeypatch, "wordnet_groups", "--noun", file, "--out", out) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message.format(file=file)}")
    assert error.endswith("install WordNet 3.0 (sudo apt install wordnet-base), or give its file: --noun FILE\n")
    assert error.count("\n") == 1
    assert not out.exists()
