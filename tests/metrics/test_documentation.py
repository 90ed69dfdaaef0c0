"""The page of metrics: its Python runs, and it lists every metric with its direction and every name of the command."""

import inspect
import re
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import torchmetrics
from torch.utils.data import DataLoader, TensorDataset

from inr_xai import INRAttribution, metrics
from inr_xai.evaluate.registry import REGISTRY
from tests.helpers.pages import blocks_of

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in TEXT.splitlines() if line.startswith("| `")]
CLASSES = [
    name
    for name in metrics.__all__
    if inspect.isclass(getattr(metrics, name)) and issubclass(getattr(metrics, name), torchmetrics.Metric)
]


@pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")  # of Lightning
@pytest.mark.slow
def test_python_of_the_page_runs(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    for block in blocks_of(TEXT):
        if block.language == "python" and not block.why:
            exec(block.code, names)
    values, auc = names["values"], names["auc"]
    assert isinstance(values, torch.Tensor)
    assert values.shape == (2,)
    assert isinstance(auc, metrics.DeletionAUC)
    assert float(auc.compute()) == pytest.approx(float(values.mean()))
    maps, objects, results = names["maps"], names["objects"], names["results"]
    assert float(results["RelevanceMassAccuracy"]) == pytest.approx(
        float(metrics.relevance_mass_accuracy(maps, objects).mean())
    )
    batch = names["images"], names["targets"], objects
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    model = names["demo"]().model
    data = DataLoader(TensorDataset(*batch), batch_size=1)
    (logged,) = trainer.validate(names["Explained"](model), data, verbose=False)
    heatmaps = INRAttribution(model, steps=2).importance(*batch[:2]).squeeze(1)
    expected = float(metrics.relevance_mass_accuracy(heatmaps, objects).mean())
    assert logged["mass"] == pytest.approx(expected, abs=1e-5)
    assert logged["area error"] < 1e-3


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
