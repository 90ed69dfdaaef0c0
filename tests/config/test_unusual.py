"""Unusual configurations: each is refused with one sentence, before any folder is made, or runs to its end."""

from pathlib import Path

import pytest
from omegaconf import DictConfig

from inr_xai.config import check, sentence
from inr_xai.config.parts import SIDES
from inr_xai.errors import UserError
from inr_xai.instantiate import instantiate
from inr_xai.limits import RANGES, require_size
from tests.config.unusual import BASE, REFUSED, RUNS, UNUSUAL
from tests.helpers.program import status
from tests.helpers.runs import configured, configured_fast, explain


def of(outcome: str) -> list[list[str]]:
    """Returns the options of the unusual configurations with this outcome."""
    return [overrides for overrides, expected in UNUSUAL if expected == outcome]


def name_of(overrides: list[str]) -> str:
    """Returns the options as the name of a test."""
    return " ".join(overrides)[:60] or "nothing"


def composed_from(overrides: list[str]) -> DictConfig:
    """Composes a configuration, by the fast way if Hydra itself has nothing to say about these options."""
    if any(option.startswith(("~", "steps=", "allow_targets=")) for option in overrides):
        return configured(*BASE, *overrides)
    return configured_fast(*BASE, *(option.lstrip("+") for option in overrides))


@pytest.mark.parametrize("overrides", of(REFUSED), ids=name_of)
def test_refused_with_one_sentence_that_names_the_option(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whichever layer refuses; the sentence is looked at
        check(composed_from(overrides))
    text = sentence(caught.value)
    assert text is not None, repr(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    keys = [option.lstrip("+~").partition("=")[0] for option in overrides]
    assert any(key.split(".")[0] in text for key in keys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overrides", of(RUNS), ids=name_of)
def test_unusual_but_right(overrides: list[str]) -> None:
    check(composed_from(overrides))


@pytest.mark.slow
@pytest.mark.parametrize("overrides", of(RUNS), ids=name_of)
def test_unusual_but_right_runs(overrides: list[str], tmp_path: Path) -> None:
    plain = [option for option in overrides if not option.startswith(("+", "~"))]
    changed = [option for option in overrides if option not in plain]
    assert explain(tmp_path / "run", *plain, base=[*BASE, *changed]).failures == 0


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("stride=500", "error: stride=500 is larger than the classifier's input of 96 x 96 pixels; give at most "),
        ("out=/dev/null/x", "error: out=/dev/null/x is no place for a folder (Not a directory); give another out=PATH"),
        ("hydra.run.dir=/dev/null/x", "error: hydra.run.dir=/dev/null/x is no place for a folder"),
        ("data.limit=0", "error: data.limit=0 is out of range; it must be a whole number, at least 1"),
        ("score._target_=os.system", "error: score._target_=os.system is code of the package os, which is not run"),
    ],
)
@pytest.mark.slow
def test_the_program_refuses_before_it_makes_a_folder(
    option: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(option) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(message)
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data=image_folder", "data.root=nowhere"], "data.root=nowhere does not exist; give the folder as data.root="),
        (["classifier=timm", "classifier.checkpoint=none.pth"], "classifier.checkpoint='none.pth' is no file; give a "),
    ],
)
@pytest.mark.slow
def test_files_that_are_not_there_are_refused_first(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in ("file", "file/run"):
        with pytest.raises(UserError, match="is no place for a folder"):
            check(configured_fast(*BASE, f"out={tmp_path / out}"))
    check(configured_fast(*BASE, f"out={tmp_path / 'new' / 'run'}"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_each_range_has_an_order_and_whole_ends_or_none() -> None:
    for smallest, largest in RANGES.values():
        assert smallest < largest < float("inf")
        assert type(smallest) is type(largest)


def test_the_sizes_that_are_known_beforehand_are_those_of_the_classifiers() -> None:
    for choice in ("demo", "shapes_in_context"):
        node = configured_fast(f"classifier={choice}").classifier
        assert instantiate(node).preprocessing.size == (SIDES[node._target_],) * 2


def test_an_area_has_a_pixel_and_leaves_one_out() -> None:
    require_size((24, 24), areas=[1 / 576, 575 / 576], stride=24)
    for areas, message in (
        ([1 / 577], "keeps no pixel of the classifier's input of 24 x 24"),
        ([0.99999999999], "every"),
    ):
        with pytest.raises(UserError, match=message):
            require_size((24, 24), areas=areas, stride=1)
    with pytest.raises(UserError, match=r"stride=25 is larger than .* give at most stride=6"):
        require_size((32, 24), areas=[0.1], stride=25)
