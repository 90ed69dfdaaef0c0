"""The margin of a class under Grad-CAM and integrated gradients: differences, finite differences, and refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.captum_methods import IntegratedGradients
from inr_xai.compare.methods.class_activation import CAM
from inr_xai.compare.methods.margin import MarginOfRow, best_other_class
from inr_xai.compare.methods.pixel_attributions import smoothed_positive_part
from inr_xai.compare.methods.registry import MethodSetup, build_other_method
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing
from tests.helpers.comparison import AREAS, CPU, demo_image


def test_the_other_class_is_the_runner_up_of_the_most_likely_class_and_else_the_most_likely_one() -> None:
    logits = torch.tensor([0.5, -1.0, 2.0, 1.5])
    assert [best_other_class(logits, target) for target in range(4)] == [2, 2, 3, 2]
    assert [float(MarginOfRow(target)(logits)) for target in (2, 1)] == [0.5, -3.0]


@pytest.mark.parametrize("place", [0, 4])
def test_integrated_gradients_of_a_margin_are_the_difference_of_those_of_two_logits(place: int) -> None:
    pytest.importorskip("captum")
    classifier, image, _, name = demo_image()
    with classifier.frozen(), torch.no_grad():
        ranked = classifier(image[None])[0].argsort(descending=True).tolist()
    target, other = ranked[place], ranked[1 if place == 0 else 0]
    single = IntegratedGradients(classifier, device=CPU, steps=5)
    margin = IntegratedGradients(classifier, device=CPU, steps=5, margin=True)
    difference = single.attributions(image, target) - single.attributions(image, other)
    torch.testing.assert_close(margin.attributions(image, target), difference, atol=1e-5, rtol=0)
    assert float(difference.abs().max()) > 1e-3
    maps = margin.explain(image, target, name)
    torch.testing.assert_close(maps.maps, smoothed_positive_part(difference, 8.0), atol=1e-5, rtol=0)
    assert maps.passes == 5.5


def test_grad_cam_of_a_margin_weighs_maps_by_how_much_the_margin_moves_with_each() -> None:
    """The derivatives are finite differences in double precision, of a network that bends behind the layer."""
    pytest.importorskip("pytorch_grad_cam")
    image = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution, last = nn.Conv2d(3, 6, 3, stride=3), nn.Linear(8, 4)
        behind = nn.Sequential(nn.Tanh(), nn.Conv2d(6, 8, 2), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    network = nn.Sequential(convolution, behind)
    preprocessing = Preprocessing((12, 12), 12, "bilinear", (0.0,) * 3, (1.0,) * 3)
    classifier = FrozenClassifier(network, preprocessing=preprocessing)
    target = 1
    heatmap = CAM(classifier, device=CPU, kind="GradCAM", layer="0", margin=True).explain(image, target, "x").maps[0]

    network.double()
    with torch.no_grad():
        features = convolution(image[None].double())
        others = [score if place != target else -torch.inf for place, score in enumerate(behind(features)[0].tolist())]
        other, step = others.index(max(others)), 1e-5
        weights = []
        for channel in range(6):
            shift = step * F.one_hot(torch.tensor(channel), 6)[None, :, None, None]
            logits = [behind(features + sign * shift)[0] for sign in (1, -1)]
            more, less = (float(row[target] - row[other]) for row in logits)
            weights.append((more - less) / (2 * step) / 16)
        expected = (torch.tensor(weights)[:, None, None] * features[0]).sum(0).relu()
    centres = heatmap[1::3, 1::3]  # the pixels that enlarging leaves as they were
    scaled = ((expected - expected.min()) / (expected.max() - expected.min())).float()
    torch.testing.assert_close(centres, scaled, atol=1e-4, rtol=0)
    assert 0 < int((scaled > 0).sum()) < 16


def test_maps_of_a_margin_are_stored_apart_and_those_of_a_logit_as_ever() -> None:
    classifier = demo_image()[0]
    setup = MethodSetup(classifier, CPU, AREAS)
    pytest.importorskip("pytorch_grad_cam")
    pytest.importorskip("captum")
    settings = {name: build_other_method(name, setup).settings for name in ("gradcam", "integrated_gradients")}
    assert settings["gradcam"] == {"cam": "GradCAM", "layer": "features"}
    assert settings["integrated_gradients"] == {"integrated_gradients": 50, "sigma": 8.0}
    for name, value in settings.items():
        assert build_other_method(f"{name}_margin", setup).settings == value | {"margin": True}


def test_a_classifier_of_one_output_has_no_margin() -> None:
    network = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preprocessing = Preprocessing((12, 12), 12, "bilinear", (0.5,) * 3, (0.5,) * 3)
    classifier = FrozenClassifier(network, preprocessing=preprocessing, head="none")
    with pytest.raises(UserError, match="has one output; take gradcam or integrated_gradients"):
        IntegratedGradients(classifier, device=CPU, margin=True)
    with pytest.raises(UserError, match="has one output; take gradcam or integrated_gradients"):
        CAM(classifier, device=CPU, kind="GradCAM", layer="0", margin=True)
