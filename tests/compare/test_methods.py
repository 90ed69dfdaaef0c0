"""Every method of the comparison on the demo classifier: shapes, costs, known answers, and the classifier untouched."""

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from inr_xai.blur import gaussian_blur
from inr_xai.classifier import FrozenClassifier, from_torchvision
from inr_xai.compare.comparison import MapMaker
from inr_xai.compare.methods.base import MethodMaps, require_module
from inr_xai.compare.methods.captum_methods import IntegratedGradients, Occlusion
from inr_xai.compare.methods.class_activation import CAM
from inr_xai.compare.methods.controls import CentredDisc, RandomMasks
from inr_xai.compare.methods.extremal_perturbation import TorchRay
from inr_xai.compare.methods.feature_layer import find_layer, last_feature_layer
from inr_xai.compare.methods.ours import FirstExplanation, MaskFitter, SecondExplanation
from inr_xai.compare.methods.registry import METHODS, MethodFactory, MethodSetup, build_explainer, build_other_method
from inr_xai.compare.scorer import harden
from inr_xai.compare.store import MapCache
from inr_xai.errors import UserError
from inr_xai.method import Method
from inr_xai.types import Preprocessing
from tests.helpers.comparison import AREAS, CPU, demo_image


def test_ours_is_a_mask_per_area() -> None:
    classifier, image, target, name = demo_image()
    fitter = MaskFitter(Method(areas=AREAS, steps=2), classifier, device=CPU)
    maps = FirstExplanation(fitter).explain(image, target, name)
    assert (maps.maps.shape, maps.maps.dtype, maps.passes) == ((2, 96, 96), torch.float16, 5.0)
    torch.testing.assert_close(maps.maps.float().mean((-2, -1)), torch.tensor(AREAS), atol=1e-3, rtol=0)


def test_the_second_explanation_shares_no_pixel_with_the_first() -> None:
    classifier, image, target, name = demo_image()
    fitter = MaskFitter(Method(areas=AREAS, steps=2, explanations=2), classifier, device=CPU)
    maps = SecondExplanation(fitter).explain(image, target, name)
    assert maps.free is not None
    assert maps.first_masks is not None
    assert (maps.first_masks.sum((-2, -1)).tolist(), maps.passes) == ([921, 2764], 9.0)
    assert not (maps.free & maps.first_masks).any()
    assert not (harden(maps, AREAS, name, seed=0)[0] & maps.first_masks).any()


@pytest.mark.parametrize(("make", "explanations"), [(FirstExplanation, 2), (SecondExplanation, 1)])
def test_a_method_of_other_explanations_is_refused(make: Any, explanations: int) -> None:
    classifier = demo_image()[0]
    with pytest.raises(UserError, match=f"explanations={explanations}"):
        make(MaskFitter(Method(areas=AREAS, explanations=explanations), classifier, device=CPU))


def test_settings_hold_what_masks_depend_on_and_nothing_else() -> None:
    classifier = demo_image()[0]

    def settings(**options: Any) -> Any:
        return FirstExplanation(MaskFitter(Method(areas=AREAS, **options), classifier, device=CPU)).settings

    assert settings() == settings(
        masks_per_forward=1, images_per_fit=2, compile=True, cuda_graphs=True, channels_last=True
    )
    assert settings() != settings(steps=7)
    assert settings() != settings(seed=1)


@pytest.mark.parametrize("kind", ["GradCAM", "GradCAMPlusPlus", "LayerCAM"])
@pytest.mark.slow
def test_class_activation_maps(kind: str) -> None:
    pytest.importorskip("pytorch_grad_cam")
    classifier, image, target, name = demo_image()
    before = {key: value.clone() for key, value in classifier.model.state_dict().items()}
    maps = CAM(classifier, device=CPU, kind=kind).explain(image, target, name)
    assert (maps.maps.shape, maps.passes, maps.layer) == ((1, 96, 96), 1.0, "features")
    assert 0 <= float(maps.maps.min()) < float(maps.maps.max()) <= 1
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
    explainer = CAM(FrozenClassifier(network, preprocessing=preprocessing), device=CPU, kind="GradCAM")
    with torch.no_grad():
        features = convolution(image[None])[0]
        cam = (
            (linear.weight[1][:, None, None] * features).sum(0).relu()
        )  # the mean pooling's gradient is the weight / 16
    heatmap = explainer.explain(image, 1, "x").maps[0]
    assert explainer.layer == "0"
    centres = heatmap[1::3, 1::3]  # the pixels that enlarging leaves as they were
    torch.testing.assert_close(centres, (cam - cam.min()) / (cam.max() - cam.min()), atol=1e-5, rtol=1e-5)


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


def classifier_of(network: nn.Module) -> FrozenClassifier:
    """A network of inputs of 32 x 32."""
    preprocessing = Preprocessing((32, 32), 32, "bilinear", (0.5,) * 3, (0.5,) * 3)
    return FrozenClassifier(network, preprocessing=preprocessing)


def test_a_transformer_has_no_default_layer() -> None:
    network = models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8, num_classes=5
    )
    with pytest.raises(UserError, match="behind its last feature map, conv_proj, the classifier goes on with tokens"):
        last_feature_layer(classifier_of(network), CPU)


def test_feature_maps_with_channels_last_are_not_taken_for_others() -> None:
    network = models.SwinTransformer([2, 2], 8, [1, 1], [1, 1], [2, 2], num_classes=5)
    assert last_feature_layer(classifier_of(network), CPU) == "permute"


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
    maps = IntegratedGradients(classifier, device=CPU).explain(image, 1, "x")
    terms = (weights * (image - torch.tensor(classifier.colour_mean)[:, None, None])).sum(0).clamp(min=0)
    torch.testing.assert_close(maps.maps[0], gaussian_blur(terms[None, None], 1.0)[0, 0], atol=1e-6, rtol=1e-4)
    assert maps.passes == 50


def test_occlusion_of_a_linear_model_is_the_mean_fall_over_the_windows() -> None:
    pytest.importorskip("captum")
    classifier, weights = linear_classifier()
    image = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(1))
    maps = Occlusion(classifier, device=CPU).explain(image, 1, "x")  # of side 28: window 4, stride 2
    terms = (weights * (image - torch.tensor(classifier.colour_mean)[:, None, None])).sum(0)
    total, count = torch.zeros(28, 28), torch.zeros(28, 28)
    for top in range(0, 25, 2):
        for left in range(0, 25, 2):
            total[top : top + 4, left : left + 4] += terms[top : top + 4, left : left + 4].sum()
            count[top : top + 4, left : left + 4] += 1
    torch.testing.assert_close(maps.maps[0], total / count, atol=1e-5, rtol=1e-4)
    assert maps.passes == (13 * 13 + 1) / 2


@pytest.mark.parametrize("reward", ["simple_reward", pytest.param("contrastive_reward", marks=pytest.mark.slow)])
def test_torchray_is_called_as_its_users_call_it(reward: str) -> None:
    skip_without("torchray")
    torchray = require_module("torchray.attribution.extremal_perturbation", "torchray")
    classifier, image, target, name = demo_image()
    explainer = TorchRay(classifier, areas=AREAS, device=CPU, reward=reward, iterations=3)
    maps = explainer.explain(image, target, name)
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
    assert torch.equal(maps.maps, masks[:, 0].half())
    assert maps.passes == 6


def skip_without(package: str) -> None:
    """Skips the test if the package is missing; pytest.importorskip would fail at the warnings of its import."""
    try:
        require_module(package, package)
    except UserError:
        pytest.skip(f"{package} is not installed")


def test_the_controls() -> None:
    _, image, target, name = demo_image()
    disc = CentredDisc().explain(image, target, name)
    hard = harden(disc, (0.1,), name, seed=0)[0, 0]
    rows, columns = hard.nonzero().double().T
    assert float(((rows - 47.5) ** 2 + (columns - 47.5) ** 2).max()) <= 0.1 * 96 * 96 / torch.pi + 20
    random = RandomMasks().explain(image, target, name)
    assert (random.maps.shape, random.per_area, random.passes) == ((8, 96, 96), False, 0)
    assert torch.equal(random.maps, RandomMasks().explain(image, 0, name).maps)
    assert not torch.equal(random.maps, RandomMasks(seed=1).explain(image, target, name).maps)


def make_factory(folder: Path) -> MethodFactory:
    def compose(options: Sequence[str]) -> Method:
        values = dict(option.split("=") for option in options if "." not in option)
        numbers = {name: int(value) for name, value in values.items() if value.isdigit()}
        return Method(**{"areas": AREAS, "steps": 1, **numbers})

    return MethodFactory(MethodSetup(demo_image()[0], CPU, AREAS), compose, MapMaker(MapCache(folder), {}))


OF_TRANSFORMERS = ("attention_rollout", "attnlrp")


def test_every_method_can_be_built_or_says_which_classifier_it_needs(tmp_path: Path) -> None:
    pytest.importorskip("captum")
    pytest.importorskip("pytorch_grad_cam")
    for package in ("torchray", "lime", "shap"):
        skip_without(package)
    for name in OF_TRANSFORMERS:
        with pytest.raises(UserError, match=f"{name} needs .*VisionTransformer.*inr_xai.DemoNetwork"):
            build_explainer(name, make_factory(tmp_path))
    methods = {name: build_explainer(name, make_factory(tmp_path)) for name in METHODS if name not in OF_TRANSFORMERS}
    assert [name for name, method in methods.items() if method.fitted] == [
        "inr",
        "inr_hybrid",
        "inr_nested",
        "torchray",
        "torchray_contrastive",
    ]
    assert methods["inr_passes_400"].settings["steps"] == 100
    with pytest.raises(UserError, match=r"'gradcan', which is no method; did you mean gradcam\?"):
        build_explainer("gradcan", make_factory(tmp_path))


def test_grad_cam_in_the_free_region_keeps_off_the_first_explanation(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_grad_cam")
    _, image, target, name = demo_image()
    factory = make_factory(tmp_path)
    maps = build_explainer("gradcam_second", factory).explain(image, target, name)
    second = factory.maker.stored("inr_second", build_explainer("inr_second", factory), target, name)
    assert second is not None
    assert maps.free is not None
    assert torch.equal(maps.free, second.free)
    hard = harden(maps, AREAS, name, seed=0)[0]
    assert not (hard & ~second.free).any()
    for place, count in enumerate((921, 2764)):
        free = maps.maps[0][second.free[place]]
        least = free.sort(descending=True).values[count - 1]
        assert hard[place].sum() == count
        assert maps.maps[0][hard[place]].min() == least


def test_the_same_seed_is_perfectly_stable_and_another_is_not(tmp_path: Path) -> None:
    _, image, target, name = demo_image()
    factory = make_factory(tmp_path)
    maps = build_explainer("inr_seed1", factory).explain(image, target, name)
    first = factory.maker.stored("inr", build_explainer("inr", factory), target, name)
    assert first is not None
    assert maps.other_seed_masks is not None
    assert torch.equal(maps.other_seed_masks, harden(first, AREAS, name, seed=0)[0])
    assert not torch.equal(maps.maps, first.maps)


def test_a_missing_package_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    _, image, target, image_id = demo_image()
    factory = make_factory(tmp_path)
    monkeypatch.setattr(importlib, "import_module", missing)
    for package, name in {"captum": "occlusion", "grad-cam": "gradcam_second", "torchray": "torchray"}.items():
        refusal = rf"needs the package {package}.*pip install 'inr-xai\[peers\]'"
        with pytest.raises(UserError, match=refusal):
            build_explainer(name, factory)
        explainer = METHODS[name](factory)
        assert explainer.settings
        with pytest.raises(UserError, match=refusal):
            explainer.explain(image, target, image_id)
    with pytest.raises(UserError, match="needs the package captum"):
        build_other_method("integrated_gradients", factory.setup)


def test_maps_per_area() -> None:
    three = torch.zeros(3, 2, 2)
    assert MethodMaps(three, passes=0, seconds=0).per_area
    assert not MethodMaps(three, passes=0, seconds=0, draws=True).per_area
    assert not MethodMaps(three[:1], passes=0, seconds=0).per_area
