"""Attention rollout against loops in double precision; the transformer is left as it was."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor, nn
from torchvision import models

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.attention_rollout import AttentionRollout, attention_matrices, rollout
from inr_xai.errors import UserError
from tests.helpers.comparison import CPU, demo_image
from tests.helpers.vision_transformer import random_image, random_vit

SIZE = (16, 24)  # 2 x 3 patches


def attention_by_hand(block: nn.Module, tokens: Float64[Tensor, "n d"]) -> list[list[list[float]]]:
    """The mean over heads of the attention from token i to token j, by loops over heads and pairs."""
    attention, count = block.attn, len(tokens)
    queries, keys, _ = attention.qkv(block.norm1(tokens)).chunk(3, 1)
    width = attention.head_dim
    mean = [[0.0] * count for _ in range(count)]
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(count):
            scores = [float(queries[i, part] @ keys[j, part]) / width**0.5 for j in range(count)]
            weights = torch.tensor(scores, dtype=torch.float64).exp()
            for j in range(count):
                mean[i][j] += float(weights[j] / weights.sum()) / attention.num_heads
    return mean


def rollout_by_hand(classifier: FrozenClassifier, image: Tensor) -> list[float]:
    """The class token's row of the product of all layers, by loops."""
    model = classifier.model.double().eval()
    mean, std = (torch.tensor(values).double()[:, None, None] for values in ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))
    seen: list[Tensor] = []
    hooks = [block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0])) for block in model.blocks]
    with torch.no_grad():
        model(((image.double() - mean) / std)[None])
        for hook in hooks:
            hook.remove()
        layers = [attention_by_hand(block, tokens) for block, tokens in zip(model.blocks, seen, strict=True)]
    model.float()
    row = [float(token == 0) for token in range(len(layers[0]))]
    for layer in reversed(layers):  # from the last layer to the first: the row of the class token times each matrix
        mixed = [[0.5 * value + 0.5 * (i == j) for j, value in enumerate(values)] for i, values in enumerate(layer)]
        mixed = [[value / sum(values) for value in values] for values in mixed]
        row = [sum(row[i] * mixed[i][j] for i in range(len(row))) for j in range(len(row))]
    return row


@pytest.mark.parametrize("registers", [0, 2])
def test_rollout_is_the_product_over_layers(registers: int) -> None:
    classifier, image = random_vit(size=SIZE, depth=3, reg_tokens=registers), random_image(SIZE)
    maps = AttentionRollout(classifier, device=CPU).explain(image, 0, "x")
    row = torch.tensor(rollout_by_hand(classifier, image)[1 + registers :], dtype=torch.float64)
    expected = F.interpolate(row.reshape(1, 1, 2, 3), SIZE, mode="bilinear", align_corners=False)[0].float()
    torch.testing.assert_close(maps.maps, expected / expected.max(), atol=1e-5, rtol=0)
    assert maps.passes == 0.5
    assert float(row.max() / row.min()) > 1.2  # patches differ, so that a wrong order would be seen


def test_layers_of_even_attention_and_of_none() -> None:
    even, none = torch.full((1, 2, 3, 3), 1 / 3), torch.eye(3).expand(1, 2, 3, 3)
    torch.testing.assert_close(rollout([even]), 0.5 * torch.eye(3)[None] + 1 / 6)
    torch.testing.assert_close(rollout([none, even, none]), rollout([even]))


def fail_within(model: nn.Module) -> None:
    with attention_matrices(model):
        assert not any(block.attn.fused_attn for block in model.blocks)
        raise ZeroDivisionError


@pytest.mark.parametrize("fails", [False, True])
def test_the_transformer_is_left_as_it_was(fails: bool) -> None:
    classifier, image = random_vit(), random_image()
    model = classifier.model
    model.blocks[0].attn.fused_attn, model.blocks[1].attn.fused_attn = True, False
    before = {name: len(module._forward_hooks) for name, module in model.named_modules()}
    if fails:
        with pytest.raises(ZeroDivisionError):
            fail_within(model)
    else:
        AttentionRollout(classifier, device=CPU).explain(image, 0, "x")
    assert [block.attn.fused_attn for block in model.blocks] == [True, False]
    assert {name: len(module._forward_hooks) for name, module in model.named_modules()} == before


def test_what_is_no_such_transformer_is_refused() -> None:
    torchvision_vit = models.VisionTransformer(24, 8, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)
    cases = {
        "the network of this classifier is inr_xai.DemoNetwork": demo_image()[0],
        "the network of this classifier is torchvision.VisionTransformer": random_vit().of(torchvision_vit),
        "head reads its tokens by global_pool='avg'": random_vit(global_pool="avg"),
    }
    for reason, classifier in cases.items():
        with pytest.raises(UserError, match=f"needs timm's VisionTransformer .*, and .*{reason}; leave the method out"):
            AttentionRollout(classifier, device=CPU)
