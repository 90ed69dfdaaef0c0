"""Every method of the comparison on the demo classifier: shapes, costs, known answers, and the classifier untouched."""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from inr_xai.blur import gaussian_blur
from inr_xai.classifier import FrozenClassifier, from_torchvision
from inr_xai.compare.comparison import MapMaker
from inr_xai.compare.methods.base import Maps, require
from inr_xai.compare.methods.captum_methods import IntegratedGradients, Occlusion
from inr_xai.compare.methods.class_activation import CAM
from inr_xai.compare.methods.controls import CentredDisc, RandomMasks
from inr_xai.compare.methods.extremal_perturbation import TorchRay
from inr_xai.compare.methods.feature_layer import find_layer, last_feature_layer
from inr_xai.compare.methods.ours import FirstExplanation, Fit, SecondExplanation
from inr_xai.compare.methods.registry import METHODS, Kit, build
from inr_xai.compare.scorer import harden
from inr_xai.compare.store import MapCache
from inr_xai.errors import UserError
from inr_xai.method import Method
from inr_xai.types import Preprocessing
from tests.helpers.comparison import AREAS, CPU, demo_image


def test_ours_is_a_mask_per_area() -> None:
    classifier, image, target, name = demo_image()
    fit = Fit(Method(areas=AREAS, steps=2), classifier, device=CPU)
    found = FirstExplanation(fit).explain(image, target, name)
    assert (found.maps.shape, found.maps.dtype, found.passes) == ((2, 96, 96), torch.float16, 4.0)
    torch.testing.assert_close(found.maps.float().mean((-2, -1)), torch.tensor(AREAS), atol=1e-3, rtol=0)


def test_the_second_explanation_shares_no_pixel_with_the_first() -> None:
    classifier, image, target, name = demo_image()
    fit = Fit(Method(areas=AREAS, steps=2, explanations=2), classifier, device=CPU)
    found = SecondExplanation(fit).explain(image, target, name)
    assert found.free is not None
    assert found.first is not None
    assert (found.first.sum((-2, -1)).tolist(), found.passes) == ([921, 2764], 8.0)
    assert not (found.free & found.first).any()
    assert not (harden(found, AREAS, name, seed=0)[0] & found.first).any()


@pytest.mark.parametrize(("make", "explanations"), [(FirstExplanation, 2), (SecondExplanation, 1)])
def test_a_method_of_other_explanations_is_refused(make: Any, explanations: int) -> None:
    classifier = demo_image()[0]
    with pytest.raises(UserError, match=f"explanations={explanations}"):
        make(Fit(Method(areas=AREAS, explanations=explanations), classifier, device=CPU))


def test_settings_tell_what_masks_depend_on_and_nothing_else() -> None:
    classifier = demo_image()[0]

    def settings(**options: Any) -> Any:
        return FirstExplanation(Fit(Method(areas=AREAS, **options), classifier, device=CPU)).settings

    assert settings() == settings(masks_per_forward=1, images_per_fit=2)
    assert settings() != settings(steps=7)
    assert settings() != settings(seed=1)


@pytest.mark.parametrize("kind", ["GradCAM", "GradCAMPlusPlus", "LayerCAM"])
def test_class_activation_maps(kind: str) -> None:
    pytest.importorskip("pytorch_grad_cam")
    classifier, image, target, name = demo_image()
    before = {key: value.clone() for key, value in classifier.model.state_dict().items()}
    found = CAM(classifier, device=CPU, kind=kind).explain(image, target, name)
    assert (found.maps.shape, found.passes, found.layer) == ((1, 96, 96), 1.0, "features")
    assert 0 <= float(found.maps.min()) < float(found.maps.max()) <= 1
    assert all(torch.equal(value, before[key]) for key, value in classifier.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in classifier.model.parameters())


def test_grad_cam_is_the_published_formula() -> None:
    """ReLU of the maps weighted by their mean gradients, written out for a network of one convolution."""
    pytest.importorskip("pytorch_grad_cam")
    image = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution, linear = nn.Conv2d(3, 4, 3, stride=3, bias=False), nn.Linear(4, 2)
    network = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    preprocessing = Preprocessing((12, 12), 12, "bilinear", (0.0,) * 3, (1.0,) * 3)
    found = CAM(FrozenClassifier(network, preprocessing=preprocessing), device=CPU, kind="GradCAM")
    with torch.no_grad():
        maps = convolution(image[None])[0]
        cam = (linear.weight[1][:, None, None] * maps).sum(0).relu()  # the mean pooling's gradient is the weight / 16
    heatmap = found.explain(image, 1, "x").maps[0]
    assert found.layer == "0"
    corners = heatmap[1::3, 1::3]  # where the upsampled map is the cell's own value
    torch.testing.assert_close(corners, (cam - cam.min()) / (cam.max() - cam.min()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("squeezenet1_0", "features"),
        pytest.param("resnet18", "layer4", marks=pytest.mark.slow),
        ("mobilenet_v3_small", "features"),
    ],
)
def test_the_default_layer_is_the_last_feature_map(name: str, layer: str) -> None:
    assert last_feature_layer(from_torchvision(name), CPU) == layer


def small(network: nn.Module) -> FrozenClassifier:
    """A network of inputs of 32 x 32."""
    preprocessing = Preprocessing((32, 32), 32, "bilinear", (0.5,) * 3, (0.5,) * 3)
    return FrozenClassifier(network, preprocessing=preprocessing)


def test_a_transformer_has_no_default_layer() -> None:
    network = models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8, num_classes=5
    )
    with pytest.raises(UserError, match="behind its last feature map, conv_proj, the classifier goes on with tokens"):
        last_feature_layer(small(network), CPU)


def test_feature_maps_with_channels_last_are_not_taken_for_others() -> None:
    network = models.SwinTransformer([2, 2], 8, [1, 1], [1, 1], [2, 2], num_classes=5)
    assert last_feature_layer(small(network), CPU) == "permute"


def test_an_unknown_layer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"no layer 'feature'; did you mean features\?"):
        find_layer(demo_image()[0], "feature")


def linear_classifier(side: int = 28) -> tuple[FrozenClassifier, torch.Tensor]:
    """Logits linear in the pixels, whose attributions are known; and the weights of class 1."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 2))
    preprocessing = Preprocessing((side, side), side, "bilinear", (0.4, 0.5, 0.6), (1.0,) * 3)
    weights = network[1].weight[1].detach().reshape(3, side, side)
    return FrozenClassifier(network, preprocessing=preprocessing), weights


def test_integrated_gradients_of_a_linear_model_are_its_terms() -> None:
    pytest.importorskip("captum")
    classifier, weights = linear_classifier()
    image = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(1))
    found = IntegratedGradients(classifier, device=CPU).explain(image, 1, "x")
    terms = (weights * (image - torch.tensor(classifier.colour_mean)[:, None, None])).sum(0).clamp(min=0)
    torch.testing.assert_close(found.maps[0], gaussian_blur(terms[None, None], 1.0)[0, 0], atol=1e-6, rtol=1e-4)
    assert found.passes == 50


def test_occlusion_of_a_linear_model_is_the_mean_fall_over_the_windows() -> None:
    pytest.importorskip("captum")
    classifier, weights = linear_classifier()
    image = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(1))
    found = Occlusion(classifier, device=CPU).explain(image, 1, "x")  # of side 28: window 4, stride 2
    terms = (weights * (image - torch.tensor(classifier.colour_mean)[:, None, None])).sum(0)
    total, count = torch.zeros(28, 28), torch.zeros(28, 28)
    for top in range(0, 25, 2):
        for left in range(0, 25, 2):
            total[top : top + 4, left : left + 4] += terms[top : top + 4, left : left + 4].sum()
            count[top : top + 4, left : left + 4] += 1
    torch.testing.assert_close(found.maps[0], total / count, atol=1e-5, rtol=1e-4)
    assert found.passes == (13 * 13 + 1) / 2


@pytest.mark.parametrize("reward", ["simple_reward", pytest.param("contrastive_reward", marks=pytest.mark.slow)])
def test_torchray_is_called_as_its_users_call_it(reward: str) -> None:
    require_torchray()
    torchray = require("torchray.attribution.extremal_perturbation", package="torchray")
    classifier, image, target, name = demo_image()
    explainer = TorchRay(classifier, areas=AREAS, device=CPU, reward=reward, iterations=3)
    found = explainer.explain(image, target, name)
    assert all(parameter.requires_grad for parameter in classifier.model.parameters())
    with classifier.frozen(dtype=torch.float32), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masks, _ = torchray.extremal_perturbation(
            classifier.model,
            ((image - 0.5) / 0.25)[None],
            target,
            areas=list(AREAS),
            max_iter=3,
            resize=True,
            reward_func=getattr(torchray, reward),
        )
    assert torch.equal(found.maps, masks[:, 0].half())
    assert found.passes == 6


def require_torchray() -> None:
    """Skips where the package is missing; its own import warns, which an ordinary importorskip would not survive."""
    try:
        require("torchray", package="torchray")
    except UserError:
        pytest.skip("torchray is not installed")


def test_the_floors() -> None:
    _, image, target, name = demo_image()
    disc = CentredDisc().explain(image, target, name)
    hard = harden(disc, (0.1,), name, seed=0)[0, 0]
    rows, columns = hard.nonzero().double().T
    assert float(((rows - 47.5) ** 2 + (columns - 47.5) ** 2).max()) <= 0.1 * 96 * 96 / torch.pi + 20
    random = RandomMasks().explain(image, target, name)
    assert (random.maps.shape, random.per_area, random.passes) == ((8, 96, 96), False, 0)
    assert torch.equal(random.maps, RandomMasks().explain(image, 0, name).maps)
    assert not torch.equal(random.maps, RandomMasks(seed=1).explain(image, target, name).maps)


def kit(folder: Any) -> Kit:
    def compose(options: Sequence[str]) -> Method:
        chosen = dict(option.split("=") for option in options if "." not in option)
        numbers = {name: int(value) for name, value in chosen.items() if value.isdigit()}
        return Method(**{"areas": AREAS, "steps": 1, **numbers})

    maker = MapMaker(MapCache(folder), {})
    return Kit(demo_image()[0], CPU, AREAS, compose, maker)


def test_every_method_can_be_built(tmp_path: Any) -> None:
    pytest.importorskip("captum")
    pytest.importorskip("pytorch_grad_cam")
    require_torchray()
    made = {name: build(name, kit(tmp_path)) for name in METHODS}
    assert [name for name, method in made.items() if method.fitted] == [
        "inr",
        "inr_hybrid",
        "inr_nested",
        "torchray",
        "torchray_contrastive",
    ]
    assert made["inr_passes_400"].settings["steps"] == 100
    with pytest.raises(UserError, match=r"'gradcan', which is no method; did you mean gradcam\?"):
        build("gradcan", kit(tmp_path))


def test_grad_cam_in_the_free_region_keeps_off_the_first_explanation(tmp_path: Any) -> None:
    pytest.importorskip("pytorch_grad_cam")
    _, image, target, name = demo_image()
    parts = kit(tmp_path)
    found = build("gradcam_second", parts).explain(image, target, name)
    second = parts.maker.stored("inr_second", build("inr_second", parts), target, name)
    assert second is not None
    assert found.free is not None
    assert torch.equal(found.free, second.free)
    hard = harden(found, AREAS, name, seed=0)[0]
    assert not (hard & ~second.free).any()
    for place, count in enumerate((921, 2764)):
        free = found.maps[0][second.free[place]]
        least = free.sort(descending=True).values[count - 1]
        assert hard[place].sum() == count
        assert found.maps[0][hard[place]].min() == least


def test_the_same_seed_is_perfectly_stable_and_another_is_not(tmp_path: Any) -> None:
    _, image, target, name = demo_image()
    parts = kit(tmp_path)
    found = build("inr_seed1", parts).explain(image, target, name)
    first = parts.maker.stored("inr", build("inr", parts), target, name)
    assert first is not None
    assert found.other is not None
    assert torch.equal(found.other, harden(first, AREAS, name, seed=0)[0])
    assert not torch.equal(found.maps, first.maps)


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    classifier = demo_image()[0]
    monkeypatch.setattr(importlib, "import_module", missing)
    for name, make in {
        "captum": lambda: Occlusion(classifier, device=CPU),
        "grad-cam": lambda: CAM(classifier, device=CPU, kind="GradCAM"),
        "torchray": lambda: TorchRay(classifier, areas=AREAS, device=CPU),
    }.items():
        with pytest.raises(UserError, match=rf"needs the package {name}.*pip install 'inr-xai\[peers\]'"):
            make()


def test_maps_per_area() -> None:
    three = torch.zeros(3, 2, 2)
    assert Maps(three, passes=0, seconds=0).per_area
    assert not Maps(three, passes=0, seconds=0, draws=True).per_area
    assert not Maps(three[:1], passes=0, seconds=0).per_area
