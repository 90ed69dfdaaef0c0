"""The notebooks are stored whole and with their outputs, and give the same when they are executed again."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.helpers.scripts import ROOT, script_module

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+\.\d+")
FARTHEST = 0.25
"""How far a number may be from the stored one: fits amplify the rounding of another processor or another PyTorch."""
Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    """Returns the content of a notebook."""
    content: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return content


def printed(notebook: Notebook, starts: str) -> list[str]:
    """Returns the lines that the code cells print, of those that start with some words."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    lines = [line for output in outputs if "text" in output for line in "".join(output["text"]).splitlines()]
    return [line for line in lines if line.startswith(starts)]


def numbers(line: str) -> list[float]:
    """Returns the numbers with a decimal point in a line."""
    return [float(found) for found in NUMBER.findall(line)]


def shown(notebook: Notebook) -> list[tuple[str, list[str]]]:
    """Returns kind and texts (without the pictures, in lines) of each output of the code cells."""
    texts = script_module("run_notebooks").texts
    found = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            kinds = " ".join([output["output_type"], *sorted(output.get("data", {}))])
            found.append((kinds, [line for text in texts(output).values() for line in text.splitlines()]))
    return found


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["audit_a_classifier", "compare_methods", "one_photo"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_whole(path: Path) -> None:
    notebook = read(path)
    assert list(script_module("run_notebooks").faults(notebook)) == []
    kinds = {kind for kinds, _ in shown(notebook) for kind in kinds.split()}
    assert "stream" in kinds
    assert kinds & {"image/png", "image/jpeg"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":  # it is also what a reader copies
            compile("".join(cell["source"]), path.name, "exec")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"output_type": "stream", "name": "stderr", "text": ["  0%|   | 0/6"]}, "writes to standard error"),
        ({"output_type": "stream", "name": "stdout", "text": "in /home/someone/a.png"}, "shows a path"),
        ({"output_type": "error", "ename": "UserError", "evalue": "no", "traceback": []}, "failed: UserError: no"),
        (
            {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "<Figure size 1x1 with 0 Axes>"}},
            "in place of a picture",
        ),
        (
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * 400_000, "text/plain": "a"}},
            "bytes, and must have 400000 at most",
        ),
    ],
)
def test_what_must_not_be_stored_is_seen(output: dict[str, Any], words: str) -> None:
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {
                "id": "a",
                "cell_type": "code",
                "metadata": {},
                "source": "1",
                "execution_count": 1,
                "outputs": [{"output_type": "stream", "name": "stdout", "text": "see https://a.org/home/x, 1/2"}],
            }
        ],
    }
    faults = script_module("run_notebooks").faults
    assert list(faults(notebook)) == []
    wrong = copy.deepcopy(notebook)
    wrong["cells"][0]["outputs"].append(output)  # type: ignore[index]
    assert [words in fault for fault in faults(wrong)] == [True]
    wrong["cells"][0]["execution_count"] = 7  # type: ignore[index]
    assert any("executed as [7]" in fault for fault in faults(wrong))


def execute(notebook: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Executes a notebook as the script for that does."""
    command = [sys.executable, str(ROOT / "scripts" / "run_notebooks.py"), str(notebook), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=out)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_gives_again_what_is_stored_and_what_its_text_says(path: Path, tmp_path: Path) -> None:
    done = execute(path, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    notebook = read(tmp_path / path.name)
    stored, made = shown(read(path)), shown(notebook)
    assert [kinds for kinds, _ in made] == [kinds for kinds, _ in stored]
    for (_, lines), (_, other) in zip(made, stored, strict=True):
        assert len(lines) == len(other)
        for line, before in zip(lines, other, strict=True):
            assert len(numbers(line)) == len(numbers(before)), (line, before)
            assert numbers(line) == pytest.approx(numbers(before), abs=FARTHEST), (line, before)
    SAYS[path.stem](notebook)


@pytest.mark.slow
def test_a_new_notebook_shows_the_bar_as_text_and_a_figure_as_a_picture(tmp_path: Path) -> None:
    """Without a word of pyplot, without widgets, and without a warning."""
    cells = ["import inr_xai", "from inr_xai.classifier import demo", "from torch import full"]
    cells += ["one = inr_xai.explain(demo(), full((3, 96, 96), 0.5), areas=(0.1,), explanations=1, steps=2)"]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in ("\n".join(cells), "one.plot()", "one")]
    )
    nbformat.write(notebook, tmp_path / "new.ipynb")
    done = execute(tmp_path / "new.ipynb", tmp_path)
    bar, figure, page = shown(read(tmp_path / "new.ipynb"))
    assert done.returncode == 1  # of the bar, which is no part of a stored notebook
    assert done.stderr.count("writes to standard error") == 1
    assert "100%" in bar[1][-1]
    assert not [line for line in bar[1] if "arning" in line]
    assert figure[0] == "execute_result image/png text/plain"
    assert page[0] == "execute_result text/html text/plain"
    assert page[1][0].startswith("<div")


def one_photo_shows_what_its_text_says(notebook: Notebook) -> None:
    kept, chance, removed = (
        numbers(printed(notebook, name)[0])[:3] for name in ("kept alone", "chance      ", "taken out")
    )
    assert all(one > other + 0.2 for one, other in zip(kept, chance, strict=True))
    assert removed[0] > 0.9  # no explanation of a small area is needed
    assert printed(notebook, "the same mask") == ["the same mask: True"]
    assert int(printed(notebook, "5 explanations")[0][0]) == 5
    assert "explanation 2 carries no more than chance" in printed(notebook, "Explanation('disc'")[0]
    assert printed(notebook, "1 explanation;")
    whole, kept_alone = numbers(printed(notebook, "whole photo")[0])
    assert whole < 0.01 < 0.3 < kept_alone


def compare_methods_shows_what_its_text_says(notebook: Notebook) -> None:
    names = ("ours", "Grad-CAM", "occlusion", "integrated gradients", "random")
    games, places = ({name: numbers(printed(notebook, name)[table]) for name in names} for table in (0, 1))
    for filling in (0, 1):
        assert max(names, key=lambda name: games[name][filling]) == "ours"  # preservation
        assert games["ours"][2 + filling] > games["integrated gradients"][2 + filling]  # deletion
        assert games["ours"][2 + filling] < games["random"][2 + filling]
    for place in (0, 2):
        assert max(names, key=lambda name: places[name][place]) == "occlusion"
        assert min(names, key=lambda name: places[name][place]) == "random"


def audit_shows_what_its_text_says(notebook: Notebook) -> None:
    evidence = {}
    for name, truth in (("object_only", (1, 0)), ("context_only", (0, 1)), ("both", (0.55, 0.55))):
        swapped, *verdicts = printed(notebook, name)
        assert numbers(swapped) == pytest.approx(truth, abs=0.1)
        assert len(verdicts) == 3
        evidence[name] = sum(numbers(line)[2] for line in verdicts) / 3
    assert evidence["object_only"] > evidence["both"] > evidence["context_only"]
    assert evidence["object_only"] > 0.5
    assert abs(evidence["context_only"]) < 0.15


SAYS = {
    "audit_a_classifier": audit_shows_what_its_text_says,
    "compare_methods": compare_methods_shows_what_its_text_says,
    "one_photo": one_photo_shows_what_its_text_says,
}
