"""The registry of metrics: its names and directions are those of the columns and of the torchmetrics classes."""

from inr_xai import metrics
from inr_xai.columns import METRICS
from inr_xai.evaluate.registry import REGISTRY, directions


def test_the_names_are_those_of_the_columns() -> None:
    assert tuple(REGISTRY) == METRICS


def test_directions_are_those_of_the_classes() -> None:
    classes = {}
    for name in REGISTRY:
        class_name = name.title().replace("_", "").replace("Auc", "AUC").replace("Mprt", "MPRT")
        if class_name in metrics.__all__:
            classes[name] = getattr(metrics, class_name)
    assert {"sparseness", "complexity", "deletion_auc", "efficient_mprt"} <= classes.keys()
    assert {name: metric.higher_is_better for name, metric in classes.items()} == {
        name: directions()[name] for name in classes
    }
