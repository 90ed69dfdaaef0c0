"""The registry of metrics: its names and directions are those of the columns and of the torchmetrics classes."""

import pytest

from inr_xai import metrics
from inr_xai.columns import METRICS, METRICS_THAT_REFIT
from inr_xai.errors import UserError
from inr_xai.evaluate import by_refitting
from inr_xai.evaluate.registry import REGISTRY, choose, directions


def test_the_names_are_those_of_the_columns() -> None:
    assert tuple(REGISTRY) == METRICS
    refitting = [name for name, metric in REGISTRY.items() if metric.compute.__module__ == by_refitting.__name__]
    assert tuple(refitting) == METRICS_THAT_REFIT


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


@pytest.mark.parametrize("name", ["average_drop", "average_increase", "average_gain"])
def test_metrics_of_probabilities_are_refused_by_name_for_scores_and_else_left_out(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} needs probabilities of classes, and with classifier.head=none"):
        choose(["road", name], masks=True, fits=True, head="none")
    assert list(choose(["road", name], masks=True, fits=True, head="probabilities")) == ["road", name]
    every = choose(None, masks=True, fits=True)
    assert name in every
    assert choose(None, masks=True, fits=True, head="none").keys() == every.keys() - {
        "average_drop",
        "average_increase",
        "average_gain",
    }
