"""Imports go one way: each module imports lower levels only, and Hydra and W&B stay where they belong."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import inr_xai

PACKAGE = Path(inr_xai.__file__).parent

# From the bottom up. A folder counts as one module; modules of one level do not import one another.
LEVELS = [
    {"types", "errors", "seeding", "words"},
    {"limits", "columns", "blur", "photos", "files", "trainers"},
    {"data", "demo", "classifier", "perturbation", "jitter", "reveal", "inr", "area", "objective", "results"},
    {"metrics", "sweeps"},
    {"method"},
    {"drawing", "stopping"},
    {"maskfit"},
    {"stack"},
    {"fit"},
    {"importance"},
    {"render"},
    {"attribution", "callbacks", "peers"},
    {"evaluation", "auditing", "report"},
    {"config"},
    {"assembly"},
    {"evaluate"},
    {"audit"},
    {"runner"},
    {"cli", "__init__"},
]
RANK = {module: rank for rank, modules in enumerate(LEVELS) for module in modules}
# Allowed within a level, but only inside a function.
LAZY = {("classifier", "demo"), ("audit", "runner")}
# Who may import these packages.
KEPT = {"hydra": {"config", "assembly", "cli"}, "hydra_plugins": set(), "wandb": {"callbacks"}}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    """The module, or top folder of modules, that a file belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(tree: ast.AST, name: str, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """The full name of each thing that the module `name` imports, and whether it does so inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(name.split(".")[: -node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            yield from ((f"{source}.{alias.name}", inside) for alias in node.names)
        yield from imported(node, name, inside=inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def complaints(file: Path) -> list[str]:
    """What is wrong with the imports of a file."""
    ours, wrong = module_of(file), []
    full = ".".join(("inr_xai", *file.relative_to(PACKAGE).with_suffix("").parts))
    for name, inside in imported(ast.parse(file.read_text()), full):
        top, *rest = name.split(".")
        if ours not in KEPT.get(top, {ours}):
            wrong.append(f"{full} imports {name}; only {sorted(KEPT[top])} may import {top}")
        if top != "inr_xai":
            continue
        theirs = rest[0] if rest and rest[0] in RANK else "__init__"
        lazy = inside and (ours, theirs) in LAZY
        if theirs != ours and RANK[theirs] >= RANK[ours] and not lazy:
            wrong.append(f"{full} imports {name}, which is not on a lower level (see LEVELS in {Path(__file__).name})")
    return wrong


def test_every_module_has_a_level() -> None:
    unknown = {module_of(file) for file in FILES} - set(RANK)
    assert not unknown, f"new modules: add {sorted(unknown)} to LEVELS in {Path(__file__).name}, as low as possible"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_import_goes_up(file: Path) -> None:
    assert complaints(file) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from inr_xai.fitting.fit import fit_masks", ["inr_xai.fitting.fit.fit_masks"]),
        ("from inr_xai import fit", ["inr_xai.fitting.fit"]),
        ("from .fit import fit_masks", ["inr_xai.fitting.fit.fit_masks"]),
        ("def f():\n    import hydra.utils", ["hydra.utils"]),
        ("if True:\n    from . import area, fit", ["inr_xai.area", "inr_xai.fitting.fit"]),
    ],
)
def test_each_form_of_import_is_seen(text: str, found: list[str]) -> None:
    assert [name for name, _ in imported(ast.parse(text), "inr_xai.area")] == found


def test_an_import_inside_a_function_is_told_apart() -> None:
    tree = ast.parse("import a\nclass C:\n    def f(self):\n        import b")
    assert list(imported(tree, "inr_xai.area")) == [("a", False), ("b", True)]
