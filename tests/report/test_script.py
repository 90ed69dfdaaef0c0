"""The page's script passes a linter, and puts names into the page as text alone."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import inr_xai.report

SCRIPT = Path(inr_xai.report.__file__).parent / "web" / "page.js"
RULES = {
    "env": {"browser": True, "es2022": True},
    "categories": {"correctness": "error", "suspicious": "error"},
    "rules": {
        "eqeqeq": "error",
        "no-undef": "error",
        "no-unused-vars": "error",
        "no-var": "error",
        "prefer-const": "error",
        "no-eval": "error",
        "unicorn/consistent-function-scoping": "off",  # small functions stand where they are used
        "unicorn/no-array-sort": "off",  # only new arrays are sorted
    },
}


def oxlint() -> str | None:
    """Returns the path of the linter, which its wheel puts beside Python."""
    return shutil.which("oxlint", path=str(Path(sys.executable).parent)) or shutil.which("oxlint")


@pytest.mark.skipif(oxlint() is None, reason="oxlint, the linter of the script, is not installed (pip install oxlint)")
def test_the_linter_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    for text, status in ((SCRIPT.read_text(), 0), (SCRIPT.read_text() + "\nvar x = undefinedName == 1;\n", 1)):
        (tmp_path / "page.js").write_text(text)
        command = [str(oxlint()), "-c", str(tmp_path / "rules.json"), str(tmp_path / "page.js")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout


def test_the_script_writes_no_markup_and_asks_for_nothing() -> None:
    text = SCRIPT.read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|fetch\(|XMLHttp|import\("
    assert re.findall(forbidden, text) == []
    assert max(map(len, text.splitlines())) <= 140
