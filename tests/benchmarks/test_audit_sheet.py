"""The sheet of an audited run: which images it shows and in which order, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inr_xai.runs.files import format_csv, write_bytes
from tests.helpers.scripts import script_status

COLOURS = {"a": (255, 0, 0), "b/c": (0, 255, 0), "d": (0, 0, 255)}


def audited(run: Path, *, alone_2: tuple[str, ...] = ("0.2", "0.3", "0.9"), figures: bool = True) -> Path:
    """Writes an audited run of three images, of which the last is not admitted."""
    rows = [
        {"sample_id": name, "class": "disc", "p_full": whole, "alone_1": "0.1", "alone_2": value, "admitted": admitted}
        for name, whole, value, admitted in zip(COLOURS, ("0.4", "1", "0.9"), alone_2, "110", strict=True)
    ]
    write_bytes(run / "audit" / "per_image.csv", format_csv(rows).encode())
    for name, colour in COLOURS.items():
        file = run / "audit" / "figures" / f"{name}.png"
        if figures:
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 2), colour).save(file)
    return run


def run_sheet(*arguments: object) -> int:
    """Returns the exit status of the program."""
    with pytest.MonkeyPatch.context() as patch:
        return script_status(patch, "audit_sheet", *map(str, arguments))


def test_the_largest_part_of_the_whole_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_sheet(audited(tmp_path)) == 0
    sheet = tmp_path / "audit" / "sheet.png"
    assert capsys.readouterr().out == f"0.50  a\n0.30  b/c\nthe sheet is {sheet}\n"
    with Image.open(sheet) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2, 8, 3)
    assert (pixels[:, :4] == COLOURS["a"]).all()
    assert (pixels[:, 4:] == COLOURS["b/c"]).all()
    assert run_sheet(tmp_path, "--count", 1, "--columns", 1) == 0
    with Image.open(sheet) as image:
        assert image.size == (4, 2)


def test_an_image_without_a_value_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for missing in ("", "nan"):
        assert run_sheet(audited(tmp_path, alone_2=(missing, "0.3", "0.9"))) == 0
        assert capsys.readouterr().out.startswith("0.30  b/c\nthe sheet is ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--by", "class"],
            "--by names 'class', a column of {file} that holds words; give one of numbers, such as --by",
        ),
        (["--by", "alone_9"], "--by names 'alone_9', which {file} does not have; its columns are sample_id, class, p_"),
        (["--count", 0], "--count 0 makes no sheet; give a whole number from 1"),
        (["--columns", 0], "--columns 0 makes no sheet; give a whole number from 1"),
    ],
)
def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[object], message: str) -> None:
    assert run_sheet(audited(tmp_path), *options) == 2
    assert_refused(capsys, message.format(file=tmp_path / "audit" / "per_image.csv"))
    assert not (tmp_path / "audit" / "sheet.png").exists()


def test_runs_without_values_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "audit" / "per_image.csv"
    assert run_sheet(tmp_path) == 2
    assert_refused(capsys, f"{file} does not exist; audit it first: inr-xai audit RUN")
    audited(tmp_path, alone_2=("", "", "0.9"))
    assert run_sheet(tmp_path) == 2
    assert_refused(
        capsys, f"{file} has no value of alone_2 for any image of which something may be claimed; give another "
    )
    assert run_sheet(tmp_path, "--by", "alone_1") == 0
    capsys.readouterr()
    file.write_text(file.read_text().replace(",1\n", ",0\n"))
    assert run_sheet(tmp_path) == 2
    assert_refused(capsys, f"{file} has no image of which anything may be claimed")


def test_runs_without_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = audited(tmp_path, figures=False) / "audit" / "figures" / "a.png"
    remedy = "draw it: inr-xai audit RUN, without --no-figures"
    assert run_sheet(tmp_path) == 2
    assert_refused(capsys, f"the figure {figure} does not exist; {remedy}")
    audited(tmp_path)
    figure.write_bytes(figure.read_bytes()[:50])
    assert run_sheet(tmp_path) == 2
    assert_refused(capsys, f"the figure {figure} cannot be read; {remedy}")


def assert_refused(capsys: pytest.CaptureFixture[str], message: str) -> None:
    """Asserts that the program wrote nothing but one line that begins with this message."""
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
