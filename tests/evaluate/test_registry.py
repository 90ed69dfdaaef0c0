"""The registry of metrics: its names and directions are those of the columns and of the torchmetrics classes."""

import pytest
import torch

from inr_xai import metrics
from inr_xai.classifier import FrozenClassifier
from inr_xai.columns import METRICS, METRICS_THAT_REFIT
from inr_xai.errors import UserError
from inr_xai.evaluate import by_refitting
from inr_xai.evaluate.explained_image import ExplainedImage
from inr_xai.evaluate.registry import REGISTRY, choose, directions
from inr_xai.types import Frame, Preprocessing, Sample


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


class Counting(torch.nn.Module):
    """Logits of three classes, and how many images were given."""

    images = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.images += len(inputs)
        return inputs.mean((2, 3))


def test_what_each_metric_asks_of_the_classifier_as_the_page_says() -> None:
    """Maps with ties have three curves of 24 + 1 images each; the maps that read objects or fit anew are left out."""
    model, side = Counting(), 24
    preprocessing = Preprocessing((side, side), side, "bilinear", (0.5,) * 3, (0.25,) * 3)
    generator = torch.Generator().manual_seed(0)
    picture, masks = torch.rand(3, side, side, generator=generator), torch.rand(4, side, side, generator=generator)
    sample = Sample(picture, 0, "x", Frame((side, side), (side, side), 0, 0, (side, side)))
    image = ExplainedImage(
        sample,
        0,
        (4 * masks[0]).round(),
        FrozenClassifier(model, preprocessing=preprocessing),
        0,
        areas=(0.05, 0.1, 0.2, 0.4),
        masks=masks,
    )
    asked = {}
    for name in choose(None, masks=True, fits=True):
        if not REGISTRY[name].marks:
            before = model.images
            REGISTRY[name].compute(image)
            asked[name] = model.images - before
    curve, information = 3 * (side + 1), 15
    assert {name: count for name, count in asked.items() if count} == {
        "random_fidelity": 4 * 2 * 20 + 2,
        "insertion_auc": curve,
        "deletion_auc": curve,
        "pixel_flipping": curve,
        "average_drop": 2,  # which the other two use again
        "road": 2 * 9,
        "infidelity": 100 + 1,
        "faithfulness_correlation": 100 + 1,
        "single_deletion": 16 + 1,
        "sic": 2 * information,  # with those of aic
    }
