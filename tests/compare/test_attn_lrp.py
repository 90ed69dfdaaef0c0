"""AttnLRP through lxt against relevance written out in double precision; torch and zennit are left as they were."""

import importlib

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.attn_lrp import AttnLRP, relevance_rules
from inr_xai.compare.methods.base import require_module
from inr_xai.compare.methods.pixel_attributions import smoothed_positive_part
from inr_xai.compare.methods.registry import MethodSetup, build_other_method
from inr_xai.errors import UserError
from inr_xai.types import Image
from tests.helpers.comparison import CPU
from tests.helpers.vision_transformer import PATCH, random_image, random_vit

CHANGED = (nn.GELU, nn.LayerNorm, nn.MultiheadAttention)


def skip_without_lxt() -> None:
    """Skips the test if lxt or zennit is missing; pytest.importorskip would fail at the warnings of their import."""
    try:
        require_module("lxt.efficient", "lxt", extra="lxt")
        require_module("zennit", "zennit", extra="lxt")
    except UserError as error:
        pytest.skip(str(error))


def relevance_by_hand(classifier: FrozenClassifier, image: Image, target: int, *, gammas: tuple[float, float]) -> Image:
    """Relevance of the pixels as input times gradient, where each rule is a factor through which no gradient passes."""
    model = classifier.model.double().eval()
    mean, std = (torch.tensor(values).double()[:, None, None] for values in ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))
    inputs = ((image.double() - mean) / std).requires_grad_()

    def gamma_rule(x: Float64[Tensor, "n d"], weight: Tensor, bias: Tensor, gamma: float) -> Float64[Tensor, "n e"]:
        up, down = weight + gamma * weight.clamp(min=0), weight + gamma * weight.clamp(max=0)
        plus, minus, output = x.clamp(min=0), x.clamp(max=0), F.linear(x, weight, bias)
        agreeing = F.linear(plus, up) + F.linear(minus, down) + bias + gamma * bias.clamp(min=0)
        opposing = F.linear(plus, down) + F.linear(minus, up) + bias + gamma * bias.clamp(max=0)
        denominator = torch.where(output > 0, agreeing, opposing)
        return denominator * (output / denominator).detach()

    def layer_norm(x: Float64[Tensor, "n d"], layer: nn.LayerNorm) -> Float64[Tensor, "n d"]:
        spread = (x.var(1, keepdim=True, correction=0) + layer.eps).sqrt().detach()
        return (x - x.mean(1, keepdim=True)) / spread * layer.weight + layer.bias

    def linear(x: Float64[Tensor, "n d"], layer: nn.Linear) -> Float64[Tensor, "n e"]:
        return gamma_rule(x, layer.weight, layer.bias, gammas[1])

    patches = F.unfold(inputs[None], PATCH, stride=PATCH)[0].T
    projection = model.patch_embed.proj
    tokens = gamma_rule(patches, projection.weight.flatten(1), projection.bias, gammas[0])
    tokens = torch.cat([model.cls_token[0], tokens]) + model.pos_embed[0]
    for block in model.blocks:
        heads = block.attn.num_heads
        split = F.linear(layer_norm(tokens, block.norm1), block.attn.qkv.weight, block.attn.qkv.bias)
        queries, keys, values = split.unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3)
        attention = (queries @ keys.mT / queries.shape[-1] ** 0.5).softmax(-1).detach()
        tokens = tokens + F.linear((attention @ values).transpose(0, 1).flatten(1), *block.attn.proj.parameters())
        hidden = linear(layer_norm(tokens, block.norm2), block.mlp.fc1)
        tokens = tokens + linear(hidden * (F.gelu(hidden) / hidden).detach(), block.mlp.fc2)
    linear(layer_norm(tokens, model.norm)[:1], model.head)[0, target].backward()
    model.float()
    assert inputs.grad is not None
    return (inputs * inputs.grad).detach().float()


@pytest.mark.parametrize("gammas", [(0.25, 0.05), (0.0, 0.0), (0.5, 1.0)])
def test_relevance_is_that_of_the_rules_written_out(gammas: tuple[float, float]) -> None:
    skip_without_lxt()
    classifier, image = random_vit(), random_image()
    explainer = AttnLRP(classifier, device=CPU, gamma_convolution=gammas[0], gamma_linear=gammas[1], sigma=4.0)
    heatmap = explainer.explain(image, 2, "x").maps
    expected = smoothed_positive_part(relevance_by_hand(classifier, image, 2, gammas=gammas), 4.0)
    torch.testing.assert_close(heatmap / expected.max(), expected / expected.max(), atol=1e-3, rtol=0)


def test_passes_are_the_operations_over_those_of_a_forward_and_a_backward() -> None:
    skip_without_lxt()
    classifier, image = random_vit(depth=2, embed_dim=96, num_heads=1), random_image()
    explainer = AttnLRP(classifier, device=CPU)
    with FlopCounterMode(display=False) as forward, classifier.frozen(), torch.no_grad():
        classifier(image[None])
    with FlopCounterMode(display=False) as all_of_it:
        passes = explainer.explain(image, 0, "x").passes
    assert passes == pytest.approx(all_of_it.get_total_flops() / (2 * forward.get_total_flops()), rel=0.03)


def fail_within(network: nn.Module) -> None:
    before = nn.GELU.forward
    with relevance_rules(network, {nn.Linear: 0.1}):
        assert nn.GELU.forward is not before
        raise ZeroDivisionError


@pytest.mark.parametrize("fails", [False, True])
def test_torch_and_zennit_are_left_as_they_were(fails: bool) -> None:
    skip_without_lxt()
    hook = require_module("zennit.core", "zennit").BasicHook
    classifier, image = random_vit(), random_image()
    before = [dict(vars(changed)) for changed in (*CHANGED, hook)]
    explainer = AttnLRP(classifier, device=CPU)
    network = explainer._classifier.model
    assert isinstance(network, nn.Module)
    if fails:
        with pytest.raises(ZeroDivisionError):
            fail_within(network)
    else:
        first = explainer.explain(image, 0, "x").maps
        assert torch.equal(explainer.explain(image, 0, "x").maps, first)
        assert not torch.equal(explainer.explain(image, 1, "x").maps, first)
    assert [dict(vars(changed)) for changed in (*CHANGED, hook)] == before
    assert not any(hasattr(changed, "original_forward") for changed in CHANGED)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    assert all(parameter.grad is None for parameter in classifier.model.parameters())


def test_without_lxt_the_refusal_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, image = random_vit(), random_image()
    explainer = AttnLRP(classifier, device=CPU)

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"needs the package lxt, .*pip install 'inr-xai\[lxt\]'"):
        build_other_method("attnlrp", MethodSetup(classifier, CPU, (0.1,)))
    with pytest.raises(UserError, match=r"needs the package lxt, .*pip install 'inr-xai\[lxt\]'"):
        explainer.explain(image, 0, "x")
    assert explainer.settings["gamma"] == {"Conv2d": 0.25, "Linear": 0.05}
