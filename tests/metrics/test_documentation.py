"""The page of metrics: its Python runs, and it lists every metric with its direction and every name of the command."""

import inspect
import re
from pathlib import Path

import pytest
import torch
import torchmetrics

from inr_xai import metrics
from inr_xai.evaluate.registry import REGISTRY

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in TEXT.splitlines() if line.startswith("| `")]
CLASSES = [
    name
    for name in metrics.__all__
    if inspect.isclass(getattr(metrics, name)) and issubclass(getattr(metrics, name), torchmetrics.Metric)
]


def test_python_of_the_page_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    values, auc = names["values"], names["auc"]
    assert isinstance(values, torch.Tensor)
    assert values.shape == (2,)
    assert isinstance(auc, metrics.DeletionAUC)
    assert float(auc.compute()) == pytest.approx(float(values.mean()))


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_has_its_row_and_direction(name: str) -> None:
    rows = [row for row in ROWS if f"`{name}`" in row[0]]
    assert rows
    for row in rows:
        assert len(row) == 5
        assert ("↑" in row[2], "↓" in row[2]) == (better := getattr(metrics, name).higher_is_better, not better)


def test_every_name_of_code_is_one() -> None:
    functions = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[0])}
    assert functions <= set(metrics.__all__)
    assert functions >= {"deletion_auc", "road_scores", "spearman"}


def test_names_of_the_command_are_those_of_the_code() -> None:
    _, _, after = TEXT.partition("These are the names of the command")
    (names,) = re.findall(r"\n\n((?:- .*\n)+)\n", after)[:1]
    assert re.findall(r"`(\w+)`", names) == list(REGISTRY)
    (example,) = re.findall(r"--metrics (\S+)", TEXT)
    assert set(example.split(",")) <= set(REGISTRY)
