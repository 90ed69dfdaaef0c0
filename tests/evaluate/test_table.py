"""The command that makes one table of several results: names of methods, the files it writes, and refusals."""

from pathlib import Path

import pytest

from inr_xai.evaluate.results import Results
from inr_xai.evaluate.table import main


def results(folder: Path, name: str, value: float) -> Results:
    """Results of two images with the same value."""
    method = Results(folder / f"{name}.csv")
    for sample_id in ("a", "b"):
        method.add(sample_id, {"target": 1, "difficult": 0, "road": value, "failed": ""})
    return method


def print_table(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def test_runs_are_called_by_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder may have = in its name, and a name may be given before the folder."""
    for name, value in {"steps=50": 0.2, "steps=100": 0.4}.items():
        (tmp_path / name / "evaluation").mkdir(parents=True)
        results(tmp_path / name / "evaluation", "masks", value)
    monkeypatch.chdir(tmp_path)
    assert print_table("steps=50/evaluation/masks.csv", "steps=100", "ours=steps=50") == 0
    printed = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ")] == [
        "method",
        "---",
        "steps=50",
        "steps=100",
        "ours",
    ]
    assert print_table("steps=50", "steps=50/evaluation/masks.csv") == 2
    assert "would both be called 'steps=50'; give NAME=PATH" in capsys.readouterr().err


def test_suffixes_are_put_behind_the_whole_name(tmp_path: Path) -> None:
    method = results(tmp_path, "method", 0.5)
    assert print_table(method.file, "--out", tmp_path / "paper.v2") == 0
    assert print_table(method.file, "--out", tmp_path / "other.tex") == 0
    assert {file.name for file in tmp_path.glob("*.[mt]*")} == {"paper.v2.md", "paper.v2.tex", "other.md", "other.tex"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("image_id,explanation,area\na,1,0.1\n", "has no column sample_id"),
        ("sample_id,road,failed\na,high,\n", "has 'high' as road of 'a', which is no number"),
        ("sample_id,target,difficult,failed\na,,,cannot be read\n", "holds no values"),
    ],
)
def test_a_csv_of_something_else_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    (tmp_path / "x.csv").write_text(content)
    assert print_table(tmp_path / "x.csv") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert words in printed.err


def test_values_that_are_not_finite_leave_their_images_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("sample_id,target,difficult,mprt,failed\na,1,0,nan,\nb,1,0,0.5,\n")
    assert print_table(tmp_path / "x.csv") == 0
    assert "| x | 0.500 |\n" in capsys.readouterr().out
