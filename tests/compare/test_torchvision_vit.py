"""timm's vision transformer as torchvision's: equal logits, shared weights, and what has no counterpart."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.torchvision_vit import as_torchvision_vit, torchvision_state
from inr_xai.errors import UserError
from tests.helpers.comparison import CPU, demo_image
from tests.helpers.vision_transformer import SIDE, random_vit


def converted(classifier: FrozenClassifier) -> FrozenClassifier:
    return as_torchvision_vit(classifier, device=CPU, method="attnlrp")


@pytest.mark.parametrize(
    "sizes",
    [
        {"depth": 1, "embed_dim": 8, "num_heads": 1, "mlp_ratio": 2.0},
        {"depth": 3, "embed_dim": 12, "num_heads": 3, "num_classes": 2, "patch_size": 4},
        {"depth": 1, "embed_dim": 192, "num_heads": 3, "patch_size": 16, "size": (224, 224)},
    ],
)
def test_logits_are_equal(sizes: dict[str, Any]) -> None:
    classifier = random_vit(**sizes)
    other = converted(classifier)
    assert type(other.model) is VisionTransformer
    shape = 2, 3, *classifier.preprocessing.size
    images = torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad(), classifier.frozen(dtype=torch.float64), other.frozen(dtype=torch.float64):
        torch.testing.assert_close(other(images), classifier(images), atol=1e-9, rtol=1e-9)


def test_weights_are_shared_and_nothing_is_drawn() -> None:
    classifier, random_state = random_vit(), torch.get_rng_state()
    states = converted(classifier).model.state_dict(), torchvision_state(classifier.model.state_dict())
    places, expected = ({name: value.data_ptr() for name, value in state.items()} for state in states)
    assert places == expected
    assert torch.equal(torch.get_rng_state(), random_state)


def test_one_of_torchvision_is_kept() -> None:
    network = VisionTransformer(SIDE, 8, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)
    classifier = random_vit().of(network)
    assert converted(classifier) is classifier


class Tanh(nn.GELU):
    def __init__(self) -> None:
        super().__init__(approximate="tanh")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"reg_tokens": 1}, "this one differs"),
        ({"init_values": 0.1}, r"this one differs .*blocks\.0\.ls1\.gamma"),
        ({"qk_norm": True}, r"this one differs .*q_norm"),
        ({"qkv_bias": False}, r"this one differs .*in_proj_bias"),
        ({"global_pool": "avg"}, "this one differs"),
        ({"size": (16, 24)}, "this one differs"),
        ({"act_layer": Tanh}, "this one has other logits when it is converted"),
    ],
)
def test_a_part_without_a_counterpart_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"attnlrp needs torchvision's VisionTransformer, or .*{reason}.*; leave the"):
        converted(random_vit(**options))


def test_another_network_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs torchvision's .*the network of this classifier is inr_xai\.Demo"):
        converted(demo_image()[0])
