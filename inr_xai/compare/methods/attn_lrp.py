"""AttnLRP with the package lxt: relevance that a modified backward pass hands down from a logit to the pixels.

Achtibat et al., "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers", ICML 2024; the rule of
linear layers: Montavon et al., "Layer-Wise Relevance Propagation: An Overview", 2019.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torchvision.models import vision_transformer

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import Explainer, MethodMaps, Stopwatch, require_module
from inr_xai.compare.methods.counted_logits import CountedLogits
from inr_xai.compare.methods.pixel_attributions import smoothed_positive_part
from inr_xai.compare.methods.torchvision_vit import as_torchvision_vit
from inr_xai.types import Image

EXTRA = "lxt"
LXT, LXT_VIT = ("lxt.efficient", "lxt"), ("lxt.efficient.models.vit_torch", "lxt")
ZENNIT = tuple((f"zennit.{name}", "zennit") for name in ("composites", "core", "rules"))


class AttnLRP(Explainer):
    """Relevance of the logit as lxt's documentation computes it for vision transformers: input times gradient.

    lxt's rules for them are those of the paper but for the softmax: within attention, the weights are constants
    (CP-LRP). Linear layers and the convolution have zennit's Gamma rule. The map is the positive part, smoothed.

    The Gamma rule runs these layers five times more, which the passes count (`passes_with_rules`).

    Args:
        gamma_convolution, gamma_linear: how much more positive weights count than negative ones. lxt names no best
            values; these are the middle ones of those that its documentation tries.
        sigma: width of the smoothing Gaussian, in pixels of an image of side 224; scaled with the shorter side.

    Raises:
        UserError: the classifier is no vision transformer that lxt knows.
    """

    modules = (LXT, LXT_VIT, *ZENNIT)
    extra = EXTRA

    def __init__(
        self,
        classifier: FrozenClassifier,
        *,
        device: torch.device,
        gamma_convolution: float = 0.25,
        gamma_linear: float = 0.05,
        sigma: float = 8.0,
    ):
        self._classifier = as_torchvision_vit(classifier, device=device, method="attnlrp")
        self._device, self._sigma = device, sigma
        self._gammas = {nn.Conv2d: gamma_convolution, nn.Linear: gamma_linear}

    @property
    def settings(self) -> Mapping[str, Any]:
        gammas = {layer.__name__: gamma for layer, gamma in self._gammas.items()}
        return {"attnlrp": "softmax constant", "gamma": gammas, "sigma": self._sigma}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        images, model = image[None].to(self._device, torch.float32).requires_grad_(), CountedLogits(self._classifier)
        with (
            self._classifier.frozen(self._device, torch.float32),
            relevance_rules(model, self._gammas),
            torch.enable_grad(),
            Stopwatch(self._device) as watch,
        ):
            model(images)[0, target].backward()
        assert images.grad is not None
        # The normalised input times its gradient: the standard deviation cancels.
        relevance = (images.detach() - self._zero_of_input(images)) * images.grad
        return MethodMaps(
            smoothed_positive_part(relevance[0], self._sigma),
            passes=passes_with_rules(self._classifier.model),
            seconds=watch.seconds,
        )

    def _zero_of_input(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the colour that is 0 for the network."""
        mean = images.new_tensor(self._classifier.preprocessing.mean)[:, None, None]
        return mean if self._classifier.normalise else torch.zeros_like(mean)


def passes_with_rules(network: Any) -> float:
    """Returns the passes of torchvision's VisionTransformer with the Gamma rule, from the multiplications of a forward.

    The whole network runs once, forward and backward, and the layers with the rule five times more: for two signs of
    the input with two changes of the weights, and once as they are.
    """
    tokens, width, layers = network.seq_length, network.hidden_dim, len(network.encoder.layers)
    ends = network.conv_proj.weight.numel() * (tokens - 1) + network.heads.head.weight.numel()
    with_rule = layers * 2 * tokens * width * network.mlp_dim + ends
    attention = layers * (4 * tokens * width**2 + 2 * tokens**2 * width)
    return 1 + 5 * with_rule / (with_rule + attention)


@contextmanager
def relevance_rules(network: nn.Module, gammas: Mapping[type[nn.Module], float]) -> Iterator[None]:
    """Makes the backward pass of torchvision's VisionTransformer one of relevance, during the block.

    Args:
        gammas: a kind of layer -> the parameter of its Gamma rule.
    """
    lxt, lxt_vit, composites, core, rules = (require_module(*module, extra=EXTRA) for module in (LXT, LXT_VIT, *ZENNIT))
    composite = composites.LayerMapComposite([(layer, rules.Gamma(gamma)) for layer, gamma in gammas.items()])
    with _restored([*lxt_vit.cp_LRP, core.BasicHook]):
        lxt.monkey_patch(vision_transformer)
        lxt.monkey_patch_zennit()
        with composite.context(network):
            yield


@contextmanager
def _restored(classes: Sequence[type]) -> Iterator[None]:
    """Gives classes their own methods again at the end: lxt replaces those of torch's layers for the whole process."""
    names = ("forward", "backward", "original_forward")
    before = [(changed, name, vars(changed).get(name)) for changed in classes for name in names]
    try:
        yield
    finally:
        for changed, name, method in before:
            if method is not None:
                setattr(changed, name, method)
            elif name in vars(changed):
                delattr(changed, name)
