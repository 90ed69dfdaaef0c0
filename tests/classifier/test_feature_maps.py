"""The deepest feature map and its LayerCAM, against gradients that are computed by hand, for networks of many kinds."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.feature_maps import SMOOTHING, as_feature_map, evidence_maps
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing
from tests.conftest import pictures

SIDE = 32


def classifier_of(model: Any, side: int = SIDE) -> FrozenClassifier:
    """Returns a model as a classifier of images that it takes as they are."""
    preprocessing = Preprocessing((side, side), side, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return FrozenClassifier(model, preprocessing=preprocessing, normalise=False)


def maps_of(model: Any, images: Tensor, targets: list[int]) -> Tensor:
    """Returns the maps of a model, frozen in the dtype of the images."""
    classifier = classifier_of(model)
    with classifier.frozen("cpu", images.dtype), torch.enable_grad():
        return evidence_maps(classifier, images, torch.tensor(targets))


class Pooled(nn.Module):
    """A convolution, a ReLU (in place or not), a global mean and a linear layer."""

    def __init__(self, *, inplace: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.convolution = nn.Conv2d(3, 6, 4, stride=4)
            self.activation = nn.ReLU(inplace=inplace)
            self.output = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.activation(self.convolution(images)).mean((2, 3)))


@pytest.mark.parametrize("inplace", [False, True])
def test_the_map_is_layercam_computed_by_hand(inplace: bool) -> None:
    images, targets = pictures(3, SIDE).double() * 2 - 1, [4, 0, 2]
    network = Pooled(inplace=inplace)
    maps = maps_of(network, images, targets)
    weight, bias = (value.detach().double().numpy() for value in network.convolution.parameters())
    head = network.output.weight.detach().double().numpy()
    # An 8 x 8 grid of patches of 4 x 4 pixels; the logit's gradient by channel c is head[target, c] / 64.
    patches = images.numpy().reshape(3, 3, 8, 4, 8, 4)
    features = np.maximum(np.einsum("bcyixj,ocij->boyx", patches, weight) + bias[None, :, None, None], 0)
    cam = np.maximum(features * head[targets][:, :, None, None] / 64, 0).sum(1)
    expected = F.interpolate(torch.from_numpy(cam)[:, None], size=(SIDE, SIDE), mode="bilinear")[:, 0]
    torch.testing.assert_close(maps, expected, rtol=1e-6, atol=1e-8)


def test_with_a_reference_only_what_the_image_adds_to_it_is_evidence() -> None:
    images, targets = pictures(2, SIDE).double(), torch.tensor([4, 0])
    reference = pictures(3, SIDE).double()[2:].expand(2, -1, -1, -1).clone()
    reference[:, :, :8] = images[:, :, :8]  # the upper two rows of patches add nothing
    network = Pooled().double()
    classifier = classifier_of(network)
    with classifier.frozen("cpu", torch.float64):
        maps = evidence_maps(classifier, images, targets, reference=reference)
        nothing = evidence_maps(classifier, images, targets, reference=images)
    features, others = (network.activation(network.convolution(of)).detach() for of in (images, reference))
    weights = network.output.weight.detach()[targets][:, :, None, None] / 64
    cam = ((features - others) * weights).clamp(min=0).sum(1, keepdim=True)
    assert (cam[:, :, :2] == 0).all()
    assert (cam[:, :, 2:] > 0).any()
    torch.testing.assert_close(maps, F.interpolate(cam, size=(SIDE, SIDE), mode="bilinear")[:, 0])
    # An image that adds nothing has no feature map that is not constant.
    expected = [blurred_gradient(network, images[[place]], int(targets[place])) for place in range(2)]
    torch.testing.assert_close(nothing, torch.cat(expected))


def test_a_reference_that_takes_another_way_through_the_classifier_is_left_out() -> None:
    class Skipping(Pooled):
        def forward(self, images: Tensor) -> Tensor:
            features = self.convolution(images)
            return self.output((self.activation(features) if images.mean() > 0.2 else features).mean((2, 3)))

    images, targets, classifier = pictures(2, SIDE), torch.tensor([1, 2]), classifier_of(Skipping())
    with classifier.frozen("cpu", torch.float32):
        expected = evidence_maps(classifier, images, targets)
        assert torch.equal(evidence_maps(classifier, images, targets, reference=images * 0), expected)


def test_a_map_of_class_scores_is_passed_over() -> None:
    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.scores = Pooled(), nn.Conv2d(6, 5, 1)
            with torch.no_grad():
                self.scores.weight.copy_(self.features.output.weight[:, :, None, None])

        def forward(self, images: Tensor) -> Tensor:
            return self.scores(self.features.activation(self.features.convolution(images))).mean((2, 3))

    images = pictures(2, SIDE)
    torch.testing.assert_close(maps_of(Scores(), images, [1, 3]), maps_of(Pooled(), images, [1, 3]))


def test_maps_do_not_depend_on_the_other_images() -> None:
    images, targets = pictures(3, SIDE).double(), [4, 0, 2]
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=SIDE, num_classes=5, depth=2)
    together = maps_of(network, images, targets)
    alone = [maps_of(network, image[None], [target]) for image, target in zip(images, targets, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


def test_behind_the_last_block_of_a_transformer_only_the_class_token_counts() -> None:
    images = pictures(2, SIDE).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(
            "vit_tiny_patch16_224", pretrained=False, img_size=SIDE, patch_size=4, num_classes=5, depth=2
        ).double()
    captured: list[Tensor] = []

    def capture(*arguments: Any) -> None:
        captured.append(arguments[2])

    handle = network.eval().blocks[-1].norm1.register_forward_hook(capture)
    logits = network(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), captured[0])
    tokens = (captured[0] * gradient).clamp(min=0).sum(2)[:, 1:].detach()
    expected = F.interpolate(tokens.reshape(2, 1, 8, 8), size=(SIDE, SIDE), mode="bilinear")[:, 0]
    torch.testing.assert_close(maps_of(network, images, [3, 3]), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("deit_tiny_distilled_patch16_224", 14),
        ("vit_tiny_patch16_224", 14),
        ("swin_tiny_patch4_window7_224", 7),
        ("convnext_atto", 7),
        ("mobilevit_xxs", 7),
        ("mixer_s32_224", 7),
        ("resnet18", 7),
        ("efficientnet_b0", 7),
        ("densenet121", 7),
    ],
)
def test_every_kind_of_network_has_a_deepest_map(name: str, grid: int) -> None:
    """The map is that of a grid, enlarged: it is the bilinear enlargement of its own values at the grid's centres."""
    network = timm.create_model(name, pretrained=False, num_classes=5)
    for part in network.modules():
        if isinstance(part, nn.Linear) and part.out_features == 5:
            nn.init.normal_(part.weight)  # some are 0 at first, where no logit depends on anything
    before = [len(part._forward_hooks) for part in network.modules()]
    images = pictures(2, 224)
    classifier = classifier_of(network, 224)
    with classifier.frozen("cpu", torch.float32), torch.enable_grad():
        maps = evidence_maps(classifier, images, torch.tensor([0, 4]))
    assert (maps.amin((1, 2)) >= 0).all()
    assert (maps.std((1, 2)) > 1e-3 * maps.amax((1, 2))).all()
    small = F.interpolate(maps[:, None], size=(grid, grid), mode="bilinear", antialias=False)
    enlarged = F.interpolate(small, size=(224, 224), mode="bilinear")[:, 0]
    torch.testing.assert_close(maps, enlarged, rtol=0, atol=float(maps.amax()) * (0.2 if grid % 2 else 0.05))
    assert [len(part._forward_hooks) for part in network.modules()] == before


def test_hooks_are_removed_also_after_an_error() -> None:
    class Broken(Pooled):
        def forward(self, images: Tensor) -> Tensor:
            super().forward(images)
            raise RuntimeError("no more")

    network, broken = Pooled(), Broken()
    maps_of(network, pictures(1, SIDE), [0])
    with pytest.raises(UserError, match="no more"):
        maps_of(broken, pictures(1, SIDE), [0])
    assert [len(part._forward_hooks) for model in (network, broken) for part in model.modules()] == [0] * 8


def blurred_gradient(model: Callable[[Tensor], Tensor], images: Tensor, target: int) -> Tensor:
    """Returns the absolute gradient of the pixels under a Gaussian with mirrored borders, pixel by pixel."""
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)
    sigma = SMOOTHING * SIDE
    radius = max(1, round(4 * sigma))
    kernel = torch.tensor([math.exp(-(k**2) / (2 * sigma**2)) for k in range(-radius, radius + 1)]).to(images)
    kernel = kernel / kernel.sum()
    padded = np.pad(gradient.abs().sum(1).numpy(), [(0, 0), (radius,) * 2, (radius,) * 2], mode="symmetric")
    return F.conv2d(torch.from_numpy(padded)[:, None], torch.outer(kernel, kernel)[None, None])[:, 0]


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")
@pytest.mark.parametrize("kind", ["function", "no places", "scripted", "optimised"])
def test_without_a_feature_map_it_is_the_blurred_gradient_of_the_pixels(kind: str) -> None:
    images = pictures(2, SIDE).double()
    network = (
        nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(3 * SIDE**2, 5)) if kind == "no places" else Pooled()
    ).double()
    for part in network.parameters():
        part.requires_grad_(False)
    model: Any = network
    if kind == "function":
        model = functools.partial(nn.Module.__call__, network)
    elif kind == "scripted":
        model = torch.jit.trace(network, images)
    elif kind == "optimised":
        network._compiled_call_impl = network.forward  # as `network.compile()` leaves it, but for the compiler
    torch.testing.assert_close(maps_of(model, images, [1, 1]), blurred_gradient(network, images, 1))


def test_an_image_without_a_gradient_has_no_map() -> None:
    class Thresholded(Pooled):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * (images.mean((1, 2, 3)) > 0.2)[:, None]

    images = pictures(2, SIDE)
    images[1] = images[1] * 0.1
    maps = maps_of(Thresholded(), images, [1, 1])
    assert maps.isnan().flatten(1).all(1).tolist() == [False, True]
    torch.testing.assert_close(maps[:1], maps_of(Pooled(), images[:1], [1]))


def test_outputs_with_places_become_grids() -> None:
    images = torch.zeros(2, 3, 32, 64)
    grid = torch.rand(2, 5, 4, 8)
    layouts = {
        "channels first": grid,
        "channels last": grid.movedim(1, -1),
        "tokens": grid.flatten(2).transpose(1, 2),
        "tokens behind a class token": torch.cat([torch.zeros(2, 1, 5), grid.flatten(2).transpose(1, 2)], 1),
        "tokens before images": grid.flatten(2).permute(2, 0, 1),
    }
    for name, output in layouts.items():
        found = as_feature_map(output, images)
        assert found is not None, name
        assert torch.equal(found, grid), name
    for shape in [(2, 5), (2, 5, 1, 1), (2, 7, 8, 4), (2, 3, 32, 64), (4, 5, 4, 8), (2, 3, 60, 5), (2, 1, 5)]:
        assert as_feature_map(torch.zeros(shape), images) is None, shape
