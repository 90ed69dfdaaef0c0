"""The structure of the package: imports go one way and in no circle, Hydra and W&B keep to their places, few rooms."""

import ast
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from torch import nn

import inr_xai
from inr_xai.columns import METRICS
from inr_xai.seeding import generator

PACKAGE = Path(inr_xai.__file__).parent

# From the bottom up. A folder counts as one module; modules of one level do not import one another.
LEVELS = [
    {"types", "errors", "moved", "columns", "seeding"},
    {"limits", "digests", "blur", "masks", "draws"},
    {"config", "data", "perturbation", "inr", "area", "objective"},
    {"classifier"},
    {"method"},
    {"scoring", "metrics", "figures"},
    {"fitting"},
    {"runs"},
    {"attribution", "loggers"},
    {"callbacks", "explanation"},
    {"instantiate"},
    {"runner"},
    {"evaluate", "audit", "compare", "integrations", "dashboards"},
    {"report"},
    {"pipeline", "sweeps", "app"},
    {"cli"},
    {"__init__", "__main__"},
]
RANK = {module: rank for rank, modules in enumerate(LEVELS) for module in modules}
# Who may import these packages.
KEPT = {"hydra": {"config", "instantiate", "cli"}, "hydra_plugins": set(), "wandb": {"loggers", "dashboards"}}
MOST_FILES, MOST_FOLDERS = 21, 20
"""Files at the package's root, and folders in it that are packages."""

INTERFACES = {"main", "explain", "draw", "build", "from_hub", "with_checkpoint", "preprocessing_of", *METRICS}
"""Functions of one name in several modules on purpose, because the modules offer the same thing.

They are a program's `main`, `explain` of a run's images and of one's own photos, the drawing of either kind of scenes,
the sources of timm's and of torchvision's models, and each metric of `inr_xai.metrics` as `inr_xai.evaluate` computes
it for an explained image.
"""

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    """The module, or top folder of modules, that a file belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def full_name(file: Path) -> str:
    """The dotted name of a file's module."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("inr_xai", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imported(tree: ast.AST, name: str) -> Iterator[str]:
    """The full name of each thing that the module `name` imports, at the top or inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(name.split(".")[: -node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield from imported(node, name)


def complaints(file: Path) -> list[str]:
    """What is wrong with the imports of a file."""
    ours, full, wrong = module_of(file), full_name(file), []
    for name in imported(ast.parse(file.read_text()), full):
        top, *rest = name.split(".")
        if ours not in KEPT.get(top, {ours}):
            wrong.append(f"{full} imports {name}; only {sorted(KEPT[top])} may import {top}")
        if top != "inr_xai" or name == "inr_xai.__version__":
            continue
        theirs = rest[0] if rest and rest[0] in RANK else "__init__"
        if theirs != ours and RANK[theirs] >= RANK[ours]:
            wrong.append(f"{full} imports {name}, which is not on a lower level (see LEVELS in {Path(__file__).name})")
    return wrong


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of the graph, or nothing."""
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in finished:
            for other in sorted(graph.get(name, ())):
                if around := visit(other, [*path, name]):
                    return around
            finished.add(name)
        return []

    return next((around for name in sorted(graph) if (around := visit(name, []))), [])


def test_every_module_has_a_level() -> None:
    unknown = {module_of(file) for file in FILES} - set(RANK)
    assert not unknown, f"new modules: add {sorted(unknown)} to LEVELS in {Path(__file__).name}, as low as possible"


def test_no_level_names_a_module_that_is_gone() -> None:
    assert set(RANK) <= {module_of(file) for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_import_goes_up(file: Path) -> None:
    assert complaints(file) == []


def test_no_files_import_one_another_in_a_circle() -> None:
    names = {full_name(file) for file in FILES}
    graph: dict[str, set[str]] = {}
    for file in FILES:
        full = full_name(file)
        for name in imported(ast.parse(file.read_text()), full):
            target = name if name in names else name.rpartition(".")[0]
            if target in names - {"inr_xai", full}:
                graph.setdefault(full, set()).add(target)
    assert circle(graph) == []


def test_a_circle_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from inr_xai.fitting.fit import fit_masks", ["inr_xai.fitting.fit.fit_masks"]),
        ("from inr_xai import fitting", ["inr_xai.fitting"]),
        ("from .fitting import fit", ["inr_xai.fitting.fit"]),
        ("def f():\n    import hydra.utils", ["hydra.utils"]),
        ("if True:\n    from . import area, method", ["inr_xai.area", "inr_xai.method"]),
        ("if TYPE_CHECKING:\n    import wandb", []),
    ],
)
def test_each_form_of_import_is_seen(text: str, names: list[str]) -> None:
    assert list(imported(ast.parse(text), "inr_xai.area")) == names


def test_the_package_has_few_rooms() -> None:
    files = [file.name for file in PACKAGE.glob("*.py")]
    folders = [file.parent.name for file in PACKAGE.glob("*/__init__.py")]
    assert len(files) <= MOST_FILES, f"{len(files)} files at the root of inr_xai: {sorted(files)}"
    assert len(folders) <= MOST_FOLDERS, f"{len(folders)} packages in inr_xai: {sorted(folders)}"


def public_names(tree: ast.Module) -> Iterator[str]:
    """The public classes, functions and type aliases (assigned names such as Field, but not FIELD) of a module."""
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
            names = [name for name in targets if name[0].isupper() and not name.isupper()]
        yield from (name for name in names if not name.startswith("_"))


def test_public_names_are_those_of_classes_functions_and_aliases() -> None:
    text = "A = B = int\nFIELD = 1\nField = list\nlog = 2\ndef f(): ...\ndef _g(): ...\nclass C: ...\n_Alias = list\n"
    assert list(public_names(ast.parse(text))) == ["Field", "f", "C"]


def test_no_class_function_or_alias_stands_twice_under_one_public_name() -> None:
    homes: dict[str, list[str]] = {}
    for file in FILES:
        for name in public_names(ast.parse(file.read_text())):
            homes.setdefault(name, []).append(full_name(file))
    assert {name: where for name, where in homes.items() if len(where) > 1 and name not in INTERFACES} == {}


def test_no_function_of_the_metrics_is_named_like_its_module() -> None:
    for file in (PACKAGE / "metrics").rglob("*.py"):
        functions = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert file.stem not in functions


API = """
import json, sys, lightning
bare = set(sys.modules)
from inr_xai import INRAttribution
added = sorted(set(sys.modules) - bare)
import torch
from tests.test_imports import Entered, two_layers
explainer, images = INRAttribution(two_layers(), steps=3), torch.rand(2, 3, 32, 32)
with Entered() as entered:
    explainer.attribute(images, target=1, areas=(0.1, 0.2), explanations=2)
files = {file for file, _ in entered.functions}
print(json.dumps({"added": added, "modules": len(files), "functions": len(entered.functions)}))
"""
RUN = """
import json, sys
import inr_xai.cli
refusal = sorted(sys.modules)
import tempfile
loaded = {}
with tempfile.TemporaryDirectory() as folder:
    for report in ("false", "true"):
        sys.argv = ["inr-xai", "data.size=1", "steps=1", "explanations=1", "logger=none", f"report={report}"]
        sys.argv.append(f"out={folder}/{report}")
        try:
            inr_xai.cli.main()
        except SystemExit as ended:
            assert ended.code == 0, ended.code
        loaded[report] = sorted(sys.modules)
print(json.dumps({"refusal": refusal, "run": loaded["false"], "with_page": loaded["true"]}))
"""


def in_a_new_python(code: str) -> Any:
    """What a program in a process of its own prints as JSON; here every function is wrapped by a checker of types."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    """The modules that Lightning alone loads, those that the Python API adds, and what one attribute() enters."""
    return in_a_new_python(API)


@pytest.mark.slow
def test_the_python_api_loads_little(api: dict[str, Any]) -> None:
    ours = [name for name in api["added"] if name.split(".")[0] == "inr_xai"]
    assert 0 < len(ours) <= 52, ours
    assert {"matplotlib", "wandb", "hydra", "scipy", "timm", "captum", "pytorch_grad_cam"}.isdisjoint(api["added"])


@pytest.mark.slow
def test_one_explanation_enters_few_functions(api: dict[str, Any]) -> None:
    assert 0 < api["modules"] <= 30
    assert 0 < api["functions"] <= 140


@pytest.mark.slow
def test_a_run_loads_little_and_a_refusal_less() -> None:
    loaded = in_a_new_python(RUN)
    assert "inr_xai.cli" in loaded["refusal"]
    assert {"torch", "inr_xai.pipeline"}.isdisjoint(loaded["refusal"])
    ours = [name for name in loaded["run"] if name.split(".")[0] == "inr_xai"]
    assert "inr_xai.runner" in ours
    assert len(ours) <= 140, ours
    for_the_page = [name for name in loaded["with_page"] if name.startswith("inr_xai") and name not in ours]
    assert 0 < len(for_the_page) <= 15, for_the_page


class Entered:
    """The functions of the package that a block enters, comprehensions left out."""

    def __enter__(self) -> "Entered":
        self.functions: set[tuple[str, str]] = set()
        self._before = sys.gettrace(), threading.gettrace()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before[0])
        threading.settrace(self._before[1])  # type: ignore[arg-type]

    def _trace(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_filename.startswith(str(PACKAGE)) and not code.co_name.endswith("comp>"):
            self.functions.add((code.co_filename, code.co_qualname))


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 7, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 5))


def test_an_entered_function_is_counted_once() -> None:
    with Entered() as entered:
        for _ in range(2):
            generator(0, "cat")
    assert {name for _, name in entered.functions} == {"generator", "sha256"}
    assert {Path(file).name for file, _ in entered.functions} == {"seeding.py"}
