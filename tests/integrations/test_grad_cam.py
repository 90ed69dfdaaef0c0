"""Importance maps called as grad-cam's methods are: the maps of INRAttribution, and grad-cam's own tools on them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inr_xai import INRAttribution
from inr_xai.errors import UserError
from inr_xai.integrations.grad_cam import INRCam, class_of
from tests.conftest import pictures, tiny_network
from tests.helpers.planted import Red, planted

AREAS = {"areas": (0.1, 0.2)}


def cam_of(model: nn.Module, **options: Any) -> INRCam:
    return INRCam(model=model, target_layers=None, **{"steps": 3} | AREAS | options)


def importance(images: Tensor, target: Any, **options: Any) -> np.ndarray:
    explainer = INRAttribution(tiny_network(), **{"steps": 3} | options)
    return explainer.importance(images, target=target, **AREAS)[:, 0].numpy()


class ClassTarget:
    """A target like grad-cam's for a class."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, output: Tensor) -> Tensor:
        return output[..., self.category]


@pytest.mark.slow
def test_targets_are_classes_and_none_is_the_largest_output() -> None:
    images, network = pictures(3), tiny_network().eval()
    with cam_of(network) as cam:
        maps = cam(input_tensor=images, targets=[ClassTarget(1), ClassTarget(np.int64(3)), ClassTarget(1)])
        largest = cam(input_tensor=images)
    np.testing.assert_array_equal(maps, importance(images, [1, 3, 1]))
    assert (maps.shape, maps.dtype) == ((3, 24, 24), np.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(largest, importance(images, network(images).argmax(1)))


def test_any_other_target_is_a_score_of_its_images() -> None:
    images = pictures(3)

    def margin(output: Tensor) -> Tensor:
        return output[2] - output[0]

    maps = cam_of(tiny_network())(images, [margin, ClassTarget(1), margin])
    both = importance(images[[0, 2]], None, score=lambda output: output[:, 2] - output[:, 0])
    np.testing.assert_allclose(maps[[0, 2]], both, atol=1e-5)
    np.testing.assert_array_equal(maps[1], importance(images[1:2], 1)[0])


def test_a_score_of_the_users_own_needs_no_targets() -> None:
    images = pictures(1)
    expected = importance(images, None, score=lambda output: output[:, 4])
    np.testing.assert_array_equal(cam_of(tiny_network(), score=lambda output: output[:, 4])(images), expected)


def test_the_model_stays_as_it_was_and_there_are_no_hooks() -> None:
    network = tiny_network().train()
    cam_of(network)(pictures(1))
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())


class Softmaxed(ClassTarget):
    def __call__(self, output: Tensor) -> Tensor:
        return output.softmax(-1)[..., self.category]


class Flipped(ClassTarget):
    def __call__(self, output: Tensor) -> Tensor:
        return output * (1 if self.category == 1 else -1)


class Region(ClassTarget):
    def __call__(self, output: Tensor) -> Tensor:
        return output[self.category, :, :].sum()


@pytest.mark.parametrize("kind", [Softmaxed, Flipped, Region])
def test_only_a_target_that_picks_its_category_is_a_class(kind: type[ClassTarget]) -> None:
    for category in (0, 1, 4):
        assert class_of(ClassTarget(category)) == category
        assert class_of(kind(category)) is None
    assert class_of(ClassTarget(-1)) is None
    assert class_of(lambda output: output[0]) is None


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({"targets": [ClassTarget(0)]}, "targets must have one for each of the 2 images; got 1"),
        ({"eigen_smooth": True}, "eigen_smooth=True smooths the map of a layer, and masks have none"),
        ({"aug_smooth": True}, "aug_smooth=True smooths the map of a layer, and masks have none"),
        ({"targets": [ClassTarget(9)] * 2}, "class 9 does not exist"),
        ({"targets": [lambda output: output] * 2}, r"score must return .* one number for each .* \(12, 5\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        cam_of(tiny_network())(**{"input_tensor": pictures(2)} | call)


@pytest.mark.parametrize("corner", [(2, 2), (14, 14)])
@pytest.mark.slow
def test_the_target_of_grad_cam_for_segmentations_finds_its_region(corner: tuple[int, int]) -> None:
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    y, x = corner
    region = np.zeros((24, 24), np.float32)
    region[y : y + 6, x : x + 6] = 1 / 36
    model = nn.Conv2d(3, 2, 3, padding=1, padding_mode="replicate")
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0, 0, 0], [1, -1, -1]])[..., None, None] / 9)
        model.bias.zero_()
    target = targets.SemanticSegmentationTarget(1, region)
    (heat,) = cam_of(model, areas=(0.06,), steps=100)(planted((2, 2), (14, 14))[None], [target])
    best = torch.from_numpy(heat).flatten().topk(36).indices
    inside = (best // 24 >= y) & (best // 24 < y + 6) & (best % 24 >= x) & (best % 24 < x + 6)
    assert float(inside.float().mean()) > 0.9  # of random pixels, 0.06


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")  # of grad-cam's imputer
def test_targets_of_grad_cam_are_explained_and_its_metric_and_its_drawing_take_the_maps() -> None:
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    image = pytest.importorskip("pytorch_grad_cam.utils.image")
    network, images = Red(), torch.stack([planted((2, 2)), planted((14, 8))])
    chosen = [targets.ClassifierOutputTarget(1)] * 2
    maps = cam_of(network, steps=30, areas=(0.0625,))(images, chosen)
    assert class_of(chosen[0]) == 1
    assert class_of(targets.ClassifierOutputSoftmaxTarget(1)) is None
    assert class_of(targets.BinaryClassifierOutputTarget(1)) is None

    percentiles = [80, 90]
    torch.manual_seed(0)
    values = road.ROADCombined(percentiles=percentiles)(images, maps, chosen, network)
    torch.manual_seed(0)
    least, most = (road_by_hand(images, kept, network, percentiles) for kept in (1 - maps, maps))
    np.testing.assert_allclose(values, (least - most) / 2, rtol=1e-4)
    assert (values > 4).all()  # logit 8 with the square, and -12 without a trace of red

    drawn = image.show_cam_on_image(np.full((24, 24, 3), 0.2, np.float32), maps[0], use_rgb=True)
    assert (drawn.shape, drawn.dtype) == ((24, 24, 3), np.uint8)
    hot, cold = (drawn.reshape(-1, 3)[place].astype(int) for place in (maps[0].argmax(), maps[0].argmin()))
    assert hot[0] > hot[2]  # red on the map's largest value, blue on its smallest
    assert cold[0] < cold[2]


def road_by_hand(images: Tensor, maps: np.ndarray, network: nn.Module, percentiles: list[int]) -> np.ndarray:
    """The mean change of the logit if the pixels above each percentile are imputed, image by image."""
    imputer = pytest.importorskip("pytorch_grad_cam.metrics.road").NoisyLinearImputer()
    changes = np.zeros((len(percentiles), len(images)))
    for row, percentile in enumerate(percentiles):
        for place, (image, heat) in enumerate(zip(images, maps, strict=True)):
            kept = torch.from_numpy((heat < np.percentile(heat, percentile)).astype(np.float32))
            changed = network(imputer(image, kept)[None])[0, 1] - network(image[None])[0, 1]
            changes[row, place] = float(changed)
    return changes.mean(0)
